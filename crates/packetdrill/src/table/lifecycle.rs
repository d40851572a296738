//! Sockets begin and end: socket to shutdown.

#![allow(unsafe_code)]

use libc::{c_int, c_void, sockaddr, socklen_t};

use super::answer;
use super::memory::{bytes, store_address};

pub(super) unsafe extern "C" fn socket(
    world: *mut c_void,
    domain: c_int,
    kind: c_int,
    protocol: c_int,
) -> c_int {
    answer(world, |world| world.socket(domain, kind, protocol))
}

pub(super) unsafe extern "C" fn bind(
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

pub(super) unsafe extern "C" fn listen(world: *mut c_void, fd: c_int, backlog: c_int) -> c_int {
    answer(world, |world| world.listen(fd, backlog).map(|()| 0))
}

pub(super) unsafe extern "C" fn accept(
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

pub(super) unsafe extern "C" fn connect(
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

pub(super) unsafe extern "C" fn close(world: *mut c_void, fd: c_int) -> c_int {
    answer(world, |world| world.close(fd).map(|()| 0))
}

pub(super) unsafe extern "C" fn shutdown(world: *mut c_void, fd: c_int, how: c_int) -> c_int {
    answer(world, |world| world.shutdown(fd, how).map(|()| 0))
}
