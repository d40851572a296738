//! Figures, readable from any thread.
#![allow(unsafe_code)]
#![allow(clippy::missing_safety_doc)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use zcn::BufferPool;

use crate::client::{Client, ZCN_Client};
use crate::error::{Failure, Result, ZCN_Error, code, value_or};
use crate::guard::guard;
use crate::handle::{self, Handled};
use crate::server::{Server, ZCN_Server};
use crate::udp::{Udp, ZCN_Udp};

/// Buffers and connections of a server.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(non_camel_case_types)]
pub struct ZCN_Stats {
    /// Buffers of its loop, to receive into and to send from.
    pub total_buffers: usize,
    /// How many of them hold something: received and not given back, filled or being sent.
    pub buffers_in_use: usize,
    /// How many are free, or lent to the kernel to receive into.
    pub buffers_free: usize,
    /// Connections open now.
    pub connections_active: usize,
}

const _: () = assert!(size_of::<ZCN_Stats>() == 4 * size_of::<usize>());

/// What a server, client or UDP socket did so far; grows at its end only.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(non_camel_case_types)]
pub struct ZCN_StatsEx {
    /// Connections open now.
    pub connections_active: u64,
    /// Connections accepted, or connected.
    pub connections_opened: u64,
    /// Peers that could not be taken, or connections that could not be made.
    pub connections_failed: u64,
    /// Connections closed.
    pub connections_closed: u64,
    /// Calls of `on_data` or `on_datagram`.
    pub messages_received: u64,
    /// Their bytes.
    pub bytes_received: u64,
    /// Sends that were accepted.
    pub messages_sent: u64,
    /// Their bytes.
    pub bytes_sent: u64,
    /// Sends refused because a queue was full or no buffer was free.
    pub sends_refused: u64,
    /// Buffers of the loop, to receive into and to send from.
    pub buffers_total: u64,
    /// How many of them hold something.
    pub buffers_in_use: u64,
    /// How many are lent to the kernel to receive into.
    pub buffers_lent: u64,
    /// Polls of the loop.
    pub polls: u64,
    /// System calls of the loop.
    pub system_calls: u64,
}

/// A counter with one writer, the object's thread, and readers anywhere.
///
/// Relaxed throughout: a reader wants a recent number and draws no conclusion from one about
/// another. The writer loads and stores, which costs no read-modify-write.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    #[inline]
    pub(crate) fn add(&self, count: u64) {
        self.0
            .store(self.get().wrapping_add(count), Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn subtract(&self, count: u64) {
        self.0
            .store(self.get().wrapping_sub(count), Ordering::Relaxed);
    }

    pub(crate) fn set(&self, count: u64) {
        self.0.store(count, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What other threads may see of a loop, and do to it.
#[derive(Debug)]
pub(crate) struct LoopFigures {
    pub(crate) waker: zcn::Handle,
    /// To receive into, and to send from.
    pub(crate) pools: [BufferPool; 2],
    pub(crate) lent: Counter,
    pub(crate) polls: Counter,
    pub(crate) system_calls: Counter,
}

impl LoopFigures {
    /// All buffers, and how many of them hold something.
    fn buffers(&self) -> (usize, usize) {
        let total = self.pools.iter().map(BufferPool::count).sum();
        let out: usize = self.pools.iter().map(|pool| pool.stats().in_use).sum();
        // Lent ones are out of the pool, but hold nothing yet.
        let lent = usize::try_from(self.lent.get()).unwrap_or(usize::MAX);
        (total, out.saturating_sub(lent))
    }
}

/// What other threads may see of an object.
#[derive(Debug)]
pub(crate) struct Figures {
    pub(crate) of_loop: Arc<LoopFigures>,
    pub(crate) active: Counter,
    pub(crate) opened: Counter,
    pub(crate) failed: Counter,
    pub(crate) closed: Counter,
    pub(crate) received: Counter,
    pub(crate) bytes_received: Counter,
    pub(crate) sends: Arc<Sends>,
}

/// What was sent; each connection knows where its own is counted.
#[derive(Debug, Default)]
pub(crate) struct Sends {
    messages: Counter,
    bytes: Counter,
    refused: Counter,
}

impl Sends {
    #[inline]
    pub(crate) fn count(&self, bytes: usize, accepted: bool) {
        if accepted {
            self.messages.add(1);
            self.bytes.add(bytes as u64);
        } else {
            self.refused.add(1);
        }
    }
}

impl Figures {
    pub(crate) fn new(of_loop: Arc<LoopFigures>) -> Arc<Self> {
        Arc::new(Self {
            of_loop,
            active: Counter::default(),
            opened: Counter::default(),
            failed: Counter::default(),
            closed: Counter::default(),
            received: Counter::default(),
            bytes_received: Counter::default(),
            sends: Arc::default(),
        })
    }

    fn stats(&self) -> ZCN_Stats {
        let (total, in_use) = self.of_loop.buffers();
        ZCN_Stats {
            total_buffers: total,
            buffers_in_use: in_use,
            buffers_free: total - in_use,
            connections_active: usize::try_from(self.active.get()).unwrap_or(usize::MAX),
        }
    }

    fn stats_ex(&self) -> ZCN_StatsEx {
        let (total, in_use) = self.of_loop.buffers();
        ZCN_StatsEx {
            connections_active: self.active.get(),
            connections_opened: self.opened.get(),
            connections_failed: self.failed.get(),
            connections_closed: self.closed.get(),
            messages_received: self.received.get(),
            bytes_received: self.bytes_received.get(),
            messages_sent: self.sends.messages.get(),
            bytes_sent: self.sends.bytes.get(),
            sends_refused: self.sends.refused.get(),
            buffers_total: total as u64,
            buffers_in_use: in_use as u64,
            buffers_lent: self.of_loop.lent.get(),
            polls: self.of_loop.polls.get(),
            system_calls: self.of_loop.system_calls.get(),
        }
    }
}

/// # Safety
/// `out` is NULL or has room for `size` bytes.
unsafe fn write_stats<T: Handled>(
    handle: *const impl Sized,
    out: *mut ZCN_StatsEx,
    size: usize,
) -> Result<()> {
    let stats = handle::figures::<T>(handle)?.stats_ex();
    if out.is_null() {
        let text = c"out is NULL";
        return Err(Failure::fixed(ZCN_Error::ZCN_ERROR_INVALID_ARGUMENT, text));
    }
    let known = size.min(size_of::<ZCN_StatsEx>());
    // SAFETY: `out` has room for `size` bytes, says the caller; `known` of them are there to be
    // copied, and the rest, of fields that this library does not know, is zeroed.
    unsafe {
        out.cast::<u8>()
            .copy_from_nonoverlapping((&raw const stats).cast(), known);
        out.cast::<u8>().add(known).write_bytes(0, size - known);
    }
    Ok(())
}

/// Buffers and connections of a server; all zero if the handle is not one. From any thread.
#[unsafe(no_mangle)]
pub extern "C" fn zcn_server_get_stats(server: *const ZCN_Server) -> ZCN_Stats {
    let stats = guard(|| Ok(handle::figures::<Server>(server)?.stats()));
    value_or(stats, ZCN_Stats::default())
}

/// What a server did so far: fills the first `size` bytes of `out`, which is `sizeof *out`, so that
/// a program and a library of different ages understand each other. From any thread.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zcn_server_stats_ex(
    server: *const ZCN_Server,
    out: *mut ZCN_StatsEx,
    size: usize,
) -> ZCN_Error {
    // SAFETY: C passes a place of `size` bytes, or NULL.
    code(guard(|| unsafe {
        write_stats::<Server>(server, out, size)
    }))
}

/// `zcn_server_stats_ex` of a client.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zcn_client_stats_ex(
    client: *const ZCN_Client,
    out: *mut ZCN_StatsEx,
    size: usize,
) -> ZCN_Error {
    // SAFETY: C passes a place of `size` bytes, or NULL.
    code(guard(|| unsafe {
        write_stats::<Client>(client, out, size)
    }))
}

/// `zcn_server_stats_ex` of a UDP socket. Its own buffers, into which it receives, are not counted.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zcn_udp_stats_ex(
    udp: *const ZCN_Udp,
    out: *mut ZCN_StatsEx,
    size: usize,
) -> ZCN_Error {
    // SAFETY: C passes a place of `size` bytes, or NULL.
    code(guard(|| unsafe { write_stats::<Udp>(udp, out, size) }))
}
