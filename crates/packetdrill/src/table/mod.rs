//! packetdrill's table of calls: C's pointers in, C's answers out.
//!
//! Descriptors that are not ours (pipes of a script) go on to the C library.

#![allow(unsafe_code)]

mod ancillary;
mod control;
mod device;
mod lifecycle;
mod memory;
mod receive;
mod send;
mod transfer;
mod wait;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use libc::{
    c_char, c_int, c_long, c_longlong, c_uint, c_ulong, c_void, epoll_event, iovec, loff_t, msghdr,
    nfds_t, pollfd, size_t, sockaddr, socklen_t, ssize_t, timeval,
};

use crate::errno::{Errno, Result};
use crate::interpose;
use crate::settings::Settings;
use crate::world::World;

pub(crate) use control::get_option;
pub(crate) use transfer::send_file;

/// Most bytes that one call takes or gives: as Linux limits them.
const COUNT_MAX: usize = 0x7fff_f000;
/// Most parts of a vector (`UIO_MAXIOV`).
const PARTS_MAX: usize = 1024;
/// Room for any socket address.
const ADDRESS_MAX: usize = 128;

/// `struct packetdrill_interface`. Every call has `userdata` as its first argument, and is
/// otherwise as the one of the C library with its name; it answers -1 and sets `errno` if
/// it fails. The calls may come from any thread; those that block belong on another than
/// the one that filled the table, which moves the clock.
#[repr(C)]
#[derive(Debug)]
#[expect(missing_docs, reason = "named as the calls of the C library")]
pub struct Table {
    /// The stack; ours.
    pub userdata: *mut c_void,
    /// Ends the stack. Nothing may be called afterwards.
    pub free: Option<unsafe extern "C" fn(*mut c_void)>,
    pub socket: Option<unsafe extern "C" fn(*mut c_void, c_int, c_int, c_int) -> c_int>,
    pub bind: Option<unsafe extern "C" fn(*mut c_void, c_int, *const sockaddr, socklen_t) -> c_int>,
    pub listen: Option<unsafe extern "C" fn(*mut c_void, c_int, c_int) -> c_int>,
    pub accept:
        Option<unsafe extern "C" fn(*mut c_void, c_int, *mut sockaddr, *mut socklen_t) -> c_int>,
    pub connect:
        Option<unsafe extern "C" fn(*mut c_void, c_int, *const sockaddr, socklen_t) -> c_int>,
    pub read: Option<unsafe extern "C" fn(*mut c_void, c_int, *mut c_void, size_t) -> ssize_t>,
    pub readv: Option<unsafe extern "C" fn(*mut c_void, c_int, *const iovec, c_int) -> ssize_t>,
    pub recv:
        Option<unsafe extern "C" fn(*mut c_void, c_int, *mut c_void, size_t, c_int) -> ssize_t>,
    pub recvfrom: Option<RecvFrom>,
    pub recvmsg: Option<unsafe extern "C" fn(*mut c_void, c_int, *mut msghdr, c_int) -> ssize_t>,
    pub write: Option<unsafe extern "C" fn(*mut c_void, c_int, *const c_void, size_t) -> ssize_t>,
    pub writev: Option<unsafe extern "C" fn(*mut c_void, c_int, *const iovec, c_int) -> ssize_t>,
    pub send:
        Option<unsafe extern "C" fn(*mut c_void, c_int, *const c_void, size_t, c_int) -> ssize_t>,
    pub sendto: Option<SendTo>,
    pub sendmsg: Option<unsafe extern "C" fn(*mut c_void, c_int, *const msghdr, c_int) -> ssize_t>,
    /// Variadic in C. One argument of a variadic call travels as that of a plain call does
    /// (System V for x86-64, AAPCS64 of Linux).
    pub fcntl: Option<unsafe extern "C" fn(*mut c_void, c_int, c_int, c_long) -> c_int>,
    /// Variadic in C; see `fcntl`.
    pub ioctl: Option<unsafe extern "C" fn(*mut c_void, c_int, c_ulong, *mut c_void) -> c_int>,
    pub close: Option<unsafe extern "C" fn(*mut c_void, c_int) -> c_int>,
    pub shutdown: Option<unsafe extern "C" fn(*mut c_void, c_int, c_int) -> c_int>,
    pub getsockopt: Option<GetOption>,
    pub setsockopt: Option<SetOption>,
    pub poll: Option<unsafe extern "C" fn(*mut c_void, *mut pollfd, nfds_t, c_int) -> c_int>,
    /// A raw IP packet arrives.
    pub netdev_send: Option<unsafe extern "C" fn(*mut c_void, *const c_void, size_t) -> c_int>,
    /// The next raw IP packet that leaves, its length, and when it left in microseconds.
    pub netdev_receive: Option<NetdevReceive>,
    pub usleep: Option<unsafe extern "C" fn(*mut c_void, c_uint) -> c_int>,
    pub gettimeofday: Option<unsafe extern "C" fn(*mut c_void, *mut timeval, *mut c_void) -> c_int>,
    pub epoll_create: Option<unsafe extern "C" fn(*mut c_void, c_int) -> c_int>,
    pub epoll_ctl:
        Option<unsafe extern "C" fn(*mut c_void, c_int, c_int, c_int, *mut epoll_event) -> c_int>,
    pub epoll_wait:
        Option<unsafe extern "C" fn(*mut c_void, c_int, *mut epoll_event, c_int, c_int) -> c_int>,
    pub pipe: Option<unsafe extern "C" fn(*mut c_void, *mut c_int) -> c_int>,
    pub splice: Option<Splice>,
}

type RecvFrom = unsafe extern "C" fn(
    *mut c_void,
    c_int,
    *mut c_void,
    size_t,
    c_int,
    *mut sockaddr,
    *mut socklen_t,
) -> ssize_t;
type SendTo = unsafe extern "C" fn(
    *mut c_void,
    c_int,
    *const c_void,
    size_t,
    c_int,
    *const sockaddr,
    socklen_t,
) -> ssize_t;
type GetOption =
    unsafe extern "C" fn(*mut c_void, c_int, c_int, c_int, *mut c_void, *mut socklen_t) -> c_int;
type SetOption =
    unsafe extern "C" fn(*mut c_void, c_int, c_int, c_int, *const c_void, socklen_t) -> c_int;
type NetdevReceive =
    unsafe extern "C" fn(*mut c_void, *mut c_void, *mut size_t, *mut c_longlong) -> c_int;
type Splice = unsafe extern "C" fn(
    *mut c_void,
    c_int,
    *mut loff_t,
    c_int,
    *mut loff_t,
    size_t,
    c_uint,
) -> ssize_t;

/// Fills the table. `flags` is the text of `--so_flags`, or NULL; see [`Settings`]. Flags
/// that make no sense end the process with 2, and what to write instead on standard error:
/// the interface has no other way to say so.
///
/// # Safety
/// `flags` is NULL or a text that ends with a NUL; `table` is good for a [`Table`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn packetdrill_interface_init(flags: *const c_char, table: *mut Table) {
    let text = if flags.is_null() {
        String::new()
    } else {
        // SAFETY: the caller's contract.
        let text = unsafe { std::ffi::CStr::from_ptr(flags) };
        text.to_string_lossy().into_owned()
    };
    let settings = Settings::parse(&text).unwrap_or_else(|error| fail(&error.to_string(), 2));
    let world = World::new(settings).unwrap_or_else(|error| fail(&error, 1));
    let world = Arc::new(world);
    interpose::serve(Some(&world));
    let filled = Table {
        userdata: Arc::into_raw(world).cast_mut().cast(),
        free: Some(free),
        socket: Some(lifecycle::socket),
        bind: Some(lifecycle::bind),
        listen: Some(lifecycle::listen),
        accept: Some(lifecycle::accept),
        connect: Some(lifecycle::connect),
        read: Some(receive::read),
        readv: Some(receive::readv),
        recv: Some(receive::recv),
        recvfrom: Some(receive::recvfrom),
        recvmsg: Some(receive::recvmsg),
        write: Some(send::write),
        writev: Some(send::writev),
        send: Some(send::send),
        sendto: Some(send::sendto),
        sendmsg: Some(send::sendmsg),
        fcntl: Some(control::fcntl),
        ioctl: Some(control::ioctl),
        close: Some(lifecycle::close),
        shutdown: Some(lifecycle::shutdown),
        getsockopt: Some(control::getsockopt),
        setsockopt: Some(control::setsockopt),
        poll: Some(wait::poll),
        netdev_send: Some(device::netdev_send),
        netdev_receive: Some(device::netdev_receive),
        usleep: Some(device::usleep),
        gettimeofday: Some(device::gettimeofday),
        epoll_create: Some(wait::epoll_create),
        epoll_ctl: Some(wait::epoll_ctl),
        epoll_wait: Some(wait::epoll_wait),
        pipe: Some(control::pipe),
        splice: Some(transfer::splice),
    };
    // SAFETY: the caller's contract.
    unsafe { table.write(filled) };
}

/// Ends the process: the interface has no error to answer with.
#[expect(clippy::print_stderr, reason = "the only way to tell the user")]
fn fail(error: &str, code: i32) -> ! {
    eprintln!("libzcn_packetdrill: {error}");
    std::process::exit(code);
}

/// Runs the body of a call; a panic in it is EIO.
fn answer<T: From<i8>>(userdata: *mut c_void, body: impl FnOnce(&World) -> Result<T>) -> T {
    // SAFETY: `userdata` is that of the table, which `packetdrill_interface_init` made of an
    // `Arc<World>`, and `free` was not called yet.
    let world = unsafe { &*userdata.cast::<World>() };
    finish(|| body(world))
}

/// Sets `errno` to an error and makes -1 of it.
pub(crate) fn finish<T: From<i8>>(body: impl FnOnce() -> Result<T>) -> T {
    let result = catch_unwind(AssertUnwindSafe(body)).unwrap_or(Err(Errno(libc::EIO)));
    result.unwrap_or_else(|Errno(number)| {
        // SAFETY: the C library's place for this thread's error number.
        unsafe { *libc::__errno_location() = number };
        T::from(-1)
    })
}

fn length(count: usize) -> ssize_t {
    ssize_t::try_from(count).unwrap_or(ssize_t::MAX)
}

unsafe extern "C" fn free(userdata: *mut c_void) {
    interpose::serve(None);
    // SAFETY: from `Arc::into_raw` in `packetdrill_interface_init`, and given back once.
    drop(unsafe { Arc::from_raw(userdata.cast::<World>()) });
}
