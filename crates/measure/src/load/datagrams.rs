//! UDP datagrams in batches, echoed and counted.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use super::stage::Counted;
use super::{Load, Outcome, Span, Window, cost};
use crate::datagrams::{Batch, use_super_packets};
use crate::error::{Action, Error, Result};
use crate::pattern::Pattern;
use crate::rounds::Figure;

/// Datagrams of one system call.
const SLOTS: usize = 64;
/// Most that a super-packet carries: what fits an IP packet, in at most 64 datagrams.
const SUPER_BYTES: usize = 65_000;
const SUPER_DATAGRAMS: usize = 64;
/// After this long without an answer, what is on its way counts as lost.
const LOST_AFTER: Duration = Duration::from_millis(200);
const SOCKET_BYTES: usize = 4 * 1024 * 1024;
const NUMBER_BYTES: usize = 8;

/// Numbered datagrams, a window of them on the way.
#[derive(Clone, Debug)]
pub struct Datagrams {
    /// Bytes of a datagram, at least 8 for its number.
    pub payload_bytes: usize,
    /// Datagrams that may be on the way. Small enough for the sockets' buffers, so that
    /// the kernel has no reason to drop any.
    pub window: usize,
    /// Whether datagrams travel in super-packets (`UDP_SEGMENT`, `UDP_GRO`).
    pub super_packets: bool,
    /// How long to measure.
    pub duration: Duration,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatagramsReport {
    /// Datagrams that came back right in the measured part.
    pub echoed: u64,
    /// Datagrams that did not come back, in the whole run.
    pub lost: u64,
}

impl Load for Datagrams {
    type Report = DatagramsReport;

    fn run(&self, address: SocketAddr, window: &mut Window<'_>) -> Result<DatagramsReport> {
        let mut session = Session::open(self, address)?;
        let mut counted = Counted::starting(Instant::now(), self.duration);
        let echoed = loop {
            session.send(self.window as u64)?;
            session.receive()?;
            match counted.over(Instant::now(), session.echoed, window) {
                Some(echoed) if echoed > 0 || session.lost > 0 => break echoed,
                _ => {}
            }
        };
        window.end();
        while session.on_the_way() > 0 {
            session.receive()?;
        }
        if session.echoed == 0 {
            return Err(Error::Silent {
                connection: 0,
                patience: LOST_AFTER,
            });
        }
        Ok(DatagramsReport {
            echoed,
            lost: session.lost,
        })
    }

    fn figures(&self, outcome: &Outcome<DatagramsReport>) -> Vec<Figure> {
        let (span, report): (&Span, _) = (&outcome.span, outcome.report);
        let mut figures = vec![
            Figure::new("datagrams", span.rate(report.echoed), "1/s"),
            Figure::new("lost", report.lost as f64, "datagrams"),
        ];
        figures.extend(cost(span, report.echoed, "datagram"));
        figures
    }
}

struct Session {
    socket: UdpSocket,
    pattern: Pattern,
    payload_bytes: usize,
    /// Datagrams in one slot of a batch.
    per_slot: usize,
    out: Batch,
    back: Batch,
    sent: u64,
    echoed: u64,
    lost: u64,
    heard_at: Instant,
}

impl Session {
    fn open(load: &Datagrams, address: SocketAddr) -> Result<Self> {
        let most = if load.super_packets {
            SUPER_BYTES
        } else {
            2048
        };
        if !(NUMBER_BYTES..=most).contains(&load.payload_bytes) || load.window == 0 {
            return Err(Error::Options(format!(
                "datagrams need 8 to {most} bytes and a window of at least 1"
            )));
        }
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).action("bind a UDP socket")?;
        socket
            .connect(address)
            .action(&format!("connect to {address}"))?;
        rustix::net::sockopt::set_socket_recv_buffer_size(&socket, SOCKET_BYTES)
            .action("size a receive buffer")?;
        let (per_slot, slots, slot_bytes) = if load.super_packets {
            let segment = u16::try_from(load.payload_bytes)
                .map_err(|_| Error::Options("the datagram is too large".to_owned()))?;
            use_super_packets(&socket, segment)?;
            let per_slot = (SUPER_BYTES / load.payload_bytes).min(SUPER_DATAGRAMS);
            (per_slot, 8, 64 * 1024)
        } else {
            (1, SLOTS, 2048)
        };
        Ok(Self {
            socket,
            pattern: Pattern::new(0),
            payload_bytes: load.payload_bytes,
            per_slot,
            out: Batch::new(slots, slot_bytes),
            back: Batch::new(slots, slot_bytes),
            sent: 0,
            echoed: 0,
            lost: 0,
            heard_at: Instant::now(),
        })
    }

    fn on_the_way(&self) -> u64 {
        self.sent - self.echoed - self.lost
    }

    /// Sends one batch when the window has room for a good part of it.
    fn send(&mut self, window: u64) -> Result<()> {
        let room = window.saturating_sub(self.on_the_way());
        let per_slot = (self.per_slot as u64).min(window);
        let slots = (room / per_slot).min(self.out.slots() as u64);
        if slots == 0 || (slots < self.out.slots() as u64 / 4 && self.on_the_way() > window / 2) {
            return Ok(());
        }
        let mut number = self.sent;
        for slot in 0..slots as usize {
            let bytes = per_slot as usize * self.payload_bytes;
            let slot = self.out.prepare(slot, bytes);
            for datagram in slot.chunks_exact_mut(self.payload_bytes) {
                let (head, body) = datagram.split_at_mut(NUMBER_BYTES);
                head.copy_from_slice(&number.to_le_bytes());
                self.pattern.fill(number * 8, body);
                number += 1;
            }
        }
        match self.out.send(&self.socket, 0, slots as usize, true) {
            Ok(count) => {
                self.sent += count as u64 * per_slot;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error).action("send datagrams"),
        }
    }

    /// Receives and checks what is there; what is overdue counts as lost.
    fn receive(&mut self) -> Result<()> {
        match self.back.receive(&self.socket) {
            Ok(count) => {
                for slot in 0..count {
                    for datagram in self.back.datagram(slot).chunks(self.payload_bytes) {
                        self.pattern_check(datagram)?;
                        self.echoed += 1;
                    }
                }
                // Datagrams written off may still come.
                self.lost = self.lost.min(self.sent - self.echoed);
                self.heard_at = Instant::now();
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if self.on_the_way() == 0 {
                    self.heard_at = Instant::now();
                } else if self.heard_at.elapsed() > LOST_AFTER {
                    self.lost = self.sent - self.echoed;
                }
                Ok(())
            }
            Err(error) => Err(error).action("receive datagrams"),
        }
    }

    fn pattern_check(&self, datagram: &[u8]) -> Result<()> {
        let corrupt = |offset| Error::Corrupt {
            connection: 0,
            offset,
        };
        let (head, body) = datagram
            .split_first_chunk::<NUMBER_BYTES>()
            .ok_or_else(|| corrupt(0))?;
        let number = u64::from_le_bytes(*head);
        if number >= self.sent || datagram.len() != self.payload_bytes {
            return Err(corrupt(number));
        }
        self.pattern.check(number * 8, body).map_err(corrupt)
    }
}
