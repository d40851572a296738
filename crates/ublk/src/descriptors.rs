//! The requests of a queue, in memory that the driver writes.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::{self, NonNull};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use rustix::param::page_size;

use crate::request::Request;
use crate::uapi::{self, IoDesc};

/// One descriptor for each tag of a queue, mapped from the device, to be read only.
#[derive(Debug)]
pub(crate) struct Descriptors {
    start: NonNull<IoDesc>,
    bytes: usize,
    depth: u16,
}

fn bytes_of(depth: u16) -> usize {
    (usize::from(depth) * size_of::<IoDesc>()).next_multiple_of(page_size())
}

impl Descriptors {
    /// Maps those of queue `queue`, of a device whose queues have `depth` tags.
    pub(crate) fn map(device: BorrowedFd<'_>, queue: u16, depth: u16) -> io::Result<Self> {
        let bytes = bytes_of(depth);
        // Each queue has room for as many as there may be.
        let offset = u64::from(queue) * bytes_of(uapi::MAX_QUEUE_DEPTH) as u64;
        // SAFETY: a new map at an address of the kernel's choice touches no other memory.
        let start = unsafe {
            mmap(
                ptr::null_mut(),
                bytes,
                ProtFlags::READ,
                MapFlags::SHARED | MapFlags::POPULATE,
                device,
                offset,
            )
        }?;
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self {
            start,
            bytes,
            depth,
        })
    }

    /// The request that a tag was fetched with.
    ///
    /// To be called after the fetch command of the tag has completed: the driver wrote the
    /// descriptor before it completed the command, the acquire load of the ring's tail made that
    /// visible, and the driver does not write it again before the tag is given back.
    pub(crate) fn request(&self, tag: u16) -> Option<Request> {
        if tag >= self.depth {
            return None;
        }
        // SAFETY: inside the map, which begins on a page, so aligned; any bytes are a descriptor.
        // Volatile, because the driver writes the memory whatever the compiler knows.
        let desc = unsafe { self.start.add(tag.into()).read_volatile() };
        Some(Request::new(&desc))
    }
}

impl Drop for Descriptors {
    fn drop(&mut self) {
        // SAFETY: mapped by `map`, and nothing borrows from it.
        let unmapped = unsafe { munmap(self.start.as_ptr().cast::<c_void>(), self.bytes) };
        debug_assert!(unmapped.is_ok());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsFd;
    use std::os::unix::fs::FileExt;
    use zerocopy::IntoBytes;

    /// A file stands in for the device.
    #[test]
    fn the_descriptors_of_a_queue_lie_behind_those_of_the_queues_before() {
        let path = std::env::temp_dir().join(format!("zcn-ublk-desc-{}", std::process::id()));
        let file = File::create_new(&path).expect("a file");
        let opened = File::open(&path).expect("it is there");
        std::fs::remove_file(&path).expect("removed");
        file.set_len(1 << 20).expect("its size");
        let desc = IoDesc {
            op_flags: 1,
            nr_sectors: 3,
            start_sector: 5,
            addr: 0,
        };
        // 4096 descriptors of 24 bytes to a queue.
        let at = 2 * 98_304 + 7 * 24;
        file.write_all_at(desc.as_bytes(), at).expect("written");
        let descriptors = Descriptors::map(opened.as_fd(), 2, 8).expect("mapped");
        assert_eq!(descriptors.request(7), Some(Request::new(&desc)));
        assert_eq!(descriptors.request(8), None);
    }
}
