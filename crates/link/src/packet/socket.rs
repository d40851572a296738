//! The calls on packet sockets that no library has.

#![allow(unsafe_code)]

use std::io::{self, IoSliceMut};
use std::mem::{MaybeUninit, size_of, size_of_val};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

/// An option of packet(7) that takes an `int`.
#[derive(Clone, Copy)]
pub(super) struct Number(libc::c_int);

impl Number {
    pub(super) const VNET_HDR: Self = Self(libc::PACKET_VNET_HDR);
    pub(super) const IGNORE_OUTGOING: Self = Self(libc::PACKET_IGNORE_OUTGOING);
    pub(super) const QDISC_BYPASS: Self = Self(libc::PACKET_QDISC_BYPASS);
    pub(super) const AUXDATA: Self = Self(libc::PACKET_AUXDATA);
    pub(super) const VERSION: Self = Self(libc::PACKET_VERSION);
    pub(super) const FANOUT: Self = Self(libc::PACKET_FANOUT);
}

/// A packet socket that receives nothing before it is bound.
pub(super) fn open() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(
        AddressFamily::PACKET,
        SocketType::RAW,
        flags,
        None,
    )?)
}

/// Sets an option that takes a number.
pub(super) fn set_number(fd: BorrowedFd<'_>, option: Number, value: i32) -> io::Result<()> {
    // SAFETY: each `Number` names an option that reads an `int`.
    unsafe { set(fd, libc::SOL_PACKET, option.0, &value) }
}

/// Reads an option that is a number.
pub(super) fn number(fd: BorrowedFd<'_>, option: Number) -> io::Result<i32> {
    // SAFETY: each `Number` names an option that writes an `int`, of which every value is one.
    unsafe { get(fd, option.0) }
}

/// Makes a receive ring of the second version.
pub(super) fn set_ring(fd: BorrowedFd<'_>, request: &libc::tpacket_req) -> io::Result<()> {
    // SAFETY: with the second version set, the option reads a `tpacket_req`.
    unsafe { set(fd, libc::SOL_PACKET, libc::PACKET_RX_RING, request) }
}

/// Makes a receive ring of the third version.
pub(super) fn set_block_ring(fd: BorrowedFd<'_>, request: &libc::tpacket_req3) -> io::Result<()> {
    // SAFETY: with the third version set, the option reads a `tpacket_req3`; with another
    // one it reads less.
    unsafe { set(fd, libc::SOL_PACKET, libc::PACKET_RX_RING, request) }
}

/// Takes frames that are for other addresses, too, as long as the socket is open.
pub(super) fn set_promiscuous(fd: BorrowedFd<'_>, index: u32) -> io::Result<()> {
    let request = libc::packet_mreq {
        // Indices are positive numbers of the kernel's `int`.
        mr_ifindex: index as libc::c_int,
        mr_type: libc::PACKET_MR_PROMISC as libc::c_ushort,
        mr_alen: 0,
        mr_address: [0; 8],
    };
    // SAFETY: the option reads a `packet_mreq`.
    unsafe { set(fd, libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &request) }
}

/// Lets no frame in, until [`admit_frames`].
pub(super) fn refuse_frames(fd: BorrowedFd<'_>) -> io::Result<()> {
    let mut filter = [libc::sock_filter {
        // The codes fit the kernel's type by definition. "Return 0": keep no byte.
        code: (libc::BPF_RET | libc::BPF_K) as u16,
        jt: 0,
        jf: 0,
        k: 0,
    }];
    let program = libc::sock_fprog {
        len: 1,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: the option reads a `sock_fprog`, which points to `len` instructions that live
    // through the call; the kernel copies them.
    unsafe { set(fd, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program) }
}

/// Takes the filter away.
pub(super) fn admit_frames(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the option reads an `int`, and ignores it.
    unsafe { set(fd, libc::SOL_SOCKET, libc::SO_DETACH_FILTER, &0_i32) }
}

/// Takes every frame of the interface from now on.
pub(super) fn bind(fd: BorrowedFd<'_>, index: u32) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: (libc::ETH_P_ALL as u16).to_be(),
        sll_ifindex: index as i32,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    // SAFETY: a `sockaddr_ll` and its length; the kernel copies it.
    let result = unsafe {
        libc::bind(
            fd.as_raw_fd(),
            (&raw const address).cast(),
            size_of_val(&address) as libc::socklen_t,
        )
    };
    check(result as isize).map(|_| ())
}

/// How many frames the kernel dropped for want of room since this was last asked.
pub(super) fn drops(fd: BorrowedFd<'_>) -> io::Result<u32> {
    // SAFETY: the option writes a `tpacket_stats`, numbers all (of the third version's
    // longer structure the beginning, which is the same).
    let stats: libc::tpacket_stats = unsafe { get(fd, libc::PACKET_STATISTICS) }?;
    Ok(stats.tp_drops)
}

/// The tag that the kernel took out of a frame: protocol and control information, as they
/// stood behind the addresses.
pub(super) type VlanTag = [u8; 4];

/// The tag in the words of packet(7), if there is one.
pub(super) fn vlan_tag(status: u32, tpid: u16, tci: u16) -> Option<VlanTag> {
    if status & libc::TP_STATUS_VLAN_VALID == 0 {
        return None;
    }
    let tpid = if status & libc::TP_STATUS_VLAN_TPID_VALID == 0 {
        0x8100
    } else {
        tpid
    };
    let ([a, b], [c, d]) = (tpid.to_be_bytes(), tci.to_be_bytes());
    Some([a, b, c, d])
}

/// Receives one frame into `parts`. Answers its length, which is more than fits if it was
/// cut off, and its VLAN tag.
pub(super) fn receive(
    fd: BorrowedFd<'_>,
    parts: &mut [IoSliceMut<'_>],
) -> io::Result<(usize, Option<VlanTag>)> {
    /// Aligned as a control message has to be, and room for the one we asked for.
    #[repr(C, align(8))]
    struct Control([u8; 64]);
    const {
        // SAFETY: computes a number.
        let needed = unsafe { libc::CMSG_SPACE(size_of::<libc::tpacket_auxdata>() as u32) };
        assert!(needed as usize <= size_of::<Control>());
    };
    let mut control = Control([0; 64]);
    // SAFETY: all zeroes is a message header without anything.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    // An `IoSliceMut` has the layout of an `iovec`, which the standard library guarantees.
    message.msg_iov = parts.as_mut_ptr().cast();
    message.msg_iovlen = parts.len() as _;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = size_of::<Control>() as _;
    // SAFETY: the header points to parts and a control buffer of the lengths it tells, all
    // of them ours to be written through the call.
    let result = unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut message, libc::MSG_TRUNC) };
    let len = check(result)?;
    let mut tag = None;
    // SAFETY: the header is the one that the kernel filled in.
    let mut cursor = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    while !cursor.is_null() {
        // SAFETY: not null, so it points to a whole message header inside `control`.
        let header = unsafe { &*cursor };
        if header.cmsg_level == libc::SOL_PACKET && header.cmsg_type == libc::PACKET_AUXDATA {
            // SAFETY: this kind carries a `tpacket_auxdata`, which may lie unaligned.
            let auxdata: libc::tpacket_auxdata = unsafe {
                libc::CMSG_DATA(cursor)
                    .cast::<libc::tpacket_auxdata>()
                    .read_unaligned()
            };
            tag = vlan_tag(auxdata.tp_status, auxdata.tp_vlan_tpid, auxdata.tp_vlan_tci);
        }
        // SAFETY: both are as the kernel filled them in.
        cursor = unsafe { libc::CMSG_NXTHDR(&raw const message, cursor) };
    }
    Ok((len, tag))
}

/// # Safety
/// The option reads a `T`.
unsafe fn set<T>(
    fd: BorrowedFd<'_>,
    level: libc::c_int,
    option: libc::c_int,
    value: &T,
) -> io::Result<()> {
    // SAFETY: the caller vouches for the option; the value lives through the call.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            option,
            (&raw const *value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    check(result as isize).map(|_| ())
}

/// # Safety
/// The option writes a `T`, or the beginning of one, and every value of those bytes is one.
unsafe fn get<T>(fd: BorrowedFd<'_>, option: libc::c_int) -> io::Result<T> {
    let mut value = MaybeUninit::<T>::zeroed();
    let mut len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes, which are there.
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_PACKET,
            option,
            value.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    check(result as isize)?;
    // SAFETY: all bytes are zeroes or what the kernel wrote.
    Ok(unsafe { value.assume_init() })
}

fn check(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}
