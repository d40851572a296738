//! UDP sockets with callbacks.
#![allow(unsafe_code)]
#![allow(clippy::missing_safety_doc)]

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use zcn::{Datagram, DatagramHandler, Error, UdpConn, UdpSendError, UdpServer};

use crate::address::{ZCN_Address, bytes, place};
use crate::connection::give_back;
use crate::error::{Failure, Result, ZCN_Error, code};
use crate::event_loop::{Loop, LoopShared, ZCN_Loop};
use crate::guard::guard;
use crate::handle::{self, Object, null};
use crate::lease::{ZCN_Buf, reclaim};
use crate::member::{self, Member};
use crate::options::{Options, ZCN_Options};
use crate::pools::Registered;
use crate::stats::Figures;

/// A UDP socket, connected to one peer or not. It belongs to the thread that made it.
#[derive(Debug)]
#[allow(non_camel_case_types)]
pub struct ZCN_Udp {
    _opaque: (),
}

/// One datagram, or several of one size with the option `gro`, as it arrived.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(non_camel_case_types)]
pub struct ZCN_Datagram {
    /// The bytes, borrowed for the time of the call; `zcn_buf_retain` keeps them.
    pub data: *const u8,
    /// How many there are.
    pub len: usize,
    /// Size of each datagram in it, of which the last may be shorter; `len` if it is one.
    pub segment_size: usize,
    /// When the kernel received it, in nanoseconds of `CLOCK_REALTIME`, with the option
    /// `timestamps`; else 0.
    pub timestamp_ns: u64,
    /// Who sent it.
    pub peer: ZCN_Address,
    /// 1 if it was longer than `max_datagram` and is cut, else 0.
    pub truncated: c_int,
}

/// A datagram arrived; `datagram` is borrowed for the time of the call.
#[allow(non_camel_case_types)]
pub type ZCN_OnDatagram =
    Option<unsafe extern "C-unwind" fn(user_data: *mut c_void, datagram: *const ZCN_Datagram)>;

/// There is room for sends again, after one was refused with `ZCN_ERROR_WOULD_BLOCK`.
#[allow(non_camel_case_types)]
pub type ZCN_OnUdpWritable = Option<unsafe extern "C-unwind" fn(user_data: *mut c_void)>;

/// The network or the kernel reported an error, for example that nobody listens at the peer's port;
/// the socket goes on. `os_error` is its errno.
#[allow(non_camel_case_types)]
pub type ZCN_OnUdpError =
    Option<unsafe extern "C-unwind" fn(user_data: *mut c_void, error: ZCN_Error, os_error: c_int)>;

/// The callbacks of a socket.
struct Callbacks {
    shared: Rc<LoopShared>,
    figures: Arc<Figures>,
    muted: Cell<bool>,
    user_data: Cell<*mut c_void>,
    on_datagram: Cell<ZCN_OnDatagram>,
    on_writable: Cell<ZCN_OnUdpWritable>,
    on_error: Cell<ZCN_OnUdpError>,
}

struct Calling(Rc<Callbacks>);

impl DatagramHandler for Calling {
    #[inline]
    fn on_datagram(&mut self, _: &mut UdpConn<'_>, datagram: Datagram) {
        let of = &*self.0;
        if of.muted.get() {
            return;
        }
        of.figures.received.add(datagram.segment_count() as u64);
        of.figures.bytes_received.add(datagram.data.len() as u64);
        let Some(call) = of.on_datagram.get() else {
            return;
        };
        let timestamp = datagram
            .timestamp
            .and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let told = ZCN_Datagram {
            data: datagram.data.as_ptr(),
            len: datagram.data.len(),
            segment_size: datagram
                .segment_size
                .map_or(datagram.data.len(), usize::from),
            timestamp_ns: timestamp
                .and_then(|time| u64::try_from(time.as_nanos()).ok())
                .unwrap_or(0),
            peer: datagram.peer.into(),
            truncated: c_int::from(datagram.truncated),
        };
        of.shared.delivering.set(Some(datagram.data));
        // SAFETY: the application registered the callback for these arguments; the bytes stay while
        // the buffer is kept in `delivering`, and if the callback takes it they are its own.
        unsafe { call(of.user_data.get(), &raw const told) };
        of.shared.delivering.take();
    }

    fn on_writable(&mut self, _: &mut UdpConn<'_>) {
        let of = &*self.0;
        if let (false, Some(call)) = (of.muted.get(), of.on_writable.get()) {
            // SAFETY: the application registered the callback for these arguments.
            unsafe { call(of.user_data.get()) };
        }
    }

    fn on_error(&mut self, _: &mut UdpConn<'_>, error: Error) {
        let of = &*self.0;
        of.figures.failed.add(1);
        if let (false, Some(call)) = (of.muted.get(), of.on_error.get()) {
            let errno = error.raw_os_error().unwrap_or(0);
            let code = Failure::of(ZCN_Error::ZCN_ERROR_SYSTEM, &error).code();
            // SAFETY: the application registered the callback for these arguments.
            unsafe { call(of.user_data.get(), code, errno) };
        }
    }
}

/// A UDP socket.
pub(crate) struct Udp {
    of: Rc<Loop>,
    callbacks: Rc<Callbacks>,
    socket: UdpServer,
    _pool: Registered,
}

impl Member for Udp {
    fn make(of: &Rc<Loop>, figures: Arc<Figures>, options: Options) -> Result<Self> {
        let address = options.udp_address()?;
        let peer = options.udp_peer()?;
        let callbacks = Rc::new(Callbacks {
            shared: of.shared.clone(),
            figures,
            muted: Cell::new(false),
            user_data: Cell::new(null()),
            on_datagram: Cell::new(None),
            on_writable: Cell::new(None),
            on_error: Cell::new(None),
        });
        let handler = Calling(callbacks.clone());
        let socket = UdpServer::bind(&of.runtime, address, &options.udp, handler)?;
        if let Some(peer) = peer
            && let Err(error) = socket.connect(peer)
        {
            socket.shutdown();
            return Err(error.into());
        }
        let pool = Registered::new([socket.pool().clone()]);
        Ok(Self {
            of: of.clone(),
            callbacks,
            socket,
            _pool: pool,
        })
    }

    fn of(&self) -> &Rc<Loop> {
        &self.of
    }

    fn silence(&self) {
        self.callbacks.muted.set(true);
        self.socket.shutdown();
        self.of.touched();
    }

    fn into_object(this: Rc<Self>) -> Object {
        Object::Udp(this)
    }
}

impl Udp {
    fn count(&self, bytes: usize, sent: std::result::Result<(), UdpSendError>) -> Result<()> {
        self.callbacks.figures.sends.count(bytes, sent.is_ok());
        match sent {
            Ok(()) => {
                self.of.touched();
                Ok(())
            }
            Err(error) => Err(refusal(&error)),
        }
    }
}

#[cold]
fn refusal(error: &UdpSendError) -> Failure {
    match error {
        UdpSendError::Full(_) => Failure::plain(ZCN_Error::ZCN_ERROR_WOULD_BLOCK),
        UdpSendError::Refused(_, error) => Failure::of(ZCN_Error::ZCN_ERROR_SEND_FAILED, error),
        _ => Failure::plain(ZCN_Error::ZCN_ERROR_SEND_FAILED),
    }
}

/// Whom to send to: NULL is the peer that the socket is connected to.
///
/// # Safety
/// `peer` is NULL or points to an address.
unsafe fn recipient(peer: *const ZCN_Address) -> Result<Option<SocketAddr>> {
    // SAFETY: the caller's promise.
    let peer = unsafe { peer.as_ref() };
    peer.map(ZCN_Address::socket_addr).transpose()
}

/// A UDP socket with a loop of its own, bound to the options' `address` and `port` and, with
/// `peer_address` and `peer_port`, connected; NULL on failure, with the reason in `error` unless
/// that is NULL. Poll `zcn_udp_loop`.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zcn_udp_create(
    options: *const ZCN_Options,
    error: *mut ZCN_Error,
) -> *mut ZCN_Udp {
    // SAFETY: C passes a place for the code, or NULL.
    unsafe { member::create::<Udp, _>(options, error) }
}

/// A UDP socket on a loop that there is already.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zcn_udp_create_on(
    event_loop: *mut ZCN_Loop,
    options: *const ZCN_Options,
    error: *mut ZCN_Error,
) -> *mut ZCN_Udp {
    // SAFETY: C passes a place for the code, or NULL.
    unsafe { member::create_on::<Udp, _>(event_loop, options, error) }
}

/// Destroys a UDP socket: its handle is void, no callback comes any more, what is queued is sent as
/// the loop runs on or ends. NULL is ignored.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub extern "C" fn zcn_udp_destroy(udp: *mut ZCN_Udp) {
    member::destroy::<Udp>(udp);
}

/// Sets what is called, with `user_data` as its first argument. Each may be NULL.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub extern "C" fn zcn_udp_set_callbacks(
    udp: *mut ZCN_Udp,
    user_data: *mut c_void,
    on_datagram: ZCN_OnDatagram,
    on_writable: ZCN_OnUdpWritable,
    on_error: ZCN_OnUdpError,
) -> ZCN_Error {
    code(guard(|| {
        handle::with::<Udp, _>(udp, |udp| {
            udp.callbacks.user_data.set(user_data);
            udp.callbacks.on_datagram.set(on_datagram);
            udp.callbacks.on_writable.set(on_writable);
            udp.callbacks.on_error.set(on_error);
            Ok(())
        })
    }))
}

/// Connects the socket: sends without an address go to `peer`, only its datagrams arrive, and the
/// network's errors are reported.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zcn_udp_connect(udp: *mut ZCN_Udp, peer: *const ZCN_Address) -> ZCN_Error {
    code(guard(|| {
        // SAFETY: C passes an address, or NULL.
        let peer = unsafe { recipient(peer)? }.ok_or_else(|| {
            Failure::fixed(ZCN_Error::ZCN_ERROR_INVALID_ARGUMENT, c"peer is NULL")
        })?;
        handle::with::<Udp, _>(udp, |udp| {
            let connected = udp.socket.connect(peer);
            connected.map_err(|error| Failure::of(ZCN_Error::ZCN_ERROR_CONNECT_FAILED, &error))
        })
    }))
}

/// Sends a datagram: copies the bytes. `peer` may be NULL if the socket is connected. It leaves
/// when the loop next runs; inside a callback, after it.
///
/// `ZCN_ERROR_WOULD_BLOCK` when the queue is full until `on_writable`.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zcn_udp_send_to(
    udp: *mut ZCN_Udp,
    peer: *const ZCN_Address,
    data: *const u8,
    len: usize,
) -> ZCN_Error {
    code(guard(|| {
        // SAFETY: C passes an address or NULL, and `len` bytes at `data`.
        let (peer, data) = unsafe { (recipient(peer)?, bytes(data, len)?) };
        handle::with::<Udp, _>(udp, |udp| {
            let mut socket = udp.socket.socket();
            let sent = socket.send_copy(data, peer);
            udp.count(data.len(), sent)
        })
    }))
}

/// Sends what a lease holds as one datagram without copying it, or, if `segment_size` is not 0, as
/// datagrams of that size, cut by the kernel (GSO). `peer` may be NULL if the socket is connected.
/// On success the lease is over and `buf` zeroed; on failure it is the caller's, with what has not
/// been sent.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zcn_udp_send_buf(
    udp: *mut ZCN_Udp,
    peer: *const ZCN_Address,
    buf: *mut ZCN_Buf,
    segment_size: usize,
) -> ZCN_Error {
    code(guard(|| {
        // SAFETY: C passes an address or NULL, and a lease or NULL.
        let (peer, lease) = unsafe { (recipient(peer)?, place(buf, "buf")?) };
        handle::with::<Udp, _>(udp, |udp| {
            let data = reclaim(&udp.of, lease)?;
            let len = data.len();
            let mut socket = udp.socket.socket();
            let segment = (segment_size > 0).then_some(segment_size);
            let sent = socket.send_message(data, peer, segment);
            match sent {
                Ok(()) => udp.count(len, Ok(())),
                Err(error) => {
                    let failure = refusal(&error);
                    udp.callbacks.figures.sends.count(len, false);
                    if let UdpSendError::Full(rest) | UdpSendError::Refused(rest, _) = error {
                        give_back(&udp.of, rest, lease);
                    }
                    Err(failure)
                }
            }
        })
    }))
}

/// The address that the socket is bound to, with the port that the kernel picked.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zcn_udp_address(udp: *const ZCN_Udp, out: *mut ZCN_Address) -> ZCN_Error {
    code(guard(|| {
        // SAFETY: C passes a place for an address, or NULL.
        let out = unsafe { place(out, "out")? };
        handle::with::<Udp, _>(udp, |udp| {
            *out = udp.socket.local_addr().into();
            Ok(())
        })
    }))
}

/// The loop that the socket is on. NULL for a void handle.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub extern "C" fn zcn_udp_loop(udp: *mut ZCN_Udp) -> *mut ZCN_Loop {
    member::event_loop::<Udp>(udp)
}
