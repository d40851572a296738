//! The small services on blocking sockets of the kernel, a thread for each connection.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

/// Ports, as `zcn stack up` has them.
pub(super) const ECHO: u16 = 7;
pub(super) const DISCARD: u16 = 9;
pub(super) const CHARGEN: u16 = 19;

/// What chargen sends (RFC 864): lines of 72 printable characters, each begun one character
/// further on, from the start again after 95 of them.
pub(super) fn characters() -> Vec<u8> {
    let ring: Vec<u8> = (b' '..=b'~').collect();
    let mut lines = Vec::new();
    for start in 0..ring.len() {
        lines.extend(ring.iter().cycle().skip(start).take(72));
        lines.extend(b"\r\n");
    }
    lines
}

/// Serves one connection to its end.
type Service = fn(TcpStream) -> io::Result<()>;

/// Listens on all addresses and serves until the process ends.
///
/// # Errors
/// A port or a thread cannot be had.
pub(super) fn start() -> io::Result<()> {
    let services: [(u16, Service); 3] = [(ECHO, echo), (DISCARD, discard), (CHARGEN, chargen)];
    for (port, serve) in services {
        let listener = TcpListener::bind(("0.0.0.0", port))?;
        thread::Builder::new()
            .name(format!("port {port}"))
            .spawn(move || {
                while let Ok((stream, _)) = listener.accept() {
                    // A peer that ends in the middle is how clients stop.
                    thread::spawn(move || stream.set_nodelay(true).and_then(|()| serve(stream)));
                }
            })?;
    }
    Ok(())
}

fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            len => stream.write_all(&buffer[..len])?,
        }
    }
}

fn discard(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; 256 * 1024];
    while stream.read(&mut buffer)? > 0 {}
    Ok(())
}

fn chargen(mut stream: TcpStream) -> io::Result<()> {
    let lines = characters();
    let piece = lines.repeat(64 * 1024 / lines.len());
    loop {
        stream.write_all(&piece)?;
    }
}
