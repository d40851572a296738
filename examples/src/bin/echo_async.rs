//! Echo with tasks: one per connection.
//!
//! ```text
//! cargo run -p zcn-examples --bin echo_async -- [ADDRESS]
//! printf 'hello\n' | nc -N 127.0.0.1 7007
//! ```
#![allow(clippy::print_stdout)]

use std::net::SocketAddr;

use zcn::{Runtime, TcpListener, TcpStream};

/// Sends every buffer back as it came, until the peer has finished.
async fn echo(stream: TcpStream) -> zcn::Result<u64> {
    let mut echoed = 0;
    while let Some(buf) = stream.recv().await? {
        echoed += buf.len() as u64;
        // Waits while the peer is slow to take its bytes: nothing piles up.
        stream.send(buf).await?;
    }
    Ok(echoed)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1);
    let address: SocketAddr = address.as_deref().unwrap_or("127.0.0.1:7007").parse()?;
    let mut runtime = Runtime::new()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(address)?;
        println!("listening on {}", listener.local_addr());
        loop {
            let (stream, peer) = listener.accept().await?;
            zcn::spawn(async move {
                match echo(stream).await {
                    Ok(echoed) => println!("{peer}: echoed {echoed} bytes"),
                    Err(error) => println!("{peer}: {error}"),
                }
            });
        }
    })?
}
