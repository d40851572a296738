//! Who takes part: each gives out buffers that go back when they are dropped.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::marker::PhantomData;
use std::ptr::NonNull;

use crossbeam_queue::ArrayQueue;
use zcn_pool::{Buf, BufferPool, LocalPool};

use super::BUFFER_SIZE;

/// Something that threads get buffers from.
pub trait Subject: Sync {
    /// One thread's access.
    type Peer<'a>: Peer
    where
        Self: 'a;

    /// The access of the calling thread.
    fn peer(&self) -> Self::Peer<'_>;
}

/// One thread's access to buffers.
pub trait Peer {
    /// A buffer, given back on drop, on any thread.
    type Item: Send;

    /// A buffer, or `None` if there is none at the moment.
    fn try_take(&mut self) -> Option<Self::Item>;

    /// A buffer, of which there are enough.
    #[inline(always)]
    fn take(&mut self) -> Self::Item {
        self.try_take().expect("the pool is larger than the load")
    }
}

/// Ours.
pub struct Pool(pub BufferPool);

impl Subject for Pool {
    type Peer<'a> = LocalPool;

    fn peer(&self) -> LocalPool {
        self.0.local()
    }
}

impl Peer for LocalPool {
    type Item = Buf;

    #[inline(always)]
    fn try_take(&mut self) -> Option<Buf> {
        self.acquire()
    }
}

/// Nothing: plain words of a buffer's size, to see what the way between threads costs.
pub struct Nothing;

impl Subject for Nothing {
    type Peer<'a> = Nothing;

    fn peer(&self) -> Nothing {
        Nothing
    }
}

impl Peer for Nothing {
    type Item = [u64; 3];

    #[inline(always)]
    fn try_take(&mut self) -> Option<[u64; 3]> {
        Some([1; 3])
    }
}

/// The usual way to write a pool: buffer numbers in a bounded lock-free queue.
pub struct Queue(ArrayQueue<u32>);

impl Queue {
    /// With `count` buffers.
    pub fn new(count: usize) -> Self {
        let queue = ArrayQueue::new(count);
        for index in 0..count as u32 {
            // There is room for all.
            let _ = queue.push(index);
        }
        Self(queue)
    }
}

impl Subject for Queue {
    type Peer<'a> = &'a Queue;

    fn peer(&self) -> &Queue {
        self
    }
}

impl<'a> Peer for &'a Queue {
    type Item = Queued<'a>;

    #[inline(always)]
    fn try_take(&mut self) -> Option<Queued<'a>> {
        let queue = &self.0;
        queue.pop().map(|index| Queued { queue, index })
    }
}

/// A buffer's number, pushed back on drop.
pub struct Queued<'a> {
    queue: &'a ArrayQueue<u32>,
    index: u32,
}

impl Drop for Queued<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        // It came out, so there is room.
        let _ = self.queue.push(self.index);
    }
}

/// An allocator and what it is asked for, which is not empty.
pub trait Heap: Send {
    /// Whom to ask.
    type Allocator: GlobalAlloc;
    /// The same.
    const ALLOCATOR: Self::Allocator;
    /// What for.
    const LAYOUT: Layout;
}

/// 4096 bytes of mimalloc, aligned as it pleases.
pub struct Mimalloc;

impl Heap for Mimalloc {
    type Allocator = mimalloc::MiMalloc;
    const ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
    const LAYOUT: Layout = Layout::new::<[u64; BUFFER_SIZE / 8]>();
}

/// 4096 bytes of the system's allocator, aligned to 4096.
pub struct AlignedMalloc;

#[repr(align(4096))]
struct Page {
    _bytes: [u8; BUFFER_SIZE],
}

impl Heap for AlignedMalloc {
    type Allocator = System;
    const ALLOCATOR: System = System;
    const LAYOUT: Layout = Layout::new::<Page>();
}

/// A block of a heap, freed on drop.
pub struct Block<H: Heap> {
    start: NonNull<u8>,
    _heap: PhantomData<H>,
}

// SAFETY: the block is plain memory that only this refers to, and both allocators take
// blocks back on any thread.
unsafe impl<H: Heap> Send for Block<H> {}

impl<H: Heap> Drop for Block<H> {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: allocated by the same allocator with the same layout.
        unsafe { H::ALLOCATOR.dealloc(self.start.as_ptr(), H::LAYOUT) };
    }
}

/// Any thread's access to a heap.
pub struct Blocks<H>(PhantomData<H>);

impl<H: Heap> Peer for Blocks<H> {
    type Item = Block<H>;

    #[inline(always)]
    fn try_take(&mut self) -> Option<Block<H>> {
        // SAFETY: the layout is not empty.
        let start = unsafe { H::ALLOCATOR.alloc(H::LAYOUT) };
        Some(Block {
            start: NonNull::new(start)?,
            _heap: PhantomData,
        })
    }
}

impl Subject for Mimalloc {
    type Peer<'a> = Blocks<Mimalloc>;

    fn peer(&self) -> Blocks<Mimalloc> {
        Blocks(PhantomData)
    }
}

impl Subject for AlignedMalloc {
    type Peer<'a> = Blocks<AlignedMalloc>;

    fn peer(&self) -> Blocks<AlignedMalloc> {
        Blocks(PhantomData)
    }
}
