//! packetdrill's table of calls: C's pointers in, C's answers out.
//!
//! Descriptors that are not ours (pipes of a script) go on to the C library.

#![allow(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use libc::{
    c_char, c_int, c_long, c_longlong, c_short, c_uint, c_ulong, c_void, epoll_event, iovec,
    loff_t, msghdr, nfds_t, pollfd, size_t, sockaddr, socklen_t, ssize_t, timeval,
};

use crate::descriptor;
use crate::errno::{Errno, Result};
use crate::interpose;
use crate::settings::Settings;
use crate::socket::Received;
use crate::world::{SIOCINQ, World};

/// Most bytes that one call takes or gives: as Linux limits them.
const COUNT_MAX: usize = 0x7fff_f000;
/// Most parts of a vector (`UIO_MAXIOV`).
const PARTS_MAX: usize = 1024;
/// Room for any socket address.
const ADDRESS_MAX: usize = 128;
/// `FIONBIO`.
const FIONBIO: c_ulong = 0x5421;

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
        socket: Some(socket),
        bind: Some(bind),
        listen: Some(listen),
        accept: Some(accept),
        connect: Some(connect),
        read: Some(read),
        readv: Some(readv),
        recv: Some(recv),
        recvfrom: Some(recvfrom),
        recvmsg: Some(recvmsg),
        write: Some(write),
        writev: Some(writev),
        send: Some(send),
        sendto: Some(sendto),
        sendmsg: Some(sendmsg),
        fcntl: Some(fcntl),
        ioctl: Some(ioctl),
        close: Some(close),
        shutdown: Some(shutdown),
        getsockopt: Some(getsockopt),
        setsockopt: Some(setsockopt),
        poll: Some(poll),
        netdev_send: Some(netdev_send),
        netdev_receive: Some(netdev_receive),
        usleep: Some(usleep),
        gettimeofday: Some(gettimeofday),
        epoll_create: Some(epoll_create),
        epoll_ctl: Some(epoll_ctl),
        epoll_wait: Some(epoll_wait),
        pipe: Some(pipe),
        splice: Some(splice),
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

/// What C passed by pointer and length.
///
/// # Safety
/// `data` is good for reading `len` bytes, or NULL.
unsafe fn bytes(data: *const c_void, len: usize) -> Result<Vec<u8>> {
    if len == 0 {
        return Ok(Vec::new());
    }
    if data.is_null() {
        return Err(Errno(libc::EFAULT));
    }
    // SAFETY: the caller's contract.
    let bytes = unsafe { std::slice::from_raw_parts(data.cast::<u8>(), len.min(COUNT_MAX)) };
    Ok(bytes.to_vec())
}

/// Stores bytes where C has room for them.
///
/// # Safety
/// `target` is good for writing `bytes`.
unsafe fn store(target: *mut c_void, bytes: &[u8]) {
    if !bytes.is_empty() {
        // SAFETY: the caller's contract; they do not overlap, as `bytes` are ours.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), target.cast(), bytes.len()) };
    }
}

/// Stores a socket address, cut to the room there is, and its whole length.
///
/// # Safety
/// `len` is NULL, or the room at `target`.
unsafe fn store_address(target: *mut sockaddr, len: *mut socklen_t, address: &[u8]) {
    if target.is_null() || len.is_null() || address.is_empty() {
        return;
    }
    // SAFETY: the caller's contract.
    unsafe {
        let room = (*len as usize).min(address.len());
        store(target.cast(), &address[..room]);
        *len = address.len() as socklen_t;
    }
}

/// The parts of a vector.
///
/// # Safety
/// `parts` is good for reading `count` of them.
unsafe fn vector(parts: *const iovec, count: usize) -> Result<Vec<iovec>> {
    if count > PARTS_MAX || (parts.is_null() && count > 0) {
        return Err(Errno(libc::EINVAL));
    }
    if count == 0 {
        return Ok(Vec::new());
    }
    // SAFETY: the caller's contract.
    Ok(unsafe { std::slice::from_raw_parts(parts, count) }.to_vec())
}

/// Everything that the parts hold, as one.
///
/// # Safety
/// They are good for reading.
unsafe fn gather(parts: &[iovec]) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    for part in parts {
        // SAFETY: the caller's contract.
        all.extend(unsafe { bytes(part.iov_base, part.iov_len) }?);
    }
    Ok(all)
}

/// Stores bytes into the parts, one after the other.
///
/// # Safety
/// They are good for writing, and have room for all.
unsafe fn scatter(parts: &[iovec], mut bytes: &[u8]) {
    for part in parts {
        let (now, rest) = bytes.split_at(part.iov_len.min(bytes.len()));
        // SAFETY: the caller's contract.
        unsafe { store(part.iov_base, now) };
        bytes = rest;
    }
}

fn room(parts: &[iovec]) -> usize {
    let sum = parts.iter().map(|part| part.iov_len);
    sum.fold(0_usize, usize::saturating_add).min(COUNT_MAX)
}

unsafe extern "C" fn free(userdata: *mut c_void) {
    interpose::serve(None);
    // SAFETY: from `Arc::into_raw` in `packetdrill_interface_init`, and given back once.
    drop(unsafe { Arc::from_raw(userdata.cast::<World>()) });
}

unsafe extern "C" fn socket(
    world: *mut c_void,
    domain: c_int,
    kind: c_int,
    protocol: c_int,
) -> c_int {
    answer(world, |world| world.socket(domain, kind, protocol))
}

unsafe extern "C" fn bind(
    world: *mut c_void,
    fd: c_int,
    address: *const sockaddr,
    len: socklen_t,
) -> c_int {
    answer(world, |world| {
        // SAFETY: C's contract of bind(2).
        let address = unsafe { bytes(address.cast(), len as usize) }?;
        world.bind(fd, address).map(|()| 0)
    })
}

unsafe extern "C" fn listen(world: *mut c_void, fd: c_int, backlog: c_int) -> c_int {
    answer(world, |world| world.listen(fd, backlog).map(|()| 0))
}

unsafe extern "C" fn accept(
    world: *mut c_void,
    fd: c_int,
    address: *mut sockaddr,
    len: *mut socklen_t,
) -> c_int {
    answer(world, |world| {
        let (accepted, remote) = world.accept(fd)?;
        // SAFETY: C's contract of accept(2).
        unsafe { store_address(address, len, &remote) };
        Ok(accepted)
    })
}

unsafe extern "C" fn connect(
    world: *mut c_void,
    fd: c_int,
    address: *const sockaddr,
    len: socklen_t,
) -> c_int {
    answer(world, |world| {
        // SAFETY: C's contract of connect(2).
        let address = unsafe { bytes(address.cast(), len as usize) }?;
        world.connect(fd, address).map(|()| 0)
    })
}

/// Receives into a buffer.
///
/// # Safety
/// `buffer` is good for writing `len` bytes.
unsafe fn receive(
    world: &World,
    fd: c_int,
    buffer: *mut c_void,
    len: size_t,
    flags: c_int,
) -> Result<(ssize_t, Received)> {
    let received = world.receive(fd, len.min(COUNT_MAX), flags)?;
    // SAFETY: the caller's contract; no more bytes came than were asked for.
    unsafe { store(buffer, &received.bytes) };
    let count = if flags & libc::MSG_TRUNC != 0 {
        received.len
    } else {
        received.len.min(len)
    };
    Ok((length(count), received))
}

unsafe extern "C" fn read(
    world: *mut c_void,
    fd: c_int,
    buffer: *mut c_void,
    len: size_t,
) -> ssize_t {
    answer(world, |world| {
        if !world.knows(fd) {
            // SAFETY: C's contract of read(2).
            let count = unsafe { libc::read(fd, buffer, len) };
            return passed(count);
        }
        // SAFETY: C's contract of read(2).
        unsafe { receive(world, fd, buffer, len, 0) }.map(|received| received.0)
    })
}

/// The answer of a call that went on to the C library.
fn passed(count: ssize_t) -> Result<ssize_t> {
    if count < 0 {
        return Err(descriptor::last());
    }
    Ok(count)
}

/// Receives into the parts of a vector.
///
/// # Safety
/// They are good for writing.
unsafe fn receive_parts(
    world: &World,
    fd: c_int,
    parts: &[iovec],
    flags: c_int,
) -> Result<(ssize_t, Received)> {
    let room = room(parts);
    let received = world.receive(fd, room, flags)?;
    // SAFETY: the caller's contract; no more bytes came than there is room for.
    unsafe { scatter(parts, &received.bytes) };
    let whole = flags & libc::MSG_TRUNC != 0;
    let count = if whole {
        received.len
    } else {
        received.len.min(room)
    };
    Ok((length(count), received))
}

unsafe extern "C" fn readv(
    world: *mut c_void,
    fd: c_int,
    parts: *const iovec,
    count: c_int,
) -> ssize_t {
    answer(world, |world| {
        let count = usize::try_from(count).map_err(|_| Errno(libc::EINVAL))?;
        // SAFETY: C's contract of readv(2).
        unsafe { receive_parts(world, fd, &vector(parts, count)?, 0) }.map(|received| received.0)
    })
}

unsafe extern "C" fn recv(
    world: *mut c_void,
    fd: c_int,
    buffer: *mut c_void,
    len: size_t,
    flags: c_int,
) -> ssize_t {
    answer(world, |world| {
        // SAFETY: C's contract of recv(2).
        unsafe { receive(world, fd, buffer, len, flags) }.map(|received| received.0)
    })
}

unsafe extern "C" fn recvfrom(
    world: *mut c_void,
    fd: c_int,
    buffer: *mut c_void,
    len: size_t,
    flags: c_int,
    address: *mut sockaddr,
    address_len: *mut socklen_t,
) -> ssize_t {
    answer(world, |world| {
        // SAFETY: C's contract of recvfrom(2).
        unsafe {
            let (count, received) = receive(world, fd, buffer, len, flags)?;
            store_address(address, address_len, &received.from);
            Ok(count)
        }
    })
}

unsafe extern "C" fn recvmsg(
    world: *mut c_void,
    fd: c_int,
    message: *mut msghdr,
    flags: c_int,
) -> ssize_t {
    answer(world, |world| {
        // SAFETY: C's contract of recvmsg(2): header and parts are good for writing.
        unsafe {
            let message = message.as_mut().ok_or(Errno(libc::EFAULT))?;
            let parts = vector(message.msg_iov, message.msg_iovlen)?;
            let (count, received) = receive_parts(world, fd, &parts, flags)?;
            let mut len = message.msg_namelen;
            store_address(message.msg_name.cast(), &raw mut len, &received.from);
            message.msg_namelen = if received.from.is_empty() { 0 } else { len };
            message.msg_controllen = 0;
            let cut = !received.from.is_empty() && received.len > room(&parts);
            message.msg_flags = if cut { libc::MSG_TRUNC } else { 0 };
            Ok(count)
        }
    })
}

unsafe extern "C" fn write(
    world: *mut c_void,
    fd: c_int,
    data: *const c_void,
    len: size_t,
) -> ssize_t {
    answer(world, |world| {
        if !world.knows(fd) {
            // SAFETY: C's contract of write(2).
            let count = unsafe { libc::write(fd, data, len) };
            return passed(count);
        }
        // SAFETY: C's contract of write(2).
        let data = unsafe { bytes(data, len) }?;
        world.send(fd, data, 0, None).map(length)
    })
}

unsafe extern "C" fn writev(
    world: *mut c_void,
    fd: c_int,
    parts: *const iovec,
    count: c_int,
) -> ssize_t {
    answer(world, |world| {
        let count = usize::try_from(count).map_err(|_| Errno(libc::EINVAL))?;
        // SAFETY: C's contract of writev(2).
        let data = unsafe { gather(&vector(parts, count)?) }?;
        world.send(fd, data, 0, None).map(length)
    })
}

unsafe extern "C" fn send(
    world: *mut c_void,
    fd: c_int,
    data: *const c_void,
    len: size_t,
    flags: c_int,
) -> ssize_t {
    answer(world, |world| {
        // SAFETY: C's contract of send(2).
        let data = unsafe { bytes(data, len) }?;
        world.send(fd, data, flags, None).map(length)
    })
}

unsafe extern "C" fn sendto(
    world: *mut c_void,
    fd: c_int,
    data: *const c_void,
    len: size_t,
    flags: c_int,
    address: *const sockaddr,
    address_len: socklen_t,
) -> ssize_t {
    answer(world, |world| {
        // SAFETY: C's contract of sendto(2).
        let (data, to) = unsafe { (bytes(data, len)?, destination(address, address_len)?) };
        world.send(fd, data, flags, to).map(length)
    })
}

/// An address that may be absent.
///
/// # Safety
/// `address` is NULL or good for reading `len` bytes.
unsafe fn destination(address: *const sockaddr, len: socklen_t) -> Result<Option<Vec<u8>>> {
    if address.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's contract.
    unsafe { bytes(address.cast(), (len as usize).min(ADDRESS_MAX)) }.map(Some)
}

unsafe extern "C" fn sendmsg(
    world: *mut c_void,
    fd: c_int,
    message: *const msghdr,
    flags: c_int,
) -> ssize_t {
    answer(world, |world| {
        // SAFETY: C's contract of sendmsg(2): header, parts and name are good for reading.
        let (data, to) = unsafe {
            let message = message.as_ref().ok_or(Errno(libc::EFAULT))?;
            let parts = vector(message.msg_iov, message.msg_iovlen)?;
            let to = destination(message.msg_name.cast(), message.msg_namelen)?;
            (gather(&parts)?, to)
        };
        world.send(fd, data, flags, to).map(length)
    })
}

unsafe extern "C" fn fcntl(
    world: *mut c_void,
    fd: c_int,
    command: c_int,
    argument: c_long,
) -> c_int {
    answer(world, |world| {
        let known = world.knows(fd);
        match command {
            libc::F_GETFL if known => {
                let nonblocking = world.nonblocking(fd, None)?;
                Ok(libc::O_RDWR | if nonblocking { libc::O_NONBLOCK } else { 0 })
            }
            libc::F_SETFL if known => {
                let set = argument & c_long::from(libc::O_NONBLOCK) != 0;
                world.nonblocking(fd, Some(set)).map(|_| 0)
            }
            _ => {
                // SAFETY: the tool's own call, passed on as it is.
                let result = unsafe { libc::fcntl(fd, command, argument) };
                if result < 0 {
                    Err(descriptor::last())
                } else {
                    Ok(result)
                }
            }
        }
    })
}

unsafe extern "C" fn ioctl(
    world: *mut c_void,
    fd: c_int,
    request: c_ulong,
    argument: *mut c_void,
) -> c_int {
    answer(world, |world| {
        if argument.is_null() {
            return Err(Errno(libc::EFAULT));
        }
        let number = argument.cast::<c_int>();
        if !world.knows(fd) {
            if request != SIOCINQ {
                return Err(Errno(libc::EBADF));
            }
            // SAFETY: FIONREAD stores an int where C has room for it.
            let result = unsafe { libc::ioctl(fd, request, number) };
            return if result < 0 {
                Err(descriptor::last())
            } else {
                Ok(result)
            };
        }
        if request == FIONBIO {
            // SAFETY: C's contract of ioctl(2): FIONBIO reads an int.
            let set = unsafe { number.read_unaligned() } != 0;
            return world.nonblocking(fd, Some(set)).map(|_| 0);
        }
        let value = world.ioctl(fd, request)?;
        // SAFETY: C's contract of ioctl(2): these requests store an int.
        unsafe { number.write_unaligned(value) };
        Ok(0)
    })
}

unsafe extern "C" fn close(world: *mut c_void, fd: c_int) -> c_int {
    answer(world, |world| world.close(fd).map(|()| 0))
}

unsafe extern "C" fn shutdown(world: *mut c_void, fd: c_int, how: c_int) -> c_int {
    answer(world, |world| world.shutdown(fd, how).map(|()| 0))
}

/// getsockopt(2) on one of ours; `TCP_INFO` fills all the room there is.
///
/// # Safety
/// `len` is the room at `value`.
pub(crate) unsafe fn get_option(
    world: &World,
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    len: *mut socklen_t,
) -> Result<c_int> {
    if value.is_null() || len.is_null() {
        return Err(Errno(libc::EFAULT));
    }
    // SAFETY: the caller's contract.
    unsafe {
        let room = *len as usize;
        let bytes = world.option(fd, level, name, room.min(COUNT_MAX))?;
        let count = bytes.len().min(room);
        store(value, &bytes[..count]);
        *len = count as socklen_t;
    }
    Ok(0)
}

unsafe extern "C" fn getsockopt(
    world: *mut c_void,
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    len: *mut socklen_t,
) -> c_int {
    // SAFETY: C's contract of getsockopt(2).
    answer(world, |world| unsafe {
        get_option(world, fd, level, name, value, len)
    })
}

unsafe extern "C" fn setsockopt(
    world: *mut c_void,
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *const c_void,
    len: socklen_t,
) -> c_int {
    answer(world, |world| {
        // SAFETY: C's contract of setsockopt(2).
        let value = unsafe { bytes(value, len as usize) }?;
        world.set_option(fd, level, name, value).map(|()| 0)
    })
}

unsafe extern "C" fn poll(
    world: *mut c_void,
    entries: *mut pollfd,
    count: nfds_t,
    timeout: c_int,
) -> c_int {
    answer(world, |world| {
        let entries = if count == 0 {
            &mut []
        } else if entries.is_null() {
            return Err(Errno(libc::EFAULT));
        } else {
            // SAFETY: C's contract of poll(2).
            unsafe { std::slice::from_raw_parts_mut(entries, count as usize) }
        };
        let asked = entries
            .iter()
            .map(|entry| (entry.fd, entry.events))
            .collect();
        let found: Vec<c_short> = world.poll(asked, timeout)?;
        let mut ready = 0;
        for (entry, found) in entries.iter_mut().zip(found) {
            entry.revents = found;
            ready += c_int::from(found != 0);
        }
        Ok(ready)
    })
}

unsafe extern "C" fn netdev_send(world: *mut c_void, packet: *const c_void, len: size_t) -> c_int {
    answer(world, |world| {
        // SAFETY: the table's contract: `len` bytes of a packet.
        let packet = unsafe { bytes(packet, len) }?;
        world.packet_in(packet).map(|()| 0)
    })
}

unsafe extern "C" fn netdev_receive(
    world: *mut c_void,
    buffer: *mut c_void,
    count: *mut size_t,
    time_usecs: *mut c_longlong,
) -> c_int {
    answer(world, |world| {
        let Some((left_at, packet)) = world.packet_out()? else {
            fail(
                "no packet left the stack in 130 s of virtual time; the script expects one",
                1,
            );
        };
        if buffer.is_null() || count.is_null() || time_usecs.is_null() {
            return Err(Errno(libc::EFAULT));
        }
        // SAFETY: the table's contract: `*count` is the room at `buffer`.
        unsafe {
            let len = packet.len().min(*count);
            store(buffer, &packet[..len]);
            *count = len;
            *time_usecs = left_at.as_micros().cast_signed();
        }
        Ok(0)
    })
}

unsafe extern "C" fn usleep(world: *mut c_void, micros: c_uint) -> c_int {
    answer(world, |world| {
        let length = Duration::from_micros(micros.into());
        world.sleep(length).map(|()| 0)
    })
}

unsafe extern "C" fn gettimeofday(
    world: *mut c_void,
    time: *mut timeval,
    _zone: *mut c_void,
) -> c_int {
    answer(world, |world| {
        let now = world.clock()?.as_micros();
        if !time.is_null() {
            let value = timeval {
                tv_sec: (now / 1_000_000).cast_signed(),
                tv_usec: (now % 1_000_000).cast_signed(),
            };
            // SAFETY: C's contract of gettimeofday(2).
            unsafe { time.write(value) };
        }
        Ok(0)
    })
}

unsafe extern "C" fn epoll_create(world: *mut c_void, size: c_int) -> c_int {
    answer(world, |world| world.epoll_create(size))
}

unsafe extern "C" fn epoll_ctl(
    world: *mut c_void,
    epoll: c_int,
    operation: c_int,
    fd: c_int,
    event: *mut epoll_event,
) -> c_int {
    answer(world, |world| {
        let event = if event.is_null() {
            None
        } else {
            // SAFETY: C's contract of epoll_ctl(2).
            let event = unsafe { event.read_unaligned() };
            Some((event.events, event.u64))
        };
        world.epoll_control(epoll, operation, fd, event).map(|()| 0)
    })
}

unsafe extern "C" fn epoll_wait(
    world: *mut c_void,
    epoll: c_int,
    events: *mut epoll_event,
    max: c_int,
    timeout: c_int,
) -> c_int {
    answer(world, |world| {
        let max = usize::try_from(max).ok().filter(|max| *max > 0);
        let max = max.ok_or(Errno(libc::EINVAL))?;
        if events.is_null() {
            return Err(Errno(libc::EFAULT));
        }
        let found = world.epoll_wait(epoll, max, timeout)?;
        let count = found.len();
        for (at, (ready, data)) in found.into_iter().enumerate() {
            let event = epoll_event {
                events: ready,
                u64: data,
            };
            // SAFETY: C's contract of epoll_wait(2): room for `max`, and `at` is below.
            unsafe { events.add(at).write_unaligned(event) };
        }
        Ok(c_int::try_from(count).unwrap_or(c_int::MAX))
    })
}

unsafe extern "C" fn pipe(_world: *mut c_void, ends: *mut c_int) -> c_int {
    // SAFETY: C's contract of pipe(2).
    unsafe { libc::pipe(ends) }
}

unsafe extern "C" fn splice(
    _world: *mut c_void,
    _from: c_int,
    _from_offset: *mut loff_t,
    _to: c_int,
    _to_offset: *mut loff_t,
    _len: size_t,
    _flags: c_uint,
) -> ssize_t {
    // The kernel cannot reach into this stack's sockets.
    finish(|| Err(Errno(libc::EINVAL)))
}
