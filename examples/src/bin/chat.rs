//! A chat of lines in which nobody slows the others down.
//!
//! A line is put into one pool buffer and sent to all members by reference. A member that does not
//! read fills its own send queue up to the high-water mark and not further: from there on lines
//! pass it by, it is told how many when it reads again, and after too many it is thrown out. Memory
//! is bounded by members times mark whatever they do.
//!
//! ```text
//! cargo run -p zcn-examples --bin chat -- [ADDRESS]
//! nc 127.0.0.1 7009     # the first line is your name
//! ```
#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::net::SocketAddr;

use zcn::{
    Address, Buf, CloseReason, Conn, ConnId, Handler, Runtime, SendError, ServerOptions, SharedBuf,
    TcpServer, WaterMarks,
};

/// Longest line, its end included.
const LINE_MAX: usize = 1024;

/// A member that has missed this many lines in a row is thrown out.
const MISSED_MAX: u32 = 100_000;

/// What the chat knows of a member.
#[derive(Default)]
struct Member {
    name: String,
    /// Lines that passed it by since it stopped reading.
    missed: u32,
}

#[derive(Default)]
struct Chat {
    members: BTreeMap<ConnId, Member>,
}

impl Chat {
    /// Sends one line to everybody but `except`.
    fn say(&mut self, conn: &Conn<'_>, except: Option<ConnId>, name: &str, text: &[u8]) {
        let Some(mut line) = conn.buffer() else {
            // The pool is empty because of the slow ones: the line is lost to all.
            return;
        };
        for part in [name.as_bytes(), b": ", text, b"\n"] {
            // Name and text are shorter than a buffer.
            let _ = line.extend_from_slice(part);
        }
        let line = SharedBuf::from(line);
        for (&id, member) in &mut self.members {
            if Some(id) == except || member.name.is_empty() {
                continue;
            }
            let Some(mut other) = conn.other(id) else {
                continue;
            };
            if let Err(SendError::Full(_)) = other.send(line.clone()) {
                member.missed += 1;
                if member.missed >= MISSED_MAX {
                    other.abort();
                }
            }
        }
    }

    fn line(&mut self, conn: &Conn<'_>, text: &[u8]) {
        let text = text.trim_ascii();
        let id = conn.id();
        let Some(member) = self.members.get_mut(&id) else {
            return;
        };
        if !member.name.is_empty() {
            let name = member.name.clone();
            return self.say(conn, Some(id), &name, text);
        }
        if !text.is_empty() {
            let name = String::from_utf8_lossy(text).into_owned();
            member.name.clone_from(&name);
            self.say(conn, None, &name, b"is here");
        }
    }
}

impl Handler for Chat {
    /// The beginning of a line whose end has not arrived.
    type State = Vec<u8>;

    fn on_accept(&mut self, conn: &mut Conn<'_>, _: &Address) -> Option<Vec<u8>> {
        self.members.insert(conn.id(), Member::default());
        // Fails only without a free buffer; then there is no greeting.
        let _ = conn.send_copy(b"your name?\n");
        Some(Vec::new())
    }

    fn on_data(&mut self, conn: &mut Conn<'_>, begun: &mut Vec<u8>, data: Buf) {
        let mut rest = &data[..];
        while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
            begun.extend_from_slice(&rest[..end]);
            rest = &rest[end + 1..];
            if begun.len() >= LINE_MAX {
                return conn.abort();
            }
            self.line(conn, begun);
            begun.clear();
        }
        begun.extend_from_slice(rest);
        if begun.len() >= LINE_MAX {
            conn.abort();
        }
    }

    fn on_writable(&mut self, conn: &mut Conn<'_>, _: &mut Vec<u8>) {
        if let Some(member) = self.members.get_mut(&conn.id()) {
            let missed = std::mem::take(&mut member.missed);
            if missed > 0 {
                let _ = conn.send_copy(format!("* you missed {missed} lines\n").as_bytes());
            }
        }
    }

    fn on_close(&mut self, id: ConnId, _: Vec<u8>, reason: CloseReason) {
        if let Some(member) = self.members.remove(&id) {
            println!("{} left: {reason:?}", member.name);
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1);
    let address: SocketAddr = address.as_deref().unwrap_or("127.0.0.1:7009").parse()?;
    let mut options = ServerOptions::default();
    options.marks = WaterMarks {
        high: 64 * 1024,
        low: 16 * 1024,
    };
    // Who reads nothing at all for this long is thrown out as well.
    options.write_timeout = Some(std::time::Duration::from_secs(60));
    let mut runtime = Runtime::builder().buffers(4096).build()?;
    let server = TcpServer::bind(&runtime, address, options, Chat::default())?;
    println!("listening on {}", server.local_addr());
    runtime.run()?;
    Ok(())
}
