//! Echo with callbacks: the least between the kernel and your code.
//!
//! ```text
//! cargo run -p zcn-examples --bin echo_callbacks -- [ADDRESS]
//! printf 'hello\n' | nc -N 127.0.0.1 7007
//! ```
#![allow(clippy::print_stdout)]

use std::net::SocketAddr;

use zcn::{Address, Buf, CloseReason, Conn, ConnId, Handler, Runtime, ServerOptions, TcpServer};

#[derive(Default)]
struct Echo {
    connections: u64,
}

impl Handler for Echo {
    /// Bytes echoed on the connection.
    type State = u64;

    fn on_accept(&mut self, _: &mut Conn<'_>, peer: &Address) -> Option<u64> {
        self.connections += 1;
        println!("{peer} is connection number {}", self.connections);
        Some(0)
    }

    fn on_data(&mut self, conn: &mut Conn<'_>, echoed: &mut u64, data: Buf) {
        *echoed += data.len() as u64;
        // The buffer goes out as it came in. While the queue is full the server stops receiving,
        // so it is refused only when the connection is about to close.
        let _ = conn.send(data);
    }

    fn on_close(&mut self, _: ConnId, echoed: u64, reason: CloseReason) {
        println!("echoed {echoed} bytes, closed: {reason:?}");
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1);
    let address: SocketAddr = address.as_deref().unwrap_or("127.0.0.1:7007").parse()?;
    let mut runtime = Runtime::new()?;
    let server = TcpServer::bind(&runtime, address, ServerOptions::default(), Echo::default())?;
    println!("listening on {}", server.local_addr());
    runtime.run()?;
    Ok(())
}
