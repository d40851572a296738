//! The memory map behind a pool.

#![allow(unsafe_code)]

use std::ptr::NonNull;

use crate::builder::HugePages;
use crate::error::PoolError;
use crate::stats::PageKind;

/// The common huge page of x86-64 and aarch64, in bytes.
const HUGE_PAGE: usize = 2 << 20;

/// The page size in bytes.
pub(crate) fn page_size() -> usize {
    if cfg!(miri) {
        4096
    } else {
        rustix::param::page_size()
    }
}

/// A private anonymous map, unmapped when dropped. Its bytes are zero at first, so they
/// are initialised memory from the start, whatever is written to them later.
pub(crate) struct Region {
    map: NonNull<u8>,
    map_len: usize,
    base: NonNull<u8>,
    len: usize,
    page_kind: PageKind,
}

// SAFETY: a region is an owned range of memory; nothing about it belongs to a thread.
unsafe impl Send for Region {}
// SAFETY: its shared methods read plain fields.
unsafe impl Sync for Region {}

impl Region {
    /// First byte, page-aligned.
    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Length in bytes, as asked for.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The pages it lies on.
    pub(crate) fn page_kind(&self) -> PageKind {
        self.page_kind
    }
}

#[cfg(not(miri))]
impl Region {
    /// Maps `len` bytes, at least one.
    pub(crate) fn map(
        len: usize,
        huge_pages: HugePages,
        numa_node: Option<u32>,
        prefault: bool,
    ) -> Result<Self, PoolError> {
        if huge_pages != HugePages::Never {
            match Self::map_reserved(len, numa_node) {
                Ok(region) => return Ok(region),
                Err(error @ PoolError::NumaNode { .. }) => return Err(error),
                Err(error) if huge_pages == HugePages::Require => return Err(error),
                Err(_) => {}
            }
        }
        Self::map_pages(len, huge_pages, numa_node, prefault)
    }

    /// On reserved huge pages. They are faulted in at once: a page that turns out to be
    /// missing on the wanted node is an error here and would be a SIGBUS later.
    fn map_reserved(len: usize, numa_node: Option<u32>) -> Result<Self, PoolError> {
        let map_len = len.next_multiple_of(HUGE_PAGE);
        let missing = |errno: rustix::io::Errno| PoolError::HugePages {
            bytes: map_len,
            pages: map_len / HUGE_PAGE,
            errno: errno.raw_os_error(),
        };
        let map = anonymous(map_len, libc::MAP_HUGETLB | libc::MAP_HUGE_2MB).map_err(missing)?;
        let region = Self {
            map,
            map_len,
            base: map,
            len,
            page_kind: PageKind::Huge,
        };
        region.prefer_node(numa_node)?;
        region.populate().map_err(missing)?;
        Ok(region)
    }

    fn map_pages(
        len: usize,
        huge_pages: HugePages,
        numa_node: Option<u32>,
        prefault: bool,
    ) -> Result<Self, PoolError> {
        use rustix::mm::Advice;

        // Transparent huge pages need their alignment; below one there is nothing to win.
        let transparent = huge_pages == HugePages::Try && len >= HUGE_PAGE && thp_is_allowed();
        let slack = if transparent { HUGE_PAGE } else { 0 };
        let map_len = len + slack;
        let map = anonymous(map_len, 0).map_err(|errno| PoolError::Map {
            bytes: len,
            errno: errno.raw_os_error(),
        })?;
        let skip = if transparent {
            map.as_ptr().align_offset(HUGE_PAGE)
        } else {
            0
        };
        let mut region = Self {
            map,
            map_len,
            // SAFETY: `skip` is below the slack, so this stays inside the map.
            base: unsafe { map.add(skip) },
            len,
            page_kind: PageKind::Normal,
        };
        if transparent {
            // SAFETY: the range is inside our own fresh map; the advice keeps its contents.
            let advised = unsafe {
                rustix::mm::madvise(region.base.as_ptr().cast(), len, Advice::LinuxHugepage)
            };
            if advised.is_ok() {
                region.page_kind = PageKind::Transparent;
            }
        }
        region.prefer_node(numa_node)?;
        if prefault {
            region.populate().map_err(|errno| PoolError::Prefault {
                bytes: len,
                errno: errno.raw_os_error(),
            })?;
        }
        Ok(region)
    }

    /// Prefers the memory of `node`. Not a strict binding: with that, an empty node means
    /// the out-of-memory killer where a slower page would have done.
    fn prefer_node(&self, node: Option<u32>) -> Result<(), PoolError> {
        const WORD: usize = usize::BITS as usize;
        let Some(node) = node else { return Ok(()) };
        let error = |errno| Err(PoolError::NumaNode { node, errno });
        let mut mask = [0usize; 1024 / WORD];
        let Some(word) = mask.get_mut(node as usize / WORD) else {
            return error(libc::EINVAL);
        };
        *word = 1 << (node as usize % WORD);
        // SAFETY: mbind reads the mask, which outlives the call and has the bits stated
        // (the kernel reads one less than `maxnode`), and sets the policy of our own map.
        let result = unsafe {
            libc::syscall(
                libc::SYS_mbind,
                self.map.as_ptr(),
                self.map_len,
                libc::MPOL_PREFERRED,
                mask.as_ptr(),
                1024 + 1,
                0,
            )
        };
        if result != 0 {
            let os = std::io::Error::last_os_error();
            return error(os.raw_os_error().unwrap_or(libc::EINVAL));
        }
        Ok(())
    }

    /// Backs the whole region with memory.
    fn populate(&self) -> rustix::io::Result<()> {
        use rustix::io::Errno;
        use rustix::mm::{Advice, madvise};

        let start = self.base.as_ptr();
        // SAFETY: the range is inside our own map; populating keeps its contents.
        match unsafe { madvise(start.cast(), self.len, Advice::LinuxPopulateWrite) } {
            // Linux before 5.14 does not know the advice: touch the pages instead.
            Err(Errno::INVAL) => {
                for offset in (0..self.len).step_by(page_size()) {
                    // SAFETY: the offset is inside the map, which only we can reach yet;
                    // volatile, so that the write happens though nobody reads it.
                    unsafe { start.add(offset).write_volatile(0) };
                }
                Ok(())
            }
            result => result,
        }
    }
}

/// A new map. Through libc and not by a system call of our own, because the sanitizers
/// watch the former: otherwise an address that is used again looks like a race.
#[cfg(not(miri))]
fn anonymous(len: usize, flags: i32) -> rustix::io::Result<NonNull<u8>> {
    // SAFETY: a new private map at an address of the kernel's choice touches no memory
    // that is in use.
    let map = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            len,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | flags,
            -1,
            0,
        )
    };
    if map == libc::MAP_FAILED {
        let error = std::io::Error::last_os_error();
        return Err(rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::NOMEM));
    }
    NonNull::new(map.cast()).ok_or(rustix::io::Errno::NOMEM)
}

/// Whether the kernel gives transparent huge pages to who asks: not under `[never]`.
#[cfg(not(miri))]
fn thp_is_allowed() -> bool {
    std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled")
        .is_ok_and(|modes| !modes.contains("[never]"))
}

#[cfg(not(miri))]
impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the map is ours, and who drops the region keeps no pointer into it.
        let result = unsafe { libc::munmap(self.map.as_ptr().cast(), self.map_len) };
        debug_assert!(result == 0, "unmapping our own map cannot fail");
    }
}

/// Miri knows no raw system calls; it checks the rest of the crate over the allocator.
#[cfg(miri)]
impl Region {
    pub(crate) fn map(
        len: usize,
        _huge_pages: HugePages,
        _numa_node: Option<u32>,
        _prefault: bool,
    ) -> Result<Self, PoolError> {
        // SAFETY: the layout is not empty, as `len` is at least one.
        let map = unsafe { std::alloc::alloc_zeroed(Self::layout(len)) };
        let map = NonNull::new(map).ok_or(PoolError::Map {
            bytes: len,
            errno: libc::ENOMEM,
        })?;
        Ok(Self {
            map,
            map_len: len,
            base: map,
            len,
            page_kind: PageKind::Normal,
        })
    }

    fn layout(len: usize) -> std::alloc::Layout {
        std::alloc::Layout::from_size_align(len, page_size()).expect("a size that was checked")
    }
}

#[cfg(miri)]
impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: allocated in `map` with this layout.
        unsafe { std::alloc::dealloc(self.map.as_ptr(), Self::layout(self.map_len)) };
    }
}
