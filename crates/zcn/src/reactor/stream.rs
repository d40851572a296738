//! One connection as the reactor keeps it.

use std::collections::VecDeque;
use std::task::Waker;

use zcn_pool::{Buf, SharedBuf};

use super::driver::Attached;
use super::socket::Socket;
use crate::table::Key;

/// Who is told what happens on a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// The server with this number, by events.
    Server(Key),
    /// A task, by its waker.
    Task,
}

/// Where the receive side stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Receive {
    /// No receive asked for.
    Idle,
    /// In the list of receives to start in the next flush.
    Listed,
    /// Started.
    Armed,
    /// Asked directly while the loop spins ([`super::hot`]).
    Hot,
    /// Ended for want of a buffer; starts again when buffers are back.
    Starved,
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// Closed by this side.
    Local,
    /// The peer had finished, then this side closed.
    Peer,
    /// An error, with its errno: `ECONNRESET`, `EPIPE`, `ETIMEDOUT`, …
    Error(i32),
    /// Nothing came in for the idle timeout.
    IdleTimeout,
    /// The peer took nothing for the write timeout.
    WriteTimeout,
    /// The handler panicked on it.
    HandlerPanic,
    /// The server was shut down.
    Shutdown,
}

/// How far a close has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closing {
    /// Not closing.
    No,
    /// Sending what is queued first.
    Flushing(CloseReason),
    /// Everything has been sent and the write side shut down; what the peer still sends is dropped
    /// until it ends too. Closing earlier would make the kernel answer it with a reset, and a reset
    /// discards what the peer has not read yet.
    Lingering(CloseReason),
    /// Shut down; waiting for the final completions before the descriptor is closed.
    Ending(CloseReason),
}

/// How far the write side has been shut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shut {
    Open,
    /// Once the queue is empty.
    Wanted,
    Done,
}

/// State of one connection; under 300 bytes, buffers only while they hold something.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) socket: Socket,
    /// Of a socket of the kernel's.
    pub(crate) at: Attached,
    pub(crate) owner: Owner,

    pub(crate) receive: Receive,
    /// Looks in a row that found nothing ([`super::hot`]).
    pub(crate) misses: u16,
    /// Data comes in large pieces: the next receive gets a large buffer.
    pub(crate) bulk: bool,
    /// The next receive probably finds data at once.
    pub(crate) likely: bool,
    /// Receives that brought something, up to [`BUSY`].
    pub(crate) receives: u8,
    /// Small receives in a row since the last large one.
    pub(crate) small: u8,
    /// The application wants no data for now.
    pub(crate) paused: bool,
    /// The peer has finished sending.
    pub(crate) eof: bool,
    /// Data events of a stack's stream that the server has not been given yet.
    pub(crate) untold: u32,
    pub(crate) arrived: VecDeque<Buf>,
    pub(crate) read_waker: Option<Waker>,

    pub(crate) queue: VecDeque<SharedBuf>,
    /// A zero-copy send in flight, kept for the rest of a short one.
    pub(crate) in_flight: Option<SharedBuf>,
    /// Bytes accepted and not yet taken by the kernel.
    pub(crate) unsent: usize,
    pub(crate) sending: bool,
    /// The server wants to hear of every send that has ended.
    pub(crate) tell_sent: bool,
    /// In the list of streams with something to send.
    pub(crate) dirty: bool,
    /// Above the high-water mark and not yet down to the low one.
    pub(crate) full: bool,
    pub(crate) zero_copy: bool,
    pub(crate) shut: Shut,
    /// Tasks that wait for room in the queue or for its end.
    pub(crate) write_wakers: Vec<Waker>,

    pub(crate) high_water: u32,
    pub(crate) low_water: u32,

    pub(crate) closing: Closing,
    pub(crate) error: Option<i32>,
    /// Operations that use the descriptor and have not ended.
    pub(crate) ops: u32,
    /// Milliseconds of the reactor's clock when something last arrived.
    pub(crate) last_read_ms: u32,
    /// Milliseconds of the reactor's clock when the kernel last took something, or when the queue
    /// was last empty.
    pub(crate) last_write_ms: u32,
    /// What [`taken`](super::progress::taken) told when a sweep last looked.
    pub(crate) taken: u32,
}

const _: () = assert!(size_of::<Stream>() <= 300);

/// Small receives in a row after which a connection is taken to have little data again.
const SMALL_MAX: u8 = 8;

/// Receives after which a connection is taken to be a busy one.
pub(crate) const BUSY: u8 = 32;

/// High and low marks of a send queue, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaterMarks {
    /// From here on sends are refused and receiving pauses.
    pub high: u32,
    /// Down to here the queue must fall before sending and receiving go on.
    pub low: u32,
}

impl Default for WaterMarks {
    fn default() -> Self {
        // A window's worth: more in user space adds latency, less stalls between two turns.
        Self {
            high: 256 * 1024,
            low: 64 * 1024,
        }
    }
}

impl Stream {
    pub(crate) fn new(socket: Socket, at: Attached, owner: Owner, marks: WaterMarks) -> Self {
        Self {
            socket,
            at,
            owner,
            receive: Receive::Idle,
            misses: 0,
            bulk: false,
            likely: true,
            receives: 0,
            small: 0,
            paused: false,
            eof: false,
            untold: 0,
            arrived: VecDeque::new(),
            read_waker: None,
            queue: VecDeque::new(),
            in_flight: None,
            unsent: 0,
            sending: false,
            tell_sent: false,
            dirty: false,
            full: false,
            zero_copy: false,
            shut: Shut::Open,
            write_wakers: Vec::new(),
            high_water: marks.high.max(1),
            low_water: marks.low.min(marks.high),
            closing: Closing::No,
            error: None,
            ops: 0,
            last_read_ms: 0,
            last_write_ms: 0,
            taken: 0,
        }
    }

    /// Decides by what arrived whether the next receive gets a large buffer: a full ordinary buffer
    /// says that there is more, and some small receives in a row that there is not so much any
    /// more (the last piece of a large message says nothing).
    #[inline]
    pub(crate) fn weigh(&mut self, received: usize, ordinary: usize) {
        if received >= ordinary {
            self.bulk = true;
            self.small = 0;
        } else if self.bulk {
            self.small += 1;
            self.bulk = self.small < SMALL_MAX;
        }
    }

    /// Whether nothing more is received, for whatever reason.
    pub(crate) fn is_over(&self) -> bool {
        self.eof || self.error.is_some() || self.closing != Closing::No
    }

    /// Whether a receive may be started now.
    pub(crate) fn wants_data(&self) -> bool {
        let open = match self.closing {
            // A server that answers what it reads must not read on while its answers pile up. A
            // task decides for itself when it reads.
            Closing::No => !self.paused && (!self.full || self.owner == Owner::Task),
            // What comes now is dropped.
            Closing::Flushing(_) | Closing::Lingering(_) => true,
            Closing::Ending(_) => false,
        };
        open && !self.eof && self.error.is_none()
    }
}
