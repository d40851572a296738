//! Numbered datagrams to an echo server, any of which may be lost.

use std::time::Duration;

use zcn::{Address, Datagram, UdpOptions, UdpSocket};
use zcn_measure::pattern::Pattern;

use crate::failure::Failure;

/// After this long an answer counts as lost.
const LOST_AFTER: Duration = Duration::from_millis(500);
/// Each datagram begins with its number.
const NUMBER_BYTES: usize = 8;
/// Socket buffers, so that a burst is not lost; the kernel caps them.
const SOCKET_BYTES: usize = 4 << 20;

/// A connected socket, and how far it has come.
pub(crate) struct Datagrams {
    socket: UdpSocket,
    pattern: Pattern,
    message: Vec<u8>,
    /// Datagrams sent so far: the number of the next.
    pub(crate) sent: u64,
    /// Datagrams that came back right, late ones included.
    pub(crate) returned: u64,
    /// What of both [`news`](Self::news) has told.
    told: (u64, u64),
}

impl Datagrams {
    /// Socket `number`, for datagrams of `bytes`.
    pub(crate) fn connect(address: &Address, number: usize, bytes: usize) -> Result<Self, Failure> {
        let Address::Ip(peer) = *address else {
            return Err(Failure::new(format!("cannot reach {address} with --udp"))
                .remedy("an IP address, or no --udp"));
        };
        if bytes < NUMBER_BYTES {
            return Err(
                Failure::new(format!("--size {bytes} is too small for --udp"))
                    .remedy("at least 8 bytes: each datagram carries its number"),
            );
        }
        let mut options = UdpOptions::default();
        options.receive_buffer = Some(SOCKET_BYTES);
        options.send_buffer = Some(SOCKET_BYTES);
        options.max_datagram = bytes.min(options.max_datagram);
        let any = match peer.is_ipv4() {
            true => std::net::Ipv4Addr::UNSPECIFIED.into(),
            false => std::net::Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind_with(std::net::SocketAddr::new(any, 0), &options)?;
        socket.connect(peer)?;
        Ok(Self {
            socket,
            pattern: Pattern::new(number),
            message: vec![0; bytes],
            sent: 0,
            returned: 0,
            told: (0, 0),
        })
    }

    /// Datagrams sent and returned since it was asked last.
    pub(crate) fn news(&mut self) -> (u64, u64) {
        let before = std::mem::replace(&mut self.told, (self.sent, self.returned));
        (self.sent - before.0, self.returned - before.1)
    }

    /// Sends the next datagram.
    pub(crate) async fn send(&mut self) -> Result<(), Failure> {
        let (head, body) = self.message.split_at_mut(NUMBER_BYTES);
        head.copy_from_slice(&self.sent.to_le_bytes());
        self.pattern.fill(self.sent * NUMBER_BYTES as u64, body);
        self.socket.send_copy(&self.message, None).await?;
        self.sent += 1;
        Ok(())
    }

    /// The next answer's number; `None` when none came in time.
    pub(crate) async fn answer(&mut self) -> Result<Option<u64>, Failure> {
        match zcn::timeout(LOST_AFTER, self.socket.recv()).await {
            Ok(datagram) => self.checked(&datagram?).map(Some),
            Err(_) => Ok(None),
        }
    }

    /// The next answer's number, if one is there already.
    pub(crate) fn answer_now(&mut self) -> Result<Option<u64>, Failure> {
        match self.socket.try_recv()? {
            Some(datagram) => self.checked(&datagram).map(Some),
            None => Ok(None),
        }
    }

    fn checked(&mut self, datagram: &Datagram) -> Result<u64, Failure> {
        let wrong = || {
            Failure::new("a datagram came back wrong")
                .remedy("is the server an echo server, such as `zcn echo --udp`?")
        };
        let (head, body) = datagram
            .data
            .split_first_chunk::<NUMBER_BYTES>()
            .ok_or_else(wrong)?;
        let number = u64::from_le_bytes(*head);
        if number >= self.sent || datagram.data.len() != self.message.len() {
            return Err(wrong());
        }
        self.pattern
            .check(number * NUMBER_BYTES as u64, body)
            .map_err(|_| wrong())?;
        self.returned += 1;
        Ok(number)
    }

    /// Sends the next datagram and waits for its answer; false when it, or the
    /// answer, was lost.
    pub(crate) async fn exchange(&mut self) -> Result<bool, Failure> {
        let number = self.sent;
        self.send().await?;
        loop {
            match self.answer().await? {
                Some(answer) if answer == number => return Ok(true),
                // One that had been given up.
                Some(_) => {}
                None => return Ok(false),
            }
        }
    }
}
