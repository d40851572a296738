//! Servers.
#![allow(unsafe_code)]
#![allow(clippy::missing_safety_doc)]

use std::cell::OnceCell;
use std::ffi::{c_char, c_int, c_void};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use zcn::{Address, TcpServer};

use crate::address::{ZCN_Address, bytes, place, text};
use crate::connection;
use crate::endpoint::{
    Calling, Endpoint, ZCN_OnAccept, ZCN_OnClose, ZCN_OnData, ZCN_OnEnd, ZCN_OnSent, ZCN_OnWritable,
};
use crate::error::{Failure, Result, ZCN_Error, code, value_or};
use crate::event_loop::{Loop, ZCN_Loop, answer, count, number};
use crate::guard::guard;
use crate::handle::{self, Id, Object};
use crate::member::{self, Member, Streams};
use crate::options::{Options, ZCN_Options};
use crate::stats::Figures;

/// A TCP server (or one on a Unix socket) with callbacks. It belongs to the thread that made it.
#[derive(Debug)]
#[allow(non_camel_case_types)]
pub struct ZCN_Server {
    _opaque: (),
}

/// Settings of a server. Its layout is frozen; `ZCN_Options` has all the others.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(non_camel_case_types)]
pub struct ZCN_Config {
    /// Numeric IP address to listen on, e.g. "127.0.0.1", "0.0.0.0", "::"; "unix:PATH" for a Unix
    /// socket.
    pub address: *const c_char,
    /// Port; 0 picks a free one, which `zcn_server_port` tells.
    pub port: u16,
    /// Submission entries of the ring; 0 for the default, 1024.
    pub io_uring_entries: u32,
    /// Buffers to receive into, and as many to send from; 0 for the default, 1024.
    pub buffer_pool_size: u32,
    /// Size of a buffer in bytes, rounded up to pages; 0 for the default, 16384.
    pub buffer_size: u32,
}

const _: () = assert!(size_of::<ZCN_Config>() == 24);
const _: () = assert!(std::mem::offset_of!(ZCN_Config, port) == 8);
const _: () = assert!(std::mem::offset_of!(ZCN_Config, io_uring_entries) == 12);
const _: () = assert!(std::mem::offset_of!(ZCN_Config, buffer_pool_size) == 16);
const _: () = assert!(std::mem::offset_of!(ZCN_Config, buffer_size) == 20);

/// A server: settings first, listening once it is started.
pub(crate) struct Server {
    pub(crate) of: Rc<Loop>,
    pub(crate) endpoint: Rc<Endpoint>,
    options: Options,
    listening: OnceCell<TcpServer>,
}

impl Member for Server {
    fn make(of: &Rc<Loop>, figures: Arc<Figures>, options: Options) -> Result<Self> {
        Ok(Self {
            of: of.clone(),
            endpoint: Endpoint::new(of.shared.clone(), figures),
            options,
            listening: OnceCell::new(),
        })
    }

    fn of(&self) -> &Rc<Loop> {
        &self.of
    }

    fn silence(&self) {
        self.endpoint.silence();
        if let Some(server) = self.listening.get() {
            server.shutdown(Duration::ZERO);
            self.of.touched();
        }
    }

    fn into_object(this: Rc<Self>) -> Object {
        Object::Server(this)
    }
}

impl Streams for Server {
    fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    fn notify_sent(&self, yes: bool) {
        // Before the start it is left to that.
        if let Some(listening) = self.listening.get() {
            listening.notify_sent(yes);
        }
    }
}

impl Server {
    fn start(&self) -> Result<()> {
        if self.listening.get().is_some() {
            return Err(Failure::plain(ZCN_Error::ZCN_ERROR_ALREADY_STARTED));
        }
        let address = self.options.listen_address()?;
        let mut options = self.options.server.clone();
        options.notify_sent = self.endpoint.on_sent.get().is_some();
        let server = TcpServer::bind(
            &self.of.runtime,
            address,
            options,
            Calling(self.endpoint.clone()),
        )?;
        self.of.touched();
        // Looked at above, and nobody else was here meanwhile.
        let _ = self.listening.set(server);
        Ok(())
    }

    fn listening(&self) -> Result<&TcpServer> {
        self.listening
            .get()
            .ok_or_else(|| Failure::plain(ZCN_Error::ZCN_ERROR_NOT_STARTED))
    }
}

/// A server with a loop of its own; NULL on failure, with the reason in `error` unless that is NULL.
///
/// Nothing of `config` is kept. The address is bound by `zcn_server_start`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zcn_server_create(
    config: *const ZCN_Config,
    error: *mut ZCN_Error,
) -> *mut ZCN_Server {
    let made = guard(|| {
        let invalid = |text| Failure::fixed(ZCN_Error::ZCN_ERROR_INVALID_CONFIG, text);
        // SAFETY: C passes a configuration, or NULL.
        let config = unsafe { config.as_ref() }.ok_or_else(|| invalid(c"config is NULL"))?;
        if config.address.is_null() {
            return Err(invalid(
                c"config.address is NULL: \"0.0.0.0\" listens everywhere",
            ));
        }
        // SAFETY: not NULL, so a text.
        let address = unsafe { text(config.address, "config.address") }
            .map_err(|failure| failure.under(ZCN_Error::ZCN_ERROR_INVALID_CONFIG))?;
        let options = Options::from_config(
            address,
            config.port,
            config.io_uring_entries,
            config.buffer_pool_size,
            config.buffer_size,
        )?;
        member::enter::<Server>(options, None).map(Id::handle)
    });
    // SAFETY: C passes a place for the code, or NULL.
    unsafe { answer(made, error) }
}

/// A server with a loop of its own, from options (NULL: the defaults).
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zcn_server_create_opts(
    options: *const ZCN_Options,
    error: *mut ZCN_Error,
) -> *mut ZCN_Server {
    // SAFETY: C passes a place for the code, or NULL.
    unsafe { member::create::<Server, _>(options, error) }
}

/// A server on a loop that there is already, beside whatever else is on it. Options of the loop
/// itself (buffers, ring, spinning) are those of the loop.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zcn_server_create_on(
    event_loop: *mut ZCN_Loop,
    options: *const ZCN_Options,
    error: *mut ZCN_Error,
) -> *mut ZCN_Server {
    // SAFETY: C passes a place for the code, or NULL.
    unsafe { member::create_on::<Server, _>(event_loop, options, error) }
}

/// Destroys a server. Its handle is void at once and no callback comes any more. What was queued
/// on connections that had been closed is sent, within a second; the others are ended.
///
/// Inside a callback, the end comes when the callback has returned. On a loop of others, the port
/// and the connections are given back as the loop runs on. What others were put on the server's own
/// loop goes with it. NULL is ignored; a void handle is, too, with `zcn_last_error_message` to tell.
#[unsafe(no_mangle)]
pub extern "C" fn zcn_server_destroy(server: *mut ZCN_Server) {
    member::destroy::<Server>(server);
}

/// Sets what is called, with `user_data` as its first argument: when a peer was accepted, when
/// bytes arrived, when a connection is gone. Each may be NULL. Callbacks come from
/// `zcn_server_run_once` and the other polls only, on the thread that calls them; before or after
/// the start, inside callbacks too: the next callback is a new one.
#[unsafe(no_mangle)]
pub extern "C" fn zcn_server_set_callbacks(
    server: *mut ZCN_Server,
    user_data: *mut c_void,
    on_accept: ZCN_OnAccept,
    on_data: ZCN_OnData,
    on_close: ZCN_OnClose,
) {
    let set = guard(|| {
        handle::with::<Server, _>(server, |server| {
            let endpoint = &server.endpoint;
            endpoint.user_data.set(user_data);
            endpoint.on_accept.set(on_accept);
            endpoint.on_data.set(on_data);
            endpoint.on_close.set(on_close);
            Ok(())
        })
    });
    value_or(set, ());
}

/// Sets what is called when a connection's send queue has room again; NULL for nothing.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub extern "C" fn zcn_server_set_on_writable(
    server: *mut ZCN_Server,
    on_writable: ZCN_OnWritable,
) -> ZCN_Error {
    member::set_on_writable::<Server>(server, on_writable)
}

/// Sets what is called when the kernel has taken sent bytes; NULL for nothing. For connections that
/// are accepted from now on.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub extern "C" fn zcn_server_set_on_sent(
    server: *mut ZCN_Server,
    on_sent: ZCN_OnSent,
) -> ZCN_Error {
    member::set_on_sent::<Server>(server, on_sent)
}

/// Sets what is called when a peer has finished sending; NULL for closing then.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub extern "C" fn zcn_server_set_on_end(server: *mut ZCN_Server, on_end: ZCN_OnEnd) -> ZCN_Error {
    member::set_on_end::<Server>(server, on_end)
}

/// Binds the address and listens. Peers are accepted whenever the server is polled.
#[unsafe(no_mangle)]
pub extern "C" fn zcn_server_start(server: *mut ZCN_Server) -> ZCN_Error {
    code(guard(|| handle::get::<Server>(server)?.start()))
}

/// Waits until something happens and makes the callbacks of all of it. Returns after a signal and
/// after `zcn_server_wakeup` too, so that a loop around it can look whether it is to go on.
#[unsafe(no_mangle)]
pub extern "C" fn zcn_server_run_once(server: *mut ZCN_Server) -> ZCN_Error {
    code(guard(|| poll(server, -1, 0).map(drop)))
}

fn poll(server: *mut ZCN_Server, timeout_ms: c_int, most: usize) -> Result<usize> {
    let server = handle::get::<Server>(server)?;
    server.listening()?;
    let of = server.of.clone();
    // It may be destroyed inside, and is then to go with the callbacks' end.
    drop(server);
    of.poll(timeout_ms, most)
}

/// `zcn_loop_poll` on the server's loop.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub extern "C" fn zcn_server_poll(
    server: *mut ZCN_Server,
    timeout_ms: c_int,
    max_events: u32,
) -> c_int {
    count(guard(|| poll(server, timeout_ms, max_events as usize)))
}

/// `zcn_loop_fd` of the server's loop.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub extern "C" fn zcn_server_fd(server: *mut ZCN_Server) -> c_int {
    number(guard(|| handle::get::<Server>(server)?.of.fd()))
}

/// `zcn_loop_wakeup` of the server's loop: from any thread.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub extern "C" fn zcn_server_wakeup(server: *mut ZCN_Server) -> ZCN_Error {
    code(guard(|| {
        handle::figures::<Server>(server)?.of_loop.waker.wake();
        Ok(())
    }))
}

/// The loop that the server is on: its own, or the one it was created on. NULL for a void handle.
/// The `zcn_conn_*` and `zcn_buf_*` calls take it.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub extern "C" fn zcn_server_loop(server: *mut ZCN_Server) -> *mut ZCN_Loop {
    member::event_loop::<Server>(server)
}

/// The port it listens on, also if it was chosen by the kernel; 0 before the start, for a Unix
/// socket and for a void handle.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub extern "C" fn zcn_server_port(server: *const ZCN_Server) -> u16 {
    let port = guard(|| {
        handle::with::<Server, _>(server, |server| {
            let local = server.listening()?.local_addr();
            Ok(local.ip().map_or(0, |ip| ip.port()))
        })
    });
    value_or(port, 0)
}

/// The address it listens on.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zcn_server_address(
    server: *const ZCN_Server,
    out: *mut ZCN_Address,
) -> ZCN_Error {
    code(guard(|| {
        // SAFETY: C passes a place for an address, or NULL.
        let out = unsafe { place(out, "out")? };
        handle::with::<Server, _>(server, |server| {
            let local: &Address = server.listening()?.local_addr();
            *out = local.into();
            Ok(())
        })
    }))
}

/// Sends bytes on a connection of the server: copies them, all or nothing. They leave when the loop
/// next runs; inside a callback, after it.
///
/// `ZCN_ERROR_WOULD_BLOCK` when the queue is full until `on_writable`, `ZCN_ERROR_NO_BUFFER` when no
/// buffers are free for the copy, `ZCN_ERROR_CONNECTION_NOT_FOUND` when there is no such connection
/// of this server, `ZCN_ERROR_CLOSED` when it is closing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zcn_server_send(
    server: *mut ZCN_Server,
    fd: c_int,
    data: *const u8,
    len: usize,
) -> ZCN_Error {
    code(guard(|| {
        // SAFETY: C passes `len` bytes at `data`.
        let data = unsafe { bytes(data, len)? };
        handle::with::<Server, _>(server, |server| {
            connection::send_copy(&server.of, Some(&server.endpoint), fd, data)
        })
    }))
}

/// Stops listening and lets the connections finish: what is queued is sent, then they are closed;
/// those that are left after `timeout_ms` are reset. Callbacks go on; poll until
/// `zcn_server_is_stopped`.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub extern "C" fn zcn_server_shutdown(server: *mut ZCN_Server, timeout_ms: u32) -> ZCN_Error {
    code(guard(|| {
        handle::with::<Server, _>(server, |server| {
            let limit = Duration::from_millis(timeout_ms.into());
            server.listening()?.shutdown(limit);
            server.of.touched();
            Ok(())
        })
    }))
}

/// 1 when a shutdown is complete, 0 before; a negative error for a void handle.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub extern "C" fn zcn_server_is_stopped(server: *const ZCN_Server) -> c_int {
    number(guard(|| {
        handle::with::<Server, _>(server, |server| {
            Ok(c_int::from(server.listening()?.is_stopped()))
        })
    }))
}
