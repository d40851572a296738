//! What UDP sockets carry: datagrams as they arrived, messages on their way out.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use zcn_pool::{Buf, SharedBuf};
use zcn_uring::recv_msg;

/// Most bytes in one datagram over IPv4: 65,535 less the IP and UDP headers.
pub(crate) const MAX_PAYLOAD_V4: usize = 65_507;
/// Most bytes in one datagram over IPv6, whose length does not count the IP header.
pub(crate) const MAX_PAYLOAD_V6: usize = 65_527;

/// One datagram, or several of one size that the kernel coalesced (`UDP_GRO`), as it arrived.
///
/// `data` is a pool buffer on loan: dropping it gives it back, sending it moves it on without a
/// copy.
#[derive(Debug)]
#[non_exhaustive]
pub struct Datagram {
    /// The bytes.
    pub data: Buf,
    /// Who sent it.
    pub peer: SocketAddr,
    /// Size of each datagram in `data`, of which the last may be shorter, when the kernel
    /// coalesced several; only with [`UdpOptions::gro`](crate::UdpOptions::gro).
    pub segment_size: Option<u16>,
    /// When the kernel received it (`CLOCK_REALTIME`), with
    /// [`UdpOptions::timestamps`](crate::UdpOptions::timestamps).
    pub timestamp: Option<SystemTime>,
    /// The datagram was longer than the buffer; the rest of it is lost.
    pub truncated: bool,
}

impl Datagram {
    /// The datagrams in it, one unless it was coalesced, without a copy. An empty datagram is one
    /// empty slice.
    pub fn segments(&self) -> impl Iterator<Item = &[u8]> {
        let size = self.segment_len();
        let empty = self.data.is_empty().then_some(&self.data[..]);
        empty.into_iter().chain(self.data.chunks(size))
    }

    /// The datagrams in it as slices that share the buffer: each may be kept or sent by itself.
    pub fn into_segments(self) -> impl Iterator<Item = SharedBuf> {
        let size = self.segment_len();
        let mut rest = Some(SharedBuf::from(self.data));
        std::iter::from_fn(move || {
            let mut data = rest.take()?;
            if data.len() > size {
                let first = data.split_to(size);
                rest = Some(data);
                return Some(first);
            }
            Some(data)
        })
    }

    /// How many datagrams are in it.
    pub fn segment_count(&self) -> usize {
        self.data.len().div_ceil(self.segment_len()).max(1)
    }

    fn segment_len(&self) -> usize {
        self.segment_size
            .map_or(self.data.len(), usize::from)
            .max(1)
    }

    /// Takes the first datagram off for a reader who wants them one by one; the rest stays.
    /// Returns how many bytes it copied.
    pub(crate) fn copy_first(&mut self, into: &mut [u8]) -> usize {
        let size = self.segment_len().min(self.data.len());
        let count = size.min(into.len());
        into[..count].copy_from_slice(&self.data[..count]);
        self.data.advance(size);
        count
    }

    /// What a buffer filled by `recvmsg` holds; `None` if it does not hold together.
    pub(super) fn parse(mut data: Buf) -> Option<Self> {
        let parsed = recv_msg::parse(&data)?;
        data.advance(parsed.offset);
        data.truncate(parsed.len);
        Some(Self {
            peer: parsed.peer?,
            segment_size: match parsed.gro_size {
                0 => None,
                size => Some(size).filter(|&size| usize::from(size) < data.len()),
            },
            timestamp: parsed
                .timestamp
                .map(|(seconds, nanos)| UNIX_EPOCH + Duration::new(seconds, nanos)),
            truncated: parsed.truncated,
            data,
        })
    }
}

/// A message waiting to be sent.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) data: SharedBuf,
    /// `None` on a connected socket.
    pub(crate) peer: Option<SocketAddr>,
    /// The kernel cuts it into datagrams of this size; 0 = it is one datagram.
    pub(crate) segment: u16,
}

/// Why a message was not taken for sending; it comes back with the answer.
#[derive(Debug)]
pub(crate) enum Unsendable {
    /// The queue is full.
    Full(Outgoing),
    /// The socket is closed, or the kernel reported this errno for something sent earlier.
    Error(Outgoing, i32),
}
