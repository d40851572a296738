//! The C side: the exported functions, called as C calls them.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_int, c_void};
use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::ptr::{null_mut, without_provenance_mut};
use std::time::{Duration, Instant};

use zcn_measure::error::Error;
use zcn_measure::server::Seat;
use zero_copy_net::*;

use super::{CONNECTIONS, MESSAGE, RUN, Side};
use crate::harness::Result;

const DONE: ZCN_Error = ZCN_Error::ZCN_SUCCESS;

fn message() -> String {
    // SAFETY: the message is never NULL and ends with a NUL.
    let text = unsafe { CStr::from_ptr(zcn_last_error_message()) };
    text.to_string_lossy().into_owned()
}

fn done(code: ZCN_Error) -> Result {
    match code {
        DONE => Ok(()),
        _ => Err(message().into()),
    }
}

/// A server on loopback; destroyed with this.
struct Handle(*mut ZCN_Server);

impl Handle {
    fn new(pairs: &[(&str, u64)]) -> Result<Self> {
        let options = zcn_options_new();
        // SAFETY: texts that end with a NUL.
        done(unsafe { zcn_options_set_str(options, c"address".as_ptr(), c"127.0.0.1".as_ptr()) })?;
        for (name, value) in pairs {
            let name = CString::new(*name)?;
            // SAFETY: a text that ends with a NUL.
            done(unsafe { zcn_options_set_u64(options, name.as_ptr(), *value) })?;
        }
        // SAFETY: the code may be NULL.
        let server = unsafe { zcn_server_create_opts(options, null_mut()) };
        done(zcn_options_free(options))?;
        match server.is_null() {
            true => Err(message().into()),
            false => Ok(Self(server)),
        }
    }

    fn start(
        &self,
        user_data: *mut c_void,
        on_accept: ZCN_OnAccept,
        on_data: ZCN_OnData,
    ) -> Result {
        zcn_server_set_callbacks(self.0, user_data, on_accept, on_data, None);
        done(zcn_server_start(self.0))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        zcn_server_destroy(self.0);
    }
}

/// What the callbacks fill, behind `user_data`.
#[derive(Default)]
struct Seen {
    ids: Vec<c_int>,
    first: Option<Instant>,
    took: Option<Duration>,
    count: usize,
    bytes: usize,
}

unsafe extern "C-unwind" fn on_accept(user_data: *mut c_void, fd: c_int) {
    // SAFETY: registered with a `Seen` that nobody else holds while the loop turns.
    unsafe { &mut *user_data.cast::<Seen>() }.ids.push(fd);
}

unsafe extern "C-unwind" fn on_data(user_data: *mut c_void, _: c_int, _: *const u8, len: usize) {
    // SAFETY: as in `on_accept`.
    let seen = unsafe { &mut *user_data.cast::<Seen>() };
    if seen.count == 0 {
        seen.first = Some(Instant::now());
    }
    if seen.count == RUN - 1 {
        seen.took = seen.first.map(|first| first.elapsed());
    }
    seen.count += 1;
    seen.bytes += len;
}

type Send = unsafe extern "C" fn(*mut ZCN_Server, c_int, *const u8, usize) -> ZCN_Error;
type Acquire = unsafe extern "C" fn(*mut ZCN_Loop, *mut ZCN_Buf) -> ZCN_Error;
type Commit = unsafe extern "C" fn(*mut ZCN_Buf, usize) -> ZCN_Error;
type SendBuf = unsafe extern "C" fn(*mut ZCN_Loop, c_int, *mut ZCN_Buf) -> ZCN_Error;

pub struct C {
    server: Handle,
    of: *mut ZCN_Loop,
    // Reached through `user_data` too, hence as a pointer.
    seen: *mut Seen,
    send: Send,
    acquire: Acquire,
    commit: Commit,
    send_buf: SendBuf,
}

impl C {
    pub fn new() -> Result<Self> {
        let buffers = 4 * CONNECTIONS as u64;
        let server = Handle::new(&[("buffers", buffers)])?;
        let seen = Box::into_raw(Box::<Seen>::default());
        let of = zcn_server_loop(server.0);
        let made = Self {
            server,
            of,
            seen,
            send: black_box(zcn_server_send),
            acquire: black_box(zcn_buf_acquire),
            commit: black_box(zcn_buf_commit),
            send_buf: black_box(zcn_conn_send_buf),
        };
        made.server.start(
            seen.cast(),
            black_box(Some(on_accept)),
            black_box(Some(on_data)),
        )?;
        Ok(made)
    }

    fn seen_so_far(&self) -> &Seen {
        // SAFETY: made by `Box::into_raw`, freed by the drop; callbacks run in `turn` only, which
        // takes `self` mutably.
        unsafe { &*self.seen }
    }
}

impl Drop for C {
    fn drop(&mut self) {
        zcn_server_set_callbacks(self.server.0, null_mut(), None, None, None);
        // SAFETY: made by `Box::into_raw`, and no callback has it any more.
        drop(unsafe { Box::from_raw(self.seen) });
    }
}

impl Side for C {
    fn port(&self) -> u16 {
        zcn_server_port(self.server.0)
    }

    fn connections(&self) -> usize {
        self.seen_so_far().ids.len()
    }

    fn turn(&mut self) -> Result {
        match zcn_server_poll(self.server.0, 1, 0) {
            0.. => Ok(()),
            _ => Err(message().into()),
        }
    }

    fn seen(&mut self) -> (usize, Option<Duration>) {
        // SAFETY: as in `seen_so_far`, and `self` is borrowed mutably.
        let seen = unsafe { &mut *self.seen };
        (std::mem::take(&mut seen.count), seen.took.take())
    }

    fn send(&mut self, index: usize) -> Result {
        let fd = self.seen_so_far().ids[index];
        // SAFETY: the bytes are there.
        done(unsafe { (self.send)(self.server.0, fd, MESSAGE.as_ptr(), MESSAGE.len()) })
    }

    fn send_buffer(&mut self, index: usize) -> Result {
        let fd = self.seen_so_far().ids[index];
        let mut buf = std::mem::MaybeUninit::<ZCN_Buf>::uninit();
        // SAFETY: a place for a lease, which then has room for the message.
        unsafe {
            done((self.acquire)(self.of, buf.as_mut_ptr()))?;
            let buf = buf.assume_init_mut();
            buf.data
                .copy_from_nonoverlapping(MESSAGE.as_ptr(), MESSAGE.len());
            done((self.commit)(buf, MESSAGE.len()))?;
            done((self.send_buf)(self.of, fd, buf))
        }
    }
}

/// What the echo callbacks need, behind `user_data`.
struct Echo {
    server: *mut ZCN_Server,
    of: *mut ZCN_Loop,
}

unsafe extern "C-unwind" fn echo(user_data: *mut c_void, fd: c_int, data: *const u8, len: usize) {
    // SAFETY: registered with an `Echo`, and called with bytes.
    unsafe {
        let echo = &*user_data.cast::<Echo>();
        zcn_server_send(echo.server, fd, data, len);
    }
}

unsafe extern "C-unwind" fn forward(user_data: *mut c_void, fd: c_int, _: *const u8, _: usize) {
    let mut buf = std::mem::MaybeUninit::<ZCN_Buf>::uninit();
    // SAFETY: registered with an `Echo`; a place for a lease, which is sent or given back.
    unsafe {
        let echo = &*user_data.cast::<Echo>();
        if zcn_buf_retain(echo.of, buf.as_mut_ptr()) == DONE
            && zcn_conn_send_buf(echo.of, fd, buf.as_mut_ptr()) != DONE
        {
            zcn_buf_release(buf.as_mut_ptr());
        }
    }
}

/// An echo server through the C interface; by copies, or by forwarding what arrived.
pub fn serve(seat: &Seat, lease: bool) -> zcn_measure::error::Result<()> {
    run(seat, lease).map_err(|error| Error::Options(error.to_string()))
}

fn run(seat: &Seat, lease: bool) -> Result {
    let spin = seat.options().spin.unwrap_or_default().as_micros() as u64;
    let server = Handle::new(&[("spin_us", spin)])?;
    let mut echo_data = Echo {
        server: server.0,
        of: zcn_server_loop(server.0),
    };
    let on_data: ZCN_OnData = match lease {
        true => Some(forward),
        false => Some(echo),
    };
    server.start((&raw mut echo_data).cast(), None, on_data)?;
    seat.ready(SocketAddr::from((
        Ipv4Addr::LOCALHOST,
        zcn_server_port(server.0),
    )));
    let handle = server.0.addr();
    seat.on_stop(move || {
        // For any thread; a server that is gone already is no failure.
        zcn_server_wakeup(without_provenance_mut(handle));
    });
    while !seat.stopped() {
        done(zcn_server_run_once(server.0))?;
    }
    let mut stats = ZCN_StatsEx::default();
    // SAFETY: a place of that size.
    done(unsafe { zcn_server_stats_ex(server.0, &raw mut stats, size_of::<ZCN_StatsEx>()) })?;
    seat.meter().set_syscalls(stats.system_calls);
    Ok(())
}
