//! Memory of the caller: C's pointers to bytes, vectors and addresses.

#![allow(unsafe_code)]

use libc::{c_void, iovec, sockaddr, socklen_t};

use super::{ADDRESS_MAX, COUNT_MAX, PARTS_MAX};
use crate::errno::{Errno, Result};

/// What C passed by pointer and length.
///
/// # Safety
/// `data` is good for reading `len` bytes, or NULL.
pub(super) unsafe fn bytes(data: *const c_void, len: usize) -> Result<Vec<u8>> {
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
pub(super) unsafe fn store(target: *mut c_void, bytes: &[u8]) {
    if !bytes.is_empty() {
        // SAFETY: the caller's contract; they do not overlap, as `bytes` are ours.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), target.cast(), bytes.len()) };
    }
}

/// Stores a socket address, cut to the room there is, and its whole length.
///
/// # Safety
/// `len` is NULL, or the room at `target`.
pub(super) unsafe fn store_address(target: *mut sockaddr, len: *mut socklen_t, address: &[u8]) {
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
pub(super) unsafe fn vector(parts: *const iovec, count: usize) -> Result<Vec<iovec>> {
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
pub(super) unsafe fn gather(parts: &[iovec]) -> Result<Vec<u8>> {
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
pub(super) unsafe fn scatter(parts: &[iovec], mut bytes: &[u8]) {
    for part in parts {
        let (now, rest) = bytes.split_at(part.iov_len.min(bytes.len()));
        // SAFETY: the caller's contract.
        unsafe { store(part.iov_base, now) };
        bytes = rest;
    }
}

pub(super) fn room(parts: &[iovec]) -> usize {
    let sum = parts.iter().map(|part| part.iov_len);
    sum.fold(0_usize, usize::saturating_add).min(COUNT_MAX)
}

/// An address that may be absent.
///
/// # Safety
/// `address` is NULL or good for reading `len` bytes.
pub(super) unsafe fn destination(
    address: *const sockaddr,
    len: socklen_t,
) -> Result<Option<Vec<u8>>> {
    if address.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's contract.
    unsafe { bytes(address.cast(), (len as usize).min(ADDRESS_MAX)) }.map(Some)
}
