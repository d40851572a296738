//! What servers and clients have in common: their callbacks, called from the loop.
#![allow(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::{c_int, c_void};
use std::rc::Rc;
use std::sync::Arc;

use zcn::{Address, Attempt, Buf, CloseReason, Conn, ConnId, Error, Handler};

use crate::address::ZCN_Address;
use crate::connections::{Connection, Link};
use crate::error::{Failure, ZCN_Error};
use crate::event_loop::LoopShared;
use crate::stats::Figures;

/// A peer was accepted; `fd` names the connection from here on. It is an id and not a descriptor
/// (`zcn_conn_fd` gives that), is above 0, and does not come back when the connection is gone.
#[allow(non_camel_case_types)]
pub type ZCN_OnAccept = Option<unsafe extern "C-unwind" fn(user_data: *mut c_void, fd: c_int)>;

/// Bytes arrived. `data` is borrowed for the time of the call; `zcn_buf_retain` keeps it.
#[allow(non_camel_case_types)]
pub type ZCN_OnData = Option<
    unsafe extern "C-unwind" fn(user_data: *mut c_void, fd: c_int, data: *const u8, len: usize),
>;

/// The connection is gone: the last callback for it, after which its id is void.
/// `zcn_conn_close_reason` tells why.
#[allow(non_camel_case_types)]
pub type ZCN_OnClose = Option<unsafe extern "C-unwind" fn(user_data: *mut c_void, fd: c_int)>;

/// A connection that `zcn_client_connect` began is made (`ZCN_SUCCESS`), or is not: then this is the
/// last callback for it, and `zcn_last_error_message` and `zcn_last_os_error` tell more.
#[allow(non_camel_case_types)]
pub type ZCN_OnConnect =
    Option<unsafe extern "C-unwind" fn(user_data: *mut c_void, fd: c_int, error: ZCN_Error)>;

/// The send queue, which had refused something or was above its high-water mark, is down to the low
/// one.
#[allow(non_camel_case_types)]
pub type ZCN_OnWritable = Option<unsafe extern "C-unwind" fn(user_data: *mut c_void, fd: c_int)>;

/// The kernel has taken bytes; `unsent` are left in the queue. 0 means that everything sent so far
/// is with the kernel, and every leased buffer back.
#[allow(non_camel_case_types)]
pub type ZCN_OnSent =
    Option<unsafe extern "C-unwind" fn(user_data: *mut c_void, fd: c_int, unsent: usize)>;

/// The peer has finished sending (half-close). Without this callback, what is queued is sent and
/// the connection closed; with it, closing is up to the application.
#[allow(non_camel_case_types)]
pub type ZCN_OnEnd = Option<unsafe extern "C-unwind" fn(user_data: *mut c_void, fd: c_int)>;

/// The C side of a server or client.
pub(crate) struct Endpoint {
    pub(crate) number: u32,
    pub(crate) shared: Rc<LoopShared>,
    pub(crate) figures: Arc<Figures>,
    /// Destroyed: no callback comes any more.
    pub(crate) muted: Cell<bool>,
    pub(crate) user_data: Cell<*mut c_void>,
    pub(crate) on_accept: Cell<ZCN_OnAccept>,
    pub(crate) on_data: Cell<ZCN_OnData>,
    pub(crate) on_close: Cell<ZCN_OnClose>,
    pub(crate) on_connect: Cell<ZCN_OnConnect>,
    pub(crate) on_writable: Cell<ZCN_OnWritable>,
    pub(crate) on_sent: Cell<ZCN_OnSent>,
    pub(crate) on_end: Cell<ZCN_OnEnd>,
    /// Ids of the connections being made.
    pub(crate) attempts: RefCell<HashMap<Attempt, c_int>>,
}

impl Endpoint {
    pub(crate) fn new(shared: Rc<LoopShared>, figures: Arc<Figures>) -> Rc<Self> {
        Rc::new(Self {
            number: shared.next_endpoint(),
            shared,
            figures,
            muted: Cell::new(false),
            user_data: Cell::new(std::ptr::null_mut()),
            on_accept: Cell::new(None),
            on_data: Cell::new(None),
            on_close: Cell::new(None),
            on_connect: Cell::new(None),
            on_writable: Cell::new(None),
            on_sent: Cell::new(None),
            on_end: Cell::new(None),
            attempts: RefCell::default(),
        })
    }

    /// The object is destroyed: its connections lose their ids, and no callback comes any more.
    pub(crate) fn silence(&self) {
        self.muted.set(true);
        self.shared.connections.borrow_mut().remove_all(self.number);
        self.attempts.borrow_mut().clear();
    }

    fn forget(&self, id: c_int) {
        self.shared.connections.borrow_mut().remove(id);
    }
}

/// What the runtime calls.
pub(crate) struct Calling(pub(crate) Rc<Endpoint>);

impl Handler for Calling {
    /// The connection's id.
    type State = c_int;

    fn on_accept(&mut self, conn: &mut Conn<'_>, peer: &Address) -> Option<c_int> {
        let of = &*self.0;
        if of.muted.get() {
            return None;
        }
        let inserted = of.shared.connections.borrow_mut().insert(Connection {
            link: Link::Open(conn.id()),
            endpoint: of.number,
            user_data: std::ptr::null_mut(),
            peer: ZCN_Address::from(peer),
            sends: of.figures.sends.clone(),
        });
        let Some(id) = inserted else {
            of.figures.failed.add(1);
            return None;
        };
        of.figures.opened.add(1);
        of.figures.active.add(1);
        if let Some(call) = of.on_accept.get() {
            // SAFETY: the application registered the callback for these arguments.
            unsafe { call(of.user_data.get(), id) };
        }
        Some(id)
    }

    fn on_connect(
        &mut self,
        conn: &mut Conn<'_>,
        peer: &Address,
        attempt: Attempt,
    ) -> Option<c_int> {
        let of = &*self.0;
        let id = of.attempts.borrow_mut().remove(&attempt)?;
        {
            let mut connections = of.shared.connections.borrow_mut();
            connections.set_link(id, Link::Open(conn.id()));
            if let Some(connection) = connections.get_mut(id) {
                connection.peer = ZCN_Address::from(peer);
            }
        }
        of.figures.opened.add(1);
        of.figures.active.add(1);
        if let Some(call) = of.on_connect.get() {
            // SAFETY: as in `on_accept`.
            unsafe { call(of.user_data.get(), id, ZCN_Error::ZCN_SUCCESS) };
        }
        Some(id)
    }

    fn on_connect_failed(&mut self, attempt: Attempt, error: Error) {
        let of = &*self.0;
        let Some(id) = of.attempts.borrow_mut().remove(&attempt) else {
            return;
        };
        of.figures.failed.add(1);
        if let Some(call) = of.on_connect.get() {
            let failure = match error.raw_os_error() {
                Some(libc::ECANCELED) => Failure::of(ZCN_Error::ZCN_ERROR_CLOSED, &error),
                _ => Failure::from(error),
            };
            let code = failure.code();
            // SAFETY: as in `on_accept`.
            unsafe { call(of.user_data.get(), id, code) };
        }
        of.forget(id);
    }

    #[inline]
    fn on_data(&mut self, _: &mut Conn<'_>, id: &mut c_int, data: Buf) {
        let of = &*self.0;
        if of.muted.get() {
            return;
        }
        of.figures.received.add(1);
        of.figures.bytes_received.add(data.len() as u64);
        let Some(call) = of.on_data.get() else {
            return;
        };
        let (bytes, len) = (data.as_ptr(), data.len());
        of.shared.delivering.set(Some(data));
        // SAFETY: as in `on_accept`; the bytes stay while the buffer is kept in `delivering`, and
        // if the callback takes it from there they are its own.
        unsafe { call(of.user_data.get(), *id, bytes, len) };
        of.shared.delivering.take();
    }

    fn on_writable(&mut self, _: &mut Conn<'_>, id: &mut c_int) {
        let of = &*self.0;
        if let (false, Some(call)) = (of.muted.get(), of.on_writable.get()) {
            // SAFETY: as in `on_accept`.
            unsafe { call(of.user_data.get(), *id) };
        }
    }

    fn on_sent(&mut self, conn: &mut Conn<'_>, id: &mut c_int) {
        let of = &*self.0;
        if let (false, Some(call)) = (of.muted.get(), of.on_sent.get()) {
            // SAFETY: as in `on_accept`.
            unsafe { call(of.user_data.get(), *id, conn.unsent()) };
        }
    }

    fn on_end(&mut self, conn: &mut Conn<'_>, id: &mut c_int) {
        let of = &*self.0;
        match of.on_end.get() {
            // SAFETY: as in `on_accept`.
            Some(call) if !of.muted.get() => unsafe { call(of.user_data.get(), *id) },
            _ => conn.close(),
        }
    }

    fn on_close(&mut self, _: ConnId, id: c_int, reason: CloseReason) {
        let of = &*self.0;
        if of.muted.get() {
            return;
        }
        of.figures.closed.add(1);
        of.figures.active.subtract(1);
        let mut connections = of.shared.connections.borrow_mut();
        connections.set_link(id, Link::Closed(reason));
        drop(connections);
        if let Some(call) = of.on_close.get() {
            // SAFETY: as in `on_accept`.
            unsafe { call(of.user_data.get(), id) };
        }
        of.forget(id);
    }
}
