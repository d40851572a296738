//! A TCP proxy that moves loaned buffers from one socket to the other: what the kernel has received
//! into is what it sends from.
//!
//! ```text
//! cargo run -p zcn-examples --bin proxy -- TARGET [ADDRESS]
//! cargo run -p zcn-examples --bin proxy -- localhost:7007 127.0.0.1:7008
//! ```
#![allow(clippy::print_stdout)]

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use zcn::{ConnectOptions, Runtime, TcpListener, TcpStream};

/// Moves everything from one side to the other, then passes the end on; the bytes moved.
async fn pump(from: Rc<TcpStream>, to: Rc<TcpStream>) -> zcn::Result<u64> {
    let mut moved = 0;
    while let Some(buf) = from.recv().await? {
        moved += buf.len() as u64;
        // Waits while `to` is slow, and nothing is received from `from` meanwhile.
        to.send(buf).await?;
    }
    // Half-close: this direction has ended, the other may go on.
    to.shutdown();
    to.flush().await?;
    Ok(moved)
}

async fn serve(client: TcpStream, target: &str) -> zcn::Result<(u64, u64)> {
    let mut options = ConnectOptions::default();
    options.timeout = Some(Duration::from_secs(10));
    let server = Rc::new(TcpStream::connect_host(target, &options).await?);
    let client = Rc::new(client);
    let upwards = zcn::spawn(pump(client.clone(), server.clone()));
    let down = pump(server.clone(), client.clone()).await;
    if down.is_err() {
        // Broken: the other direction ends with it instead of waiting for ever.
        server.shutdown_how(std::net::Shutdown::Both);
        client.shutdown_how(std::net::Shutdown::Both);
    }
    // The runtime lives for as long as this task, so the other one ends by itself.
    let up = upwards.await.unwrap_or(Ok(0));
    Ok((up?, down?))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let target: Rc<str> = arguments
        .next()
        .ok_or("the first argument is the target, e.g. localhost:7007")?
        .into();
    let address = arguments.next();
    let address: SocketAddr = address.as_deref().unwrap_or("127.0.0.1:7008").parse()?;
    let mut runtime = Runtime::new()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(address)?;
        println!("listening on {}", listener.local_addr());
        loop {
            let (client, peer) = listener.accept().await?;
            let target = target.clone();
            zcn::spawn(async move {
                match serve(client, &target).await {
                    Ok((up, down)) => println!("{peer}: {up} bytes up, {down} bytes down"),
                    Err(error) => println!("{peer}: {error}"),
                }
            });
        }
    })?
}
