//! `getsockopt` and `sendfile` in place of the C library's, for a tool that calls them on a
//! socket of the script without going through the table. To be preloaded.

#![allow(unsafe_code)]

use std::sync::{Arc, Mutex, PoisonError, Weak};

use libc::{c_int, c_void, off_t, size_t, socklen_t, ssize_t};

use crate::errno::Errno;
use crate::table::{finish, get_option, send_file};
use crate::world::World;

/// The stack whose sockets are looked for first.
static WORLD: Mutex<Weak<World>> = Mutex::new(Weak::new());

/// Names the stack that is asked from now on.
pub(crate) fn serve(world: Option<&Arc<World>>) {
    let mut served = WORLD.lock().unwrap_or_else(PoisonError::into_inner);
    *served = world.map(Arc::downgrade).unwrap_or_default();
}

/// The stack whose socket a descriptor is, if it is one.
fn owner(fd: c_int) -> Option<Arc<World>> {
    let world = WORLD
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .upgrade();
    world.filter(|world| world.knows(fd))
}

/// What the C library has under a name that this library has, too.
fn real(name: &std::ffi::CStr) -> *mut c_void {
    // SAFETY: a name that ends with a NUL, looked for in what was loaded after this.
    unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) }
}

type Real = unsafe extern "C" fn(c_int, c_int, c_int, *mut c_void, *mut socklen_t) -> c_int;

/// getsockopt(2): of a socket of the stack here, else the C library's.
///
/// # Safety
/// As there: `len` is the room at `value`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    len: *mut socklen_t,
) -> c_int {
    if let Some(world) = owner(fd) {
        // SAFETY: the caller's contract.
        return finish(|| unsafe { get_option(&world, fd, level, name, value, len) });
    }
    let real = real(c"getsockopt");
    if real.is_null() {
        return finish(|| Err(Errno(libc::ENOSYS)));
    }
    // SAFETY: the symbol of that name has this signature (getsockopt(2)), and the arguments
    // are the caller's.
    unsafe {
        let real = core::mem::transmute::<*mut c_void, Real>(real);
        real(fd, level, name, value, len)
    }
}

type RealSendFile = unsafe extern "C" fn(c_int, c_int, *mut off_t, size_t) -> ssize_t;

/// sendfile(2): to a socket of the stack here, else the C library's.
///
/// # Safety
/// As there: `offset` is NULL or good for reading and writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sendfile(
    to: c_int,
    from: c_int,
    offset: *mut off_t,
    len: size_t,
) -> ssize_t {
    if let Some(world) = owner(to) {
        // SAFETY: the caller's contract.
        return finish(|| unsafe { send_file(&world, to, from, offset, len) });
    }
    let real = real(c"sendfile");
    if real.is_null() {
        return finish(|| Err(Errno(libc::ENOSYS)));
    }
    // SAFETY: the symbol of that name has this signature (sendfile(2)), and the arguments are
    // the caller's.
    unsafe {
        let real = core::mem::transmute::<*mut c_void, RealSendFile>(real);
        real(to, from, offset, len)
    }
}

/// The name that programs built for large files have for [`sendfile`]; there is one kind of
/// offset on 64 bits.
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sendfile64(
    to: c_int,
    from: c_int,
    offset: *mut off_t,
    len: size_t,
) -> ssize_t {
    // SAFETY: the caller's contract.
    unsafe { sendfile(to, from, offset, len) }
}
