//! `getsockopt` in place of the C library's, for a tool that asks a socket of the script
//! about itself without going through the table. To be preloaded.

#![allow(unsafe_code)]

use std::sync::{Arc, Mutex, PoisonError, Weak};

use libc::{c_int, c_void, socklen_t};

use crate::errno::Errno;
use crate::table::{finish, get_option};
use crate::world::World;

/// The stack whose sockets are looked for first.
static WORLD: Mutex<Weak<World>> = Mutex::new(Weak::new());

/// Names the stack that is asked from now on.
pub(crate) fn serve(world: Option<&Arc<World>>) {
    let mut served = WORLD.lock().unwrap_or_else(PoisonError::into_inner);
    *served = world.map(Arc::downgrade).unwrap_or_default();
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
    let world = WORLD
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .upgrade();
    if let Some(world) = world.filter(|world| world.knows(fd)) {
        // SAFETY: the caller's contract.
        return finish(|| unsafe { get_option(&world, fd, level, name, value, len) });
    }
    // SAFETY: a name that ends with a NUL, looked for in what was loaded after this.
    let real = unsafe { libc::dlsym(libc::RTLD_NEXT, c"getsockopt".as_ptr()) };
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
