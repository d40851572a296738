//! What can be done with one connection, of a server or a client.
#![allow(unsafe_code)]
#![allow(clippy::missing_safety_doc)]

use std::ffi::{c_int, c_void};

use zcn::{CloseReason, Conn, ConnId, SendError, SharedBuf, WaterMarks};

use crate::address::{ZCN_Address, bytes, place};
use crate::client::Client;
use crate::connections::Link;
use crate::endpoint::Endpoint;
use crate::error::{Failure, Result, ZCN_Error, code, value_or};
use crate::event_loop::{Loop, ZCN_Loop, count, number};
use crate::guard::guard;
use crate::handle;
use crate::lease::{ZCN_Buf, lend, no_buffer, reclaim};

/// Why a connection ended.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(non_camel_case_types)]
pub enum ZCN_CloseReason {
    /// It has not ended.
    ZCN_CLOSE_NONE = 0,
    /// Closed by this side.
    ZCN_CLOSE_LOCAL = 1,
    /// The peer had finished, then this side closed.
    ZCN_CLOSE_PEER = 2,
    /// An error; its errno is given.
    ZCN_CLOSE_ERROR = 3,
    /// Nothing came in for `idle_timeout_ms`.
    ZCN_CLOSE_IDLE_TIMEOUT = 4,
    /// The peer took nothing for `write_timeout_ms`.
    ZCN_CLOSE_WRITE_TIMEOUT = 5,
    /// The server was shut down.
    ZCN_CLOSE_SHUTDOWN = 6,
    /// A callback unwound.
    ZCN_CLOSE_PANIC = 7,
}

#[cold]
fn not_found() -> Failure {
    Failure::plain(ZCN_Error::ZCN_ERROR_CONNECTION_NOT_FOUND)
}

#[cold]
fn closed() -> Failure {
    Failure::plain(ZCN_Error::ZCN_ERROR_CLOSED)
}

#[cold]
fn connecting() -> Failure {
    Failure::fixed(
        ZCN_Error::ZCN_ERROR_WOULD_BLOCK,
        c"the connection is still being made: on_connect tells when it is",
    )
}

#[cold]
fn no_descriptor() -> Failure {
    Failure::fixed(
        ZCN_Error::ZCN_ERROR_UNSUPPORTED,
        c"a connection of the user-space stack has no descriptor",
    )
}

/// The open connection of this id; of this endpoint, if one is given.
#[inline(always)]
fn open(of: &Loop, owner: Option<&Endpoint>, id: c_int) -> Result<ConnId> {
    let found = of.shared.connections.borrow().open(id);
    match found {
        Some((conn, endpoint)) if owner.is_none_or(|owner| owner.number == endpoint) => Ok(conn),
        _ => Err(why_not(of, owner, id)),
    }
}

/// Why a connection cannot be used.
#[cold]
fn why_not(of: &Loop, owner: Option<&Endpoint>, id: c_int) -> Failure {
    let connections = of.shared.connections.borrow();
    match connections.get(id) {
        Some(found) if owner.is_none_or(|owner| owner.number == found.endpoint) => {
            match found.link {
                Link::Connecting(_) => connecting(),
                // An open one that is gone in the runtime has its `on_close` ahead.
                Link::Open(_) | Link::Closed(_) => closed(),
            }
        }
        _ => not_found(),
    }
}

#[cold]
fn refusal(error: &SendError) -> Failure {
    match error {
        SendError::Full(_) => Failure::plain(ZCN_Error::ZCN_ERROR_WOULD_BLOCK),
        SendError::NoBuffer => no_buffer(),
        SendError::Closed(_, error) => Failure::new(ZCN_Error::ZCN_ERROR_CLOSED, error.to_string())
            .with_errno(error.raw_os_error().unwrap_or(0)),
        _ => Failure::plain(ZCN_Error::ZCN_ERROR_SEND_FAILED),
    }
}

/// Copies bytes and sends them.
#[inline(always)]
pub(crate) fn send_copy(of: &Loop, owner: Option<&Endpoint>, id: c_int, data: &[u8]) -> Result<()> {
    let conn = open(of, owner, id)?;
    let sent = of.runtime.send_copy(conn, data);
    match owner {
        Some(owner) => owner.figures.sends.count(data.len(), sent.is_ok()),
        None => count_send(of, id, data.len(), sent.is_ok()),
    }
    sent.map_err(|error| refusal(&error))?;
    of.touched();
    Ok(())
}

#[inline(always)]
fn count_send(of: &Loop, id: c_int, bytes: usize, accepted: bool) {
    let connections = of.shared.connections.borrow();
    connections.count_send(id, bytes, accepted);
}

/// Sends what a lease holds; on failure the lease is the caller's as before.
#[inline(always)]
fn send_lease(of: &Loop, id: c_int, lease: &mut ZCN_Buf) -> Result<()> {
    let conn = open(of, None, id)?;
    let buf = reclaim(of, lease)?;
    let len = buf.len();
    let sent = of.runtime.send(conn, buf);
    count_send(of, id, len, sent.is_ok());
    sent.map_err(|error| not_sent(of, error, lease))?;
    of.touched();
    Ok(())
}

/// The lease of a buffer that was refused is the caller's again.
#[cold]
fn not_sent(of: &Loop, error: SendError, lease: &mut ZCN_Buf) -> Failure {
    let failure = refusal(&error);
    if let SendError::Full(data) | SendError::Closed(data, _) = error {
        give_back(of, data, lease);
    }
    failure
}

/// Puts a buffer that was not sent back into its lease.
pub(crate) fn give_back(of: &Loop, data: SharedBuf, lease: &mut ZCN_Buf) {
    // It was made from a buffer with one owner, so it is one again.
    if let Ok(buf) = data.try_into_buf() {
        *lease = lend(of, buf);
    }
}

fn with_open<R>(
    event_loop: *const ZCN_Loop,
    id: c_int,
    then: impl FnOnce(&Loop, Conn<'_>) -> Result<R>,
) -> Result<R> {
    handle::with::<Loop, _>(event_loop, |of| {
        let conn = of.runtime.conn(open(of, None, id)?);
        then(of, conn.ok_or_else(|| why_not(of, None, id))?)
    })
}

/// Sends bytes on a connection of the loop, a server's or a client's: copies them, all or nothing.
/// Otherwise as `zcn_server_send`.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zcn_conn_send(
    event_loop: *mut ZCN_Loop,
    fd: c_int,
    data: *const u8,
    len: usize,
) -> ZCN_Error {
    code(guard(|| {
        // SAFETY: C passes `len` bytes at `data`.
        let data = unsafe { bytes(data, len)? };
        handle::with::<Loop, _>(event_loop, |of| send_copy(of, None, fd, data))
    }))
}

/// Sends what a lease holds without copying it. On success the lease is over and `buf` zeroed; on
/// failure it is the caller's as before.
///
/// Forwarding is `zcn_buf_retain` in one connection's `on_data` and this on another.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zcn_conn_send_buf(
    event_loop: *mut ZCN_Loop,
    fd: c_int,
    buf: *mut ZCN_Buf,
) -> ZCN_Error {
    code(guard(|| {
        // SAFETY: C passes a lease, or NULL.
        let lease = unsafe { place(buf, "buf")? };
        handle::with::<Loop, _>(event_loop, |of| send_lease(of, fd, lease))
    }))
}

/// Sends what one lease holds on many connections without copying it. The lease is over and `buf`
/// zeroed, whoever took it. Returns how many connections did, or a negative error if the lease was
/// not one.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zcn_conn_send_buf_to_all(
    event_loop: *mut ZCN_Loop,
    fds: *const c_int,
    fd_count: usize,
    buf: *mut ZCN_Buf,
) -> c_int {
    count(guard(|| {
        // SAFETY: C passes a lease, or NULL.
        let lease = unsafe { place(buf, "buf")? };
        let ids: &[c_int] = match (fds.is_null(), isize::try_from(fd_count)) {
            // SAFETY: C passes `fd_count` ids at `fds`.
            (false, Ok(_)) => unsafe { std::slice::from_raw_parts(fds, fd_count) },
            (true, Ok(0)) => &[],
            _ => {
                let text = c"fds is NULL, but fd_count is not 0";
                return Err(Failure::fixed(ZCN_Error::ZCN_ERROR_INVALID_ARGUMENT, text));
            }
        };
        handle::with::<Loop, _>(event_loop, |of| {
            let data = SharedBuf::from(reclaim(of, lease)?);
            let mut taken = 0;
            for &id in ids {
                if let Ok(conn) = open(of, None, id) {
                    let sent = of.runtime.send(conn, data.clone()).is_ok();
                    count_send(of, id, data.len(), sent);
                    taken += usize::from(sent);
                }
            }
            of.touched();
            Ok(taken)
        })
    }))
}

/// Sends what is queued, then closes; `on_close` comes when the connection is gone. One that is
/// still being made is given up: `on_connect` comes with `ZCN_ERROR_CLOSED`.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub extern "C" fn zcn_conn_close(event_loop: *mut ZCN_Loop, fd: c_int) -> ZCN_Error {
    code(guard(|| end(event_loop, fd, false)))
}

/// Closes with a reset; what is queued is dropped.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub extern "C" fn zcn_conn_abort(event_loop: *mut ZCN_Loop, fd: c_int) -> ZCN_Error {
    code(guard(|| end(event_loop, fd, true)))
}

fn end(event_loop: *mut ZCN_Loop, fd: c_int, abort: bool) -> Result<()> {
    let of = handle::get::<Loop>(event_loop)?;
    let found = of
        .shared
        .connections
        .borrow()
        .get(fd)
        .map(|found| (found.link, found.endpoint));
    let (link, endpoint) = found.ok_or_else(not_found)?;
    match link {
        Link::Open(id) => {
            // One that has ended already gets its `on_close` all the same.
            if let Some(mut conn) = of.runtime.conn(id) {
                match abort {
                    true => conn.abort(),
                    false => conn.close(),
                }
            }
        }
        Link::Connecting(attempt) => {
            of.each_member::<Client>(|client| {
                if client.endpoint.number == endpoint {
                    client.client.cancel(attempt);
                }
            });
        }
        Link::Closed(_) => {}
    }
    of.touched();
    Ok(())
}

/// Ends the write side after what is queued: the peer sees the end of the stream, receiving goes on
/// (half-close).
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub extern "C" fn zcn_conn_shutdown(event_loop: *mut ZCN_Loop, fd: c_int) -> ZCN_Error {
    code(guard(|| {
        with_open(event_loop, fd, |of, mut conn| {
            conn.shutdown();
            of.touched();
            Ok(())
        })
    }))
}

/// Receives nothing more until `zcn_conn_resume`: the peer's window fills up. What has been
/// received already may still be delivered.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub extern "C" fn zcn_conn_pause(event_loop: *mut ZCN_Loop, fd: c_int) -> ZCN_Error {
    code(guard(|| {
        with_open(event_loop, fd, |_, mut conn| {
            conn.pause();
            Ok(())
        })
    }))
}

/// Receives again.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub extern "C" fn zcn_conn_resume(event_loop: *mut ZCN_Loop, fd: c_int) -> ZCN_Error {
    code(guard(|| {
        with_open(event_loop, fd, |of, mut conn| {
            conn.resume();
            of.touched();
            Ok(())
        })
    }))
}

/// Sets a connection's water marks: from `high` queued bytes on, sends are refused and receiving
/// pauses, until the queue is down to `low`.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub extern "C" fn zcn_conn_set_water_marks(
    event_loop: *mut ZCN_Loop,
    fd: c_int,
    high: u32,
    low: u32,
) -> ZCN_Error {
    code(guard(|| {
        if high == 0 || low > high {
            return Err(Failure::new(
                ZCN_Error::ZCN_ERROR_INVALID_ARGUMENT,
                format!("water marks {high} and {low}: high is at least 1, low at most high"),
            ));
        }
        with_open(event_loop, fd, |_, mut conn| {
            conn.set_marks(WaterMarks { high, low });
            Ok(())
        })
    }))
}

/// Bytes accepted for sending that the kernel has not taken yet, 0 for an unknown connection.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub extern "C" fn zcn_conn_unsent(event_loop: *const ZCN_Loop, fd: c_int) -> usize {
    value_or(
        guard(|| with_open(event_loop, fd, |_, conn| Ok(conn.unsent()))),
        0,
    )
}

/// 1 if a send would be accepted now, 0 if not; a negative error for an unknown connection.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub extern "C" fn zcn_conn_is_writable(event_loop: *const ZCN_Loop, fd: c_int) -> c_int {
    number(guard(|| {
        with_open(event_loop, fd, |_, conn| {
            Ok(c_int::from(conn.is_writable()))
        })
    }))
}

/// The connection's descriptor, for `getsockopt` and the like, or a negative error:
/// `ZCN_ERROR_UNSUPPORTED` with `backend` = `stack`, whose connections have none. It stays the
/// library's: do not read, write or close it, and do not keep it beyond `on_close`.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub extern "C" fn zcn_conn_fd(event_loop: *const ZCN_Loop, fd: c_int) -> c_int {
    number(guard(|| {
        with_open(event_loop, fd, |_, conn| {
            conn.raw_fd().ok_or_else(no_descriptor)
        })
    }))
}

/// The peer's address; in `on_close` too.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zcn_conn_peer(
    event_loop: *const ZCN_Loop,
    fd: c_int,
    out: *mut ZCN_Address,
) -> ZCN_Error {
    code(guard(|| {
        // SAFETY: C passes a place for an address, or NULL.
        let out = unsafe { place(out, "out")? };
        handle::with::<Loop, _>(event_loop, |of| {
            let connections = of.shared.connections.borrow();
            let connection = connections.get(fd).ok_or_else(not_found)?;
            match connection.link {
                Link::Connecting(_) => return Err(connecting()),
                _ => *out = connection.peer,
            }
            Ok(())
        })
    }))
}

/// The address of this end.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zcn_conn_local(
    event_loop: *const ZCN_Loop,
    fd: c_int,
    out: *mut ZCN_Address,
) -> ZCN_Error {
    code(guard(|| {
        // SAFETY: C passes a place for an address, or NULL.
        let out = unsafe { place(out, "out")? };
        with_open(event_loop, fd, |_, conn| {
            *out = (&conn.local_addr()?).into();
            Ok(())
        })
    }))
}

/// Keeps a pointer with the connection, until it is gone.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub extern "C" fn zcn_conn_set_user_data(
    event_loop: *mut ZCN_Loop,
    fd: c_int,
    user_data: *mut c_void,
) -> ZCN_Error {
    code(guard(|| {
        handle::with::<Loop, _>(event_loop, |of| {
            let mut connections = of.shared.connections.borrow_mut();
            let connection = connections.get_mut(fd).ok_or_else(not_found)?;
            connection.user_data = user_data;
            Ok(())
        })
    }))
}

/// The pointer kept with the connection, in `on_close` too; NULL if there is none.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub extern "C" fn zcn_conn_user_data(event_loop: *const ZCN_Loop, fd: c_int) -> *mut c_void {
    let found = guard(|| {
        handle::with::<Loop, _>(event_loop, |of| {
            let connections = of.shared.connections.borrow();
            let connection = connections.get(fd).ok_or_else(not_found)?;
            Ok(connection.user_data)
        })
    });
    value_or(found, std::ptr::null_mut())
}

/// Why a connection ended, asked inside its `on_close`; for `ZCN_CLOSE_ERROR` its errno is written
/// to `os_error`, otherwise 0, unless that is NULL.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zcn_conn_close_reason(
    event_loop: *const ZCN_Loop,
    fd: c_int,
    os_error: *mut c_int,
) -> ZCN_CloseReason {
    let found = guard(|| {
        handle::with::<Loop, _>(event_loop, |of| {
            let connections = of.shared.connections.borrow();
            Ok(connections.get(fd).ok_or_else(not_found)?.link)
        })
    });
    let mut errno = 0;
    let reason = match value_or(found.map(Some), None) {
        Some(Link::Closed(reason)) => match reason {
            CloseReason::Local => ZCN_CloseReason::ZCN_CLOSE_LOCAL,
            CloseReason::Peer => ZCN_CloseReason::ZCN_CLOSE_PEER,
            CloseReason::IdleTimeout => ZCN_CloseReason::ZCN_CLOSE_IDLE_TIMEOUT,
            CloseReason::WriteTimeout => ZCN_CloseReason::ZCN_CLOSE_WRITE_TIMEOUT,
            CloseReason::HandlerPanic => ZCN_CloseReason::ZCN_CLOSE_PANIC,
            CloseReason::Shutdown => ZCN_CloseReason::ZCN_CLOSE_SHUTDOWN,
            CloseReason::Error(number) => {
                errno = number;
                ZCN_CloseReason::ZCN_CLOSE_ERROR
            }
            _ => ZCN_CloseReason::ZCN_CLOSE_ERROR,
        },
        _ => ZCN_CloseReason::ZCN_CLOSE_NONE,
    };
    if !os_error.is_null() {
        // SAFETY: C passes a place for the errno, or NULL.
        unsafe { os_error.write(errno) };
    }
    reason
}
