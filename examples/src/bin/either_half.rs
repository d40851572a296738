//! The same sockets on the kernel's TCP/IP or on one of our own: [`half`] decides, and nothing else
//! in here knows.
//!
//! ```text
//! cargo run -p zcn-examples --bin either_half               # the kernel's
//! cargo run -p zcn-examples --bin either_half -- memory     # our own, which meets only itself
//! cargo run -p zcn-examples --bin either_half -- zcn0       # our own on a TAP device, as root:
//! printf 'hello\n' | nc -N 10.9.0.2 7007                    #   the kernel is its neighbour
//! ```
#![allow(clippy::print_stdout)]

use std::net::SocketAddr;

use zcn::stack::{LinkConfig, StackConfig};
use zcn::{Runtime, RuntimeBuilder, TcpListener, TcpStream};

/// The one line: without `.stack(…)` it is the kernel's half.
fn half(builder: RuntimeBuilder, name: Option<&str>) -> Result<RuntimeBuilder, String> {
    let mut config = match name {
        None => return Ok(builder),
        Some("memory") => return Ok(builder.stack(StackConfig::new(LinkConfig::memory()))),
        Some(device) => StackConfig::new(LinkConfig::tap(device)),
    };
    let cidr = |text: &str| text.parse().map_err(|error| format!("{text}: {error}"));
    config.addresses.push(cidr("10.9.0.2/24")?);
    config.link.kernel_addresses.push(cidr("10.9.0.1/24")?);
    Ok(builder.stack(config))
}

async fn echo(stream: TcpStream) -> zcn::Result<()> {
    while let Some(buf) = stream.recv().await? {
        stream.send(buf).await?;
    }
    Ok(())
}

async fn serve(listener: TcpListener) -> zcn::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        zcn::spawn(async move {
            if let Err(error) = echo(stream).await {
                println!("{error}");
            }
        });
    }
}

/// Asks the server a hundred times, and counts the bytes that came back.
async fn ask(address: SocketAddr) -> zcn::Result<usize> {
    let stream = TcpStream::connect(address).await?;
    let mut answered = 0;
    for number in 0..100_u8 {
        stream.send_copy(&[number; 1000]).await?;
        let mut answer = [0; 1000];
        stream.read_exact(&mut answer).await?;
        answered += answer.iter().filter(|&&byte| byte == number).count();
    }
    Ok(answered)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let name = std::env::args().nth(1);
    let device = name.as_deref().is_some_and(|name| name != "memory");
    let mut runtime = half(Runtime::builder(), name.as_deref())?.build()?;
    let address = match device {
        true => ([10, 9, 0, 2], 7007),
        false => ([127, 0, 0, 1], 0),
    };
    let half = match runtime.net().is_stack() {
        true => "a TCP/IP of our own",
        false => "the kernel's TCP/IP",
    };
    let server = runtime.block_on(async {
        let listener = TcpListener::bind(address.into())?;
        let address = listener.local_addr();
        let server = zcn::spawn(serve(listener));
        let answered = ask(address).await?;
        println!("on {half}: {answered} bytes came back from {address}");
        Ok::<_, zcn::Error>(server)
    })??;
    if device {
        println!("serving; Ctrl-C ends it");
        runtime.block_on(server)?;
    }
    Ok(())
}
