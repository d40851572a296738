//! Clients on blocking sockets of the kernel.

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use zcn_measure::latency::Latency;
use zcn_measure::pattern::Pattern;

use super::party::SERVER;
use super::services;
use crate::failure::Failure;
use crate::network::Host;

/// Bytes of a message.
const MESSAGE: usize = 64;
/// How long anything may take.
const HANG: Duration = Duration::from_secs(20);

/// What drives a server, from a namespace, for a time.
pub(super) struct Client<'a> {
    host: &'a Host,
    sample: Duration,
    checked: Cell<u64>,
}

impl<'a> Client<'a> {
    pub(super) const fn new(host: &'a Host, sample: Duration) -> Self {
        Self {
            host,
            sample,
            checked: Cell::new(0),
        }
    }

    /// Bytes received and compared so far.
    pub(super) const fn checked(&self) -> u64 {
        self.checked.get()
    }

    fn connect(&self, port: u16) -> Result<TcpStream, Failure> {
        let address = SocketAddr::from((SERVER, port));
        let connect = move || -> io::Result<TcpStream> {
            let stream = TcpStream::connect_timeout(&address, HANG)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(HANG))?;
            stream.set_write_timeout(Some(HANG))?;
            Ok(stream)
        };
        self.host
            .enter(connect)?
            .map_err(|error| Failure::new(format!("cannot connect to {address}")).because(error))
    }

    /// One message at a time, each compared: median round trip time in µs.
    pub(super) fn round_trips(&self) -> Result<f64, Failure> {
        let mut stream = self.connect(services::ECHO)?;
        let pattern = Pattern::new(0);
        let mut latency = Latency::default();
        let (mut sent, mut came) = ([0; MESSAGE], [0; MESSAGE]);
        let mut offset = 0;
        let begun = Instant::now();
        // Once at least: on a busy machine the time may be over before the first turn.
        while offset == 0 || begun.elapsed() < self.sample {
            pattern.fill(offset, &mut sent);
            let start = Instant::now();
            stream
                .write_all(&sent)
                .and_then(|()| stream.read_exact(&mut came))
                .map_err(|error| Failure::new("an echo did not come back").because(error))?;
            latency.record(start.elapsed());
            if came != sent {
                return Err(Failure::new("an echo came back wrong"));
            }
            offset += MESSAGE as u64;
        }
        self.checked.set(self.checked.get() + offset);
        Ok(latency.quantile_ns(0.5) as f64 / 1e3)
    }

    /// As fast as it goes to the server, Gbit/s.
    pub(super) fn send(&self) -> Result<f64, Failure> {
        let mut stream = self.connect(services::DISCARD)?;
        let piece = vec![7; 256 * 1024];
        let begun = Instant::now();
        let mut sent = 0;
        while sent == 0 || begun.elapsed() < self.sample {
            stream
                .write_all(&piece)
                .map_err(|error| Failure::new("the server takes nothing").because(error))?;
            sent += piece.len() as u64;
        }
        // What the server has not acknowledged yet counts, too, in the time that it takes.
        stream
            .shutdown(std::net::Shutdown::Write)
            .and_then(|()| stream.read(&mut [0; 1]))
            .map_err(|error| Failure::new("the server does not end").because(error))?;
        Ok(gigabits(sent, begun.elapsed()))
    }

    /// As fast as it comes from the server, each byte compared, Gbit/s.
    pub(super) fn receive(&self) -> Result<f64, Failure> {
        let mut stream = self.connect(services::CHARGEN)?;
        let expected = services::characters().repeat(128);
        let mut buffer = vec![0; expected.len()];
        let begun = Instant::now();
        let mut got = 0;
        while got == 0 || begun.elapsed() < self.sample {
            stream
                .read_exact(&mut buffer)
                .map_err(|error| Failure::new("the server sends nothing").because(error))?;
            if buffer != expected {
                return Err(Failure::new("what the server sent came wrong"));
            }
            got += buffer.len() as u64;
        }
        self.checked.set(self.checked.get() + got);
        Ok(gigabits(got, begun.elapsed()))
    }
}

pub(super) fn gigabits(bytes: u64, time: Duration) -> f64 {
    bytes as f64 * 8.0 / 1e9 / time.as_secs_f64()
}
