//! The kernel's sockets: the load of every contest over a TAP device, and the peer beside ours.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use super::CHUNK;
use crate::harness::{Figure, Result, process_time};

/// What a peer does for whoever connects, by port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Sends without end.
    Source,
    /// Receives without end.
    Sink,
    /// Answers every request of [`REQUEST`] bytes with [`ANSWER`].
    Answer,
}

impl Service {
    pub const ALL: [Self; 3] = [Self::Source, Self::Sink, Self::Answer];

    pub fn port(self) -> u16 {
        match self {
            Self::Source => 5001,
            Self::Sink => 5002,
            Self::Answer => 5003,
        }
    }
}

/// Bytes of a request, and of its answer.
pub const REQUEST: usize = 100;
pub const ANSWER: usize = 100_000;

/// Serves on every port, each connection on a thread of its own, for as long as the process
/// lives.
pub fn serve(address: std::net::IpAddr) -> Result {
    for service in Service::ALL {
        let listener = TcpListener::bind(SocketAddr::new(address, service.port()))?;
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                // It ends when the load closes its end.
                thread::spawn(move || serve_one(service, stream));
            }
        });
    }
    Ok(())
}

fn serve_one(service: Service, mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; CHUNK];
    match service {
        Service::Source => loop {
            stream.write_all(&buffer)?;
        },
        Service::Sink => while stream.read(&mut buffer)? > 0 {},
        Service::Answer => {
            let answer = vec![0; ANSWER];
            loop {
                stream.read_exact(&mut buffer[..REQUEST])?;
                stream.write_all(&answer)?;
            }
        }
    }
    Ok(())
}

fn connect(peer: std::net::IpAddr, service: Service) -> Result<TcpStream> {
    let address = SocketAddr::new(peer, service.port());
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.set_write_timeout(Some(Duration::from_secs(5)))?;
    Ok(stream)
}

/// How many bytes a second pass one connection, by the clock and by the CPU of both ends, the
/// kernel's part included.
pub fn stream(peer: std::net::IpAddr, service: Service, sample: Duration) -> Result<Vec<Figure>> {
    let mut stream = connect(peer, service)?;
    let mut buffer = vec![0; 2 * CHUNK];
    let mut turn = || match service {
        Service::Source => stream.read(&mut buffer),
        _ => stream.write(&buffer),
    };
    // The windows grow first.
    let start = Instant::now();
    while start.elapsed() < sample / 4 {
        turn()?;
    }
    let (start, cpu) = (Instant::now(), process_time());
    let mut bytes = 0;
    while start.elapsed() < sample {
        let count = turn()?;
        if count == 0 {
            return Err("the peer ended the stream".into());
        }
        bytes += count;
    }
    let (elapsed, cpu) = (start.elapsed(), process_time() - cpu);
    let gigabits = bytes as f64 * 8.0 / 1e9;
    Ok(vec![
        Figure::new("bytes", gigabits / elapsed.as_secs_f64(), "Gbit/s"),
        Figure::new("bytes_by_cpu", gigabits / cpu.as_secs_f64(), "Gbit/core-s"),
    ])
}

/// How long a request and its answer take, again and again on one connection.
pub fn exchange(peer: std::net::IpAddr, sample: Duration) -> Result<Vec<Figure>> {
    let mut stream = connect(peer, Service::Answer)?;
    let (request, mut answer) = ([0; REQUEST], vec![0; ANSWER]);
    let mut turn = || -> Result {
        stream.write_all(&request)?;
        Ok(stream.read_exact(&mut answer)?)
    };
    for _ in 0..10 {
        turn()?;
    }
    let (start, mut count) = (Instant::now(), 0);
    let mut longest = Duration::ZERO;
    while start.elapsed() < sample {
        let before = Instant::now();
        turn()?;
        longest = longest.max(before.elapsed());
        count += 1;
    }
    let mean = start.elapsed().as_secs_f64() * 1e6 / f64::from(count);
    Ok(vec![
        Figure::new("time", mean, "us/exchange"),
        Figure::new("longest", longest.as_secs_f64() * 1e6, "us"),
    ])
}
