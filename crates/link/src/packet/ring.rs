//! Receive rings shared with the kernel (TPACKET_V2 and TPACKET_V3 of packet(7)).
//!
//! Both hand over by a status word: the kernel fills a slot or block and then sets the
//! user's bit; we read it and give it back by setting the word to zero. Slots are used
//! strictly in turn.

#![allow(unsafe_code)]

use std::ffi::c_void;
use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::socket::{self, Number, VlanTag, vlan_tag};

/// The virtio-net header before each frame.
pub(super) const HEADER_LEN: usize = 10;

/// A frame in a ring, the kernel's to be overwritten once it is given back.
pub(super) struct RingFrame<'a> {
    /// The virtio-net header.
    pub(super) header: &'a [u8],
    /// The frame.
    pub(super) bytes: &'a [u8],
    /// When the kernel saw it, since 1970.
    pub(super) time: Duration,
    /// Whether it is longer than that.
    pub(super) cut_off: bool,
    /// The tag that was taken out of it.
    pub(super) tag: Option<VlanTag>,
}

/// Memory that the kernel writes, too.
#[derive(Debug)]
struct Map {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the map is memory like other memory; nothing about it belongs to a thread.
unsafe impl Send for Map {}

impl Map {
    fn new(fd: BorrowedFd<'_>, len: usize) -> io::Result<Self> {
        // SAFETY: a new map at an address of the kernel's choice touches no other memory.
        let start = unsafe {
            mmap(
                ptr::null_mut(),
                len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED | MapFlags::POPULATE,
                fd,
                0,
            )
        }?;
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, len })
    }

    /// The status word at `offset`.
    fn status(&self, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4) && offset + 4 <= self.len);
        // SAFETY: inside the map and aligned, as was checked (maps begin on a page); both
        // we and the kernel touch status words by whole aligned words only.
        unsafe { self.start.add(offset).cast().as_ref() }
    }

    /// The number at `offset`, inside a slot that is ours.
    fn u32(&self, offset: usize) -> usize {
        self.bytes(offset, 4)
            .and_then(|bytes| bytes.first_chunk().copied())
            .map_or(0, u32::from_ne_bytes) as usize
    }

    fn u16(&self, offset: usize) -> u16 {
        self.bytes(offset, 2)
            .and_then(|bytes| bytes.first_chunk().copied())
            .map_or(0, u16::from_ne_bytes)
    }

    /// Bytes inside a slot that is ours: its status was seen set, and is not reset before
    /// the borrow ends. `None` if they are not inside the map.
    fn bytes(&self, offset: usize, len: usize) -> Option<&[u8]> {
        if offset.checked_add(len)? > self.len {
            return None;
        }
        // SAFETY: inside the map. The kernel does not write a slot whose status word has
        // the user's bit; `Ring` and `BlockRing` call this only for those, and reset the
        // word only when no frame is borrowed, as that takes `&mut self`.
        Some(unsafe { slice::from_raw_parts(self.start.add(offset).as_ptr(), len) })
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, and nothing borrows from it any more.
        let unmapped = unsafe { munmap(self.start.as_ptr().cast::<c_void>(), self.len) };
        debug_assert!(unmapped.is_ok());
    }
}

/// A ring of slots, each for one frame of up to 64 KiB: TPACKET_V2.
#[derive(Debug)]
pub(super) struct Ring {
    map: Map,
    block_bytes: usize,
    slots_per_block: usize,
    slots: usize,
    next: usize,
}

/// A slot holds the largest frame: 64 KiB with its link header, and the kernel's header.
const SLOT_BYTES: usize = 65_536 + 256;

/// Blocks are allocated as such, and are the larger the fewer bytes they waste.
pub(super) const BLOCK_BYTES: usize = 1 << 20;

impl Ring {
    /// A ring of so many blocks, on a socket that is not bound yet.
    pub(super) fn new(fd: BorrowedFd<'_>, blocks: usize) -> io::Result<Self> {
        let slots_per_block = BLOCK_BYTES / SLOT_BYTES;
        let slots = slots_per_block * blocks;
        socket::set_number(
            fd,
            Number::VERSION,
            libc::tpacket_versions::TPACKET_V2 as i32,
        )?;
        let request = libc::tpacket_req {
            // All of them small numbers.
            tp_block_size: BLOCK_BYTES as u32,
            tp_block_nr: blocks as u32,
            tp_frame_size: SLOT_BYTES as u32,
            tp_frame_nr: slots as u32,
        };
        socket::set_ring(fd, &request)?;
        Ok(Self {
            map: Map::new(fd, BLOCK_BYTES * blocks)?,
            block_bytes: BLOCK_BYTES,
            slots_per_block,
            slots,
            next: 0,
        })
    }

    /// Where the next slot begins.
    fn offset(&self) -> usize {
        self.next / self.slots_per_block * self.block_bytes
            + self.next % self.slots_per_block * SLOT_BYTES
    }

    /// Whether there is a frame.
    pub(super) fn is_ready(&self) -> bool {
        // Acquire: what the kernel wrote into the slot it wrote before the word.
        self.map.status(self.offset()).load(Ordering::Acquire) & libc::TP_STATUS_USER != 0
    }

    /// The next frame. It stays the next one until [`release`](Self::release).
    pub(super) fn peek(&self) -> Option<RingFrame<'_>> {
        if !self.is_ready() {
            return None;
        }
        let slot = self.offset();
        let field = |offset| slot + offset;
        use std::mem::offset_of;
        type Header = libc::tpacket2_hdr;
        let status = self.map.u32(field(offset_of!(Header, tp_status))) as u32;
        let len = self.map.u32(field(offset_of!(Header, tp_len)));
        let kept = self.map.u32(field(offset_of!(Header, tp_snaplen)));
        let start = usize::from(self.map.u16(field(offset_of!(Header, tp_mac))));
        let tci = self.map.u16(field(offset_of!(Header, tp_vlan_tci)));
        let tpid = self.map.u16(field(offset_of!(Header, tp_vlan_tpid)));
        let seconds = self.map.u32(field(offset_of!(Header, tp_sec)));
        let nanos = self.map.u32(field(offset_of!(Header, tp_nsec)));
        Some(RingFrame {
            time: Duration::new(seconds as u64, nanos as u32),
            header: (self.map)
                .bytes((slot + start).saturating_sub(HEADER_LEN), HEADER_LEN)
                .unwrap_or(&[]),
            bytes: self.map.bytes(slot + start, kept).unwrap_or(&[]),
            cut_off: kept < len,
            tag: vlan_tag(status, tpid, tci),
        })
    }

    /// Gives the slot of the next frame back.
    pub(super) fn release(&mut self) {
        // Release: our reads of the slot are over before the kernel sees the word.
        let status = self.map.status(self.offset());
        status.store(libc::TP_STATUS_KERNEL, Ordering::Release);
        self.next = (self.next + 1) % self.slots;
    }
}

/// A ring of blocks, each with many frames: TPACKET_V3. A block is handed over when it is
/// full, or a millisecond after its first frame.
#[derive(Debug)]
pub(super) struct BlockRing {
    map: Map,
    blocks: usize,
    block: usize,
    /// Of the block that is being read: where its next frame begins, and how many are left.
    inside: Option<(usize, usize)>,
}

/// Offsets in `tpacket_block_desc` with its first kind of header: `version`,
/// `offset_to_priv`, then these.
const BLOCK_STATUS: usize = 8;
const BLOCK_FRAMES: usize = 12;
const BLOCK_FIRST: usize = 16;

impl BlockRing {
    /// A ring of so many blocks, on a socket that is not bound yet.
    pub(super) fn new(fd: BorrowedFd<'_>, blocks: usize) -> io::Result<Self> {
        const FRAME_BYTES: usize = 2048;
        socket::set_number(
            fd,
            Number::VERSION,
            libc::tpacket_versions::TPACKET_V3 as i32,
        )?;
        let request = libc::tpacket_req3 {
            // All of them small numbers.
            tp_block_size: BLOCK_BYTES as u32,
            tp_block_nr: blocks as u32,
            // Only checked, not used, by the third version.
            tp_frame_size: FRAME_BYTES as u32,
            tp_frame_nr: (BLOCK_BYTES / FRAME_BYTES * blocks) as u32,
            // Milliseconds; the least there is.
            tp_retire_blk_tov: 1,
            tp_sizeof_priv: 0,
            tp_feature_req_word: 0,
        };
        socket::set_block_ring(fd, &request)?;
        Ok(Self {
            map: Map::new(fd, BLOCK_BYTES * blocks)?,
            blocks,
            block: 0,
            inside: None,
        })
    }

    /// Whether there is a frame, or an empty block to be given back.
    pub(super) fn is_ready(&self) -> bool {
        self.inside.is_some() || self.status().load(Ordering::Acquire) & libc::TP_STATUS_USER != 0
    }

    fn status(&self) -> &AtomicU32 {
        self.map.status(self.block * BLOCK_BYTES + BLOCK_STATUS)
    }

    /// The next frame. It stays the next one until [`release`](Self::release).
    pub(super) fn peek(&mut self) -> Option<RingFrame<'_>> {
        while self.inside.is_none() {
            // Acquire: what the kernel wrote into the block it wrote before the word.
            if self.status().load(Ordering::Acquire) & libc::TP_STATUS_USER == 0 {
                return None;
            }
            let block = self.block * BLOCK_BYTES;
            let frames = self.map.u32(block + BLOCK_FRAMES);
            let first = self.map.u32(block + BLOCK_FIRST);
            if frames == 0 {
                self.next_block();
            } else {
                self.inside = Some((block + first, frames));
            }
        }
        let (slot, _) = self.inside?;
        let field = |offset| slot + offset;
        use std::mem::offset_of;
        type Header = libc::tpacket3_hdr;
        type Variant = libc::tpacket_hdr_variant1;
        let variant = offset_of!(Header, hv1);
        let status = self.map.u32(field(offset_of!(Header, tp_status))) as u32;
        let len = self.map.u32(field(offset_of!(Header, tp_len)));
        let kept = self.map.u32(field(offset_of!(Header, tp_snaplen)));
        let start = usize::from(self.map.u16(field(offset_of!(Header, tp_mac))));
        let tci = self
            .map
            .u32(field(variant + offset_of!(Variant, tp_vlan_tci)));
        let tpid = self
            .map
            .u16(field(variant + offset_of!(Variant, tp_vlan_tpid)));
        let seconds = self.map.u32(field(offset_of!(Header, tp_sec)));
        let nanos = self.map.u32(field(offset_of!(Header, tp_nsec)));
        Some(RingFrame {
            time: Duration::new(seconds as u64, nanos as u32),
            header: (self.map)
                .bytes((slot + start).saturating_sub(HEADER_LEN), HEADER_LEN)
                .unwrap_or(&[]),
            bytes: self.map.bytes(slot + start, kept).unwrap_or(&[]),
            cut_off: kept < len,
            // The tag has 16 bits; the kernel's field is wider.
            tag: vlan_tag(status, tpid, tci as u16),
        })
    }

    /// Goes on to the next frame, and gives the block back after its last one.
    pub(super) fn release(&mut self) {
        let Some((slot, left)) = self.inside else {
            return;
        };
        let step = self
            .map
            .u32(slot + std::mem::offset_of!(libc::tpacket3_hdr, tp_next_offset));
        if left > 1 && step > 0 {
            self.inside = Some((slot + step, left - 1));
        } else {
            self.next_block();
        }
    }

    fn next_block(&mut self) {
        // Release: our reads of the block are over before the kernel sees the word.
        self.status()
            .store(libc::TP_STATUS_KERNEL, Ordering::Release);
        self.inside = None;
        self.block = (self.block + 1) % self.blocks;
    }
}
