//! Ancillary data of a received message (cmsg(3)).

#![allow(unsafe_code)]

use libc::{c_int, msghdr, size_t};

use crate::notices::Notice;
use crate::socket::Beside;

/// How much is left to be read (linux/tcp.h).
const TCP_CM_INQ: c_int = 36;
/// `SO_EE_ORIGIN_TIMESTAMPING`, `SO_EE_ORIGIN_ZEROCOPY` and `SO_EE_CODE_ZEROCOPY_COPIED`
/// (linux/errqueue.h).
const ORIGIN_TIMESTAMPING: u8 = 4;
const ORIGIN_ZERO_COPY: u8 = 5;
const CODE_COPIED: u8 = 1;

/// A `struct sock_extended_err` and an address of nobody.
fn extended_error(errno: c_int, origin: u8, code: u8, info: u32, data: u32, v6: bool) -> Vec<u8> {
    let mut bytes = errno.to_ne_bytes().to_vec();
    bytes.extend([origin, 0, code, 0]);
    bytes.extend(info.to_ne_bytes());
    bytes.extend(data.to_ne_bytes());
    let address = if v6 {
        size_of::<libc::sockaddr_in6>()
    } else {
        size_of::<libc::sockaddr_in>()
    };
    bytes.resize(bytes.len() + address, 0);
    bytes
}

/// Level, type and bytes of each item.
fn items(beside: &Beside) -> Vec<(c_int, c_int, Vec<u8>)> {
    let (notice, v6) = match beside {
        Beside::Left(left) => {
            let bytes = left.to_ne_bytes().to_vec();
            return vec![(libc::IPPROTO_TCP, TCP_CM_INQ, bytes)];
        }
        Beside::Notice(notice, v6) => (notice, *v6),
    };
    let mut items = Vec::new();
    let error = match *notice {
        Notice::Copied { first, last } => {
            extended_error(0, ORIGIN_ZERO_COPY, CODE_COPIED, first, last, v6)
        }
        Notice::Stamp { what, key, at } => {
            if let Some(at) = at {
                // Three of `struct timespec`; only the first is software's.
                let nanos = at.as_nanos();
                let parts = [nanos / 1_000_000_000, nanos % 1_000_000_000, 0, 0, 0, 0];
                let bytes = parts.iter().flat_map(|part| part.to_ne_bytes()).collect();
                items.push((libc::SOL_SOCKET, libc::SO_TIMESTAMPING, bytes));
            }
            extended_error(libc::ENOMSG, ORIGIN_TIMESTAMPING, 0, what as u32, key, v6)
        }
    };
    items.push(if v6 {
        (libc::IPPROTO_IPV6, libc::IPV6_RECVERR, error)
    } else {
        (libc::IPPROTO_IP, libc::IP_RECVERR, error)
    });
    items
}

/// Stores what there is room for, and tells how long it is, and in the message's flags whether
/// something was left out.
///
/// # Safety
/// `msg_control` is good for writing `msg_controllen` bytes, or NULL.
pub(super) unsafe fn store(message: &mut msghdr, beside: &[Beside]) {
    let room = if message.msg_control.is_null() {
        0
    } else {
        message.msg_controllen
    };
    let mut used = 0;
    for (level, kind, bytes) in beside.iter().flat_map(items) {
        // SAFETY: no pointer is followed.
        let (space, len) = unsafe {
            let count = bytes.len() as u32;
            (libc::CMSG_SPACE(count) as usize, libc::CMSG_LEN(count))
        };
        if used + space > room {
            message.msg_flags |= libc::MSG_CTRUNC;
            continue;
        }
        // SAFETY: the caller's contract, and there is room for header and bytes from `used` on,
        // which is a multiple of a header's alignment.
        unsafe {
            let header = message
                .msg_control
                .cast::<u8>()
                .add(used)
                .cast::<libc::cmsghdr>();
            (*header).cmsg_level = level;
            (*header).cmsg_type = kind;
            (*header).cmsg_len = len as size_t;
            let target = libc::CMSG_DATA(header);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), target, bytes.len());
        }
        used += space;
    }
    message.msg_controllen = used as size_t;
}
