//! UDP echo: `cargo run --release -p zcn-examples --bin udp_echo [ADDRESS]`.
//!
//! Answers every datagram with itself, by callbacks and without a copy in user space: the buffer
//! that the kernel filled is the one it sends from. Try it with `nc -u 127.0.0.1 7000`. Without an
//! address it talks to itself: a client task sends a few datagrams, some of them as segments of
//! one message, and checks what comes back.

use std::error::Error;
use std::io::Write;
use std::net::SocketAddr;

use zcn::{Datagram, DatagramHandler, Runtime, UdpConn, UdpOptions, UdpServer, UdpSocket};

struct Echo;

impl DatagramHandler for Echo {
    fn on_datagram(&mut self, socket: &mut UdpConn<'_>, datagram: Datagram) {
        let peer = datagram.peer;
        // A full queue means that the network is slower than the peer: UDP drops.
        let _ = socket.forward(datagram, peer);
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut runtime = Runtime::new()?;
    let mut options = UdpOptions::default();
    // Datagrams of one sender may arrive, and leave again, in one piece.
    options.gro = true;
    let mut out = std::io::stdout();
    if let Some(address) = std::env::args().nth(1) {
        let server = UdpServer::bind(&runtime, address.parse()?, &options, Echo)?;
        writeln!(out, "echoing UDP on {}", server.local_addr())?;
        return Ok(runtime.run()?);
    }
    let any: SocketAddr = ([127, 0, 0, 1], 0).into();
    let server = UdpServer::bind(&runtime, any, &options, Echo)?;
    let to = server.local_addr();
    runtime.block_on(client(to))??;
    writeln!(out, "{to} echoed {} datagrams", server.stats().sent)?;
    Ok(())
}

async fn client(server: SocketAddr) -> Result<(), Box<dyn Error>> {
    let socket = UdpSocket::bind(([127, 0, 0, 1], 0).into())?;
    socket.connect(server)?;
    for text in ["one", "two", "three"] {
        socket.send_copy(text.as_bytes(), None).await?;
        let back = socket.recv().await?;
        assert_eq!(&back.data[..], text.as_bytes());
    }
    // Ten datagrams of 1,000 bytes in one message, cut by the kernel.
    let mut buf = zcn::buffer().ok_or("no free buffer")?;
    buf.extend_from_slice(&[7; 10_000])?;
    socket.send_segments(buf, 1000, None).await?;
    for _ in 0..10 {
        assert_eq!(socket.recv().await?.data.len(), 1000);
    }
    Ok(())
}
