//! Buffers that C holds: acquired to be filled and sent, or kept from what arrived.
#![allow(unsafe_code)]
#![allow(clippy::missing_safety_doc)]

use zcn::{Buf, RawBuf};

use crate::address::place;
use crate::error::{Failure, Result, ZCN_Error, code};
use crate::event_loop::{Loop, ZCN_Loop};
use crate::guard::guard;
use crate::{handle, pools};

/// A buffer of a loop in the caller's hands: a lease, which ends by sending or releasing it, once.
///
/// Read `data`, `len` and `capacity`; write up to `capacity` bytes at `data`, then say with
/// `zcn_buf_commit` how many they are. The rest is the library's. Copying the struct does not copy
/// the lease: the copy that is used second is refused with `ZCN_ERROR_INVALID_BUFFER`.
///
/// A lease may be filled, read and released on any thread; it is sent on the thread of the loop.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(non_camel_case_types)]
pub struct ZCN_Buf {
    /// The bytes; NULL if this is no lease.
    pub data: *mut u8,
    /// How many bytes there are.
    pub len: usize,
    /// How many there can be.
    pub capacity: usize,
    /// The library's.
    pub pool: u32,
    /// The library's.
    pub index: u32,
    /// The library's.
    pub generation: u32,
    /// The library's.
    pub reserved: u32,
}

const _: () = assert!(size_of::<ZCN_Buf>() == 40);

const EMPTY: ZCN_Buf = ZCN_Buf {
    data: std::ptr::null_mut(),
    len: 0,
    capacity: 0,
    pool: 0,
    index: 0,
    generation: 0,
    reserved: 0,
};

impl ZCN_Buf {
    /// What the pool knows the buffer by.
    #[inline]
    fn raw(&self) -> RawBuf {
        RawBuf {
            index: self.index,
            generation: self.generation,
        }
    }
}

/// A buffer of the loop as C holds it.
// Inlined, as is `reclaim`, or the buffer would go through memory in pieces on its way.
#[inline(always)]
pub(crate) fn lend(of: &Loop, mut buf: Buf) -> ZCN_Buf {
    let known = of.pools.number_of(&buf);
    let pool = known.unwrap_or_else(|| of.number_of_foreign(&buf));
    let (data, len, capacity) = (buf.as_mut_ptr(), buf.len(), buf.capacity());
    let RawBuf { index, generation } = buf.into_raw();
    ZCN_Buf {
        data,
        len,
        capacity,
        pool,
        index,
        generation,
        reserved: 0,
    }
}

/// Takes a buffer back from C, with what C says is in it; `lease` is empty afterwards.
#[inline(always)]
pub(crate) fn reclaim(of: &Loop, lease: &mut ZCN_Buf) -> Result<Buf> {
    let mut buf = pools::claim(&of.pools, lease.pool, lease.raw())?;
    let skip = lease.data.addr().checked_sub(buf.as_mut_ptr().addr());
    match skip.filter(|&skip| skip <= buf.capacity() && lease.len <= buf.capacity() - skip) {
        Some(skip) => {
            buf.set_len(skip + lease.len);
            buf.advance(skip);
            *lease = EMPTY;
            Ok(buf)
        }
        None => Err(reset(of, lease, buf)),
    }
}

/// C changed the fields to something outside the buffer; the lease stays with it, under a new
/// number, as the old one was just used up.
#[cold]
fn reset(of: &Loop, lease: &mut ZCN_Buf, buf: Buf) -> Failure {
    let (data, len, capacity) = (lease.data, lease.len, lease.capacity);
    *lease = lend(of, buf);
    Failure::new(
        ZCN_Error::ZCN_ERROR_INVALID_BUFFER,
        format!(
            "the lease was changed: {len} bytes at {data:?} with a capacity of {capacity} do not \
             lie in its buffer; it was reset, use zcn_buf_commit and zcn_buf_advance"
        ),
    )
}

/// An empty buffer of the loop to fill and send.
///
/// `ZCN_ERROR_NO_BUFFER` if none is free: buffers come back as sends end and leases are released.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zcn_buf_acquire(
    event_loop: *mut ZCN_Loop,
    out: *mut ZCN_Buf,
) -> ZCN_Error {
    code(guard(|| {
        // SAFETY: C passes a place for a buffer, or NULL.
        let out = unsafe { place(out, "out")? };
        let lent = handle::with::<Loop, _>(event_loop, |of| {
            let buf = of.runtime.buffer().ok_or_else(no_buffer)?;
            Ok(lend(of, buf))
        });
        *out = lent.unwrap_or(EMPTY);
        lent.map(drop)
    }))
}

#[cold]
pub(crate) fn no_buffer() -> Failure {
    Failure::fixed(
        ZCN_Error::ZCN_ERROR_NO_BUFFER,
        c"no free buffer: raise \"buffers\", release leases, or wait until sends have ended",
    )
}

/// Keeps what is being delivered beyond the callback: inside `on_data` or `on_datagram`, `out`
/// becomes a lease of the received bytes, which stay where they are. Once per callback.
///
/// The buffer is one of those the loop receives into. Keeping many for long makes receiving wait.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zcn_buf_retain(event_loop: *mut ZCN_Loop, out: *mut ZCN_Buf) -> ZCN_Error {
    code(guard(|| {
        // SAFETY: C passes a place for a buffer, or NULL.
        let out = unsafe { place(out, "out")? };
        *out = EMPTY;
        handle::with::<Loop, _>(event_loop, |of| {
            let buf = of.shared.delivering.take().ok_or_else(|| {
                Failure::fixed(
                    ZCN_Error::ZCN_ERROR_INVALID_BUFFER,
                    c"nothing is being delivered: zcn_buf_retain is for inside on_data and \
                      on_datagram, once per call",
                )
            })?;
            *out = lend(of, buf);
            Ok(())
        })
    }))
}

/// Says that the first `len` bytes at `data` are the message.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zcn_buf_commit(buf: *mut ZCN_Buf, len: usize) -> ZCN_Error {
    code(guard(|| {
        // SAFETY: C passes a lease, or NULL.
        let lease = unsafe { place(buf, "buf")? };
        if len > lease.capacity {
            return Err(Failure::new(
                ZCN_Error::ZCN_ERROR_INVALID_ARGUMENT,
                format!("len {len} is beyond the capacity of {}", lease.capacity),
            ));
        }
        lease.len = len;
        Ok(())
    }))
}

/// Drops the first `count` bytes, for example a header that has been read: `data` moves on.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zcn_buf_advance(buf: *mut ZCN_Buf, count: usize) -> ZCN_Error {
    code(guard(|| {
        // SAFETY: C passes a lease, or NULL.
        let lease = unsafe { place(buf, "buf")? };
        if count > lease.len || count > lease.capacity {
            return Err(Failure::new(
                ZCN_Error::ZCN_ERROR_INVALID_ARGUMENT,
                format!("count {count} is beyond the {} bytes", lease.len),
            ));
        }
        lease.data = lease.data.wrapping_add(count);
        lease.len -= count;
        lease.capacity -= count;
        Ok(())
    }))
}

/// Gives a buffer back unsent; `buf` is zeroed. From any thread, also after its loop is gone.
///
/// A second release is `ZCN_ERROR_INVALID_BUFFER`, that of a zeroed struct too; NULL is an
/// argument error.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zcn_buf_release(buf: *mut ZCN_Buf) -> ZCN_Error {
    code(guard(|| {
        // SAFETY: C passes a lease, or NULL.
        let lease = unsafe { place(buf, "buf")? };
        pools::release(lease.pool, lease.raw())?;
        *lease = EMPTY;
        Ok(())
    }))
}
