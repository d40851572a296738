//! Bump allocation.

#![allow(unsafe_code)]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::marker::PhantomData;
use std::mem::{MaybeUninit, needs_drop};
use std::ptr::NonNull;
use std::slice;

use crate::error::AllocError;

/// First chunk, in bytes, if no other was asked for; less what the allocator adds.
const FIRST_CHUNK: usize = 4096 - 64;

/// Chunks double up to this size, in bytes.
const LARGEST_CHUNK: usize = 4 << 20;

/// Memory for many objects of any type that all go at once: an allocation moves a pointer,
/// and nothing is freed but everything ([`reset`](Self::reset)) or everything since a
/// checkpoint ([`checkpoint`](Self::checkpoint)). Memory is kept for the next time, so an
/// arena in steady use never calls the system's allocator.
///
/// Destructors are not run; a type that has one does not compile. For one thread.
///
/// ```
/// let mut arena = zcn_pool::Arena::new();
/// let sum = arena.checkpoint(|scope| {
///     let kept = scope.alloc(1);
///     for _ in 0..1000 {
///         // What is allocated inside goes at the end of each round; `kept` stays.
///         scope.checkpoint(|inner| *kept += *inner.alloc(2));
///     }
///     *kept
/// });
/// assert_eq!(sum, 2001);
/// assert_eq!(arena.used(), 0);
/// ```
pub struct Arena {
    bump: Bump,
}

// SAFETY: its chunks are plain memory that only it refers to: what is allocated borrows
// the arena, which cannot move to another thread meanwhile.
unsafe impl Send for Arena {}

/// A part of an arena's use that ends by rewinding to where it began; from
/// [`Arena::checkpoint`]. What is allocated in it may be used until its end.
///
/// `'scope` stands for the run of one closure, and nothing else has that lifetime: this
/// keeps allocations from escaping.
///
/// ```compile_fail,E0521
/// let mut arena = zcn_pool::Arena::new();
/// let mut escaped = &mut 0;
/// arena.checkpoint(|scope| escaped = scope.alloc(1));
/// ```
///
/// While an inner scope runs, the outer one cannot allocate, as that would be rewound too:
///
/// ```compile_fail,E0499
/// let mut arena = zcn_pool::Arena::new();
/// arena.checkpoint(|outer| outer.checkpoint(|_| { outer.alloc(1); }));
/// ```
pub struct Scope<'scope> {
    bump: &'scope Bump,
    /// Neither longer nor shorter lifetimes will do.
    _exact: PhantomData<Cell<&'scope ()>>,
}

/// Chunks of memory, and the free part of the current one.
struct Bump {
    /// Start of the current chunk, or `NOWHERE`.
    floor: Cell<NonNull<u8>>,
    /// End of its free part, or `NOWHERE`: objects are laid from high to low, which saves
    /// an addition when aligning.
    top: Cell<NonNull<u8>>,
    /// How many chunks were entered; the last of them is the current one, and those after
    /// it are free.
    entered: Cell<usize>,
    chunks: RefCell<Vec<Chunk>>,
    first_chunk: usize,
}

/// Where an arena without a current chunk stands. No chunk starts there: they are aligned
/// to more than one byte.
const NOWHERE: NonNull<u8> = NonNull::dangling();

/// A position to rewind to.
struct Mark {
    floor: NonNull<u8>,
    top: NonNull<u8>,
    entered: usize,
}

/// A piece of memory of the system's allocator.
struct Chunk {
    start: NonNull<u8>,
    layout: Layout,
}

impl Chunk {
    /// At least `bytes`, which is not zero.
    fn new(bytes: usize) -> Result<Self, AllocError> {
        let layout = Layout::from_size_align(bytes, 16).map_err(|_| AllocError::TooLarge {
            count: 1,
            size: bytes,
        })?;
        // SAFETY: the size is not zero.
        let start = unsafe { alloc(layout) };
        let start = NonNull::new(start).ok_or(AllocError::OutOfMemory { bytes })?;
        Ok(Self { start, layout })
    }

    fn end(&self) -> NonNull<u8> {
        // SAFETY: one past the last byte.
        unsafe { self.start.add(self.layout.size()) }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout.
        unsafe { dealloc(self.start.as_ptr(), self.layout) };
    }
}

impl Bump {
    /// Memory for `layout`, uninitialised, until something rewinds beyond it.
    #[inline(always)]
    fn alloc(&self, layout: Layout) -> Result<NonNull<u8>, AllocError> {
        match self.try_here(layout) {
            Some(place) => Ok(place),
            None => self.alloc_elsewhere(layout),
        }
    }

    /// From the current chunk, if it fits.
    #[inline(always)]
    fn try_here(&self, layout: Layout) -> Option<NonNull<u8>> {
        let (low, high) = (
            self.floor.get().as_ptr().addr(),
            self.top.get().as_ptr().addr(),
        );
        let place = high.checked_sub(layout.size())? & !(layout.align() - 1);
        if place < low {
            return None;
        }
        // SAFETY: between the start of the chunk and the end of its free part; or, if
        // there is none, zero bytes from `NOWHERE`.
        let place = unsafe { self.top.get().sub(high - place) };
        self.top.set(place);
        Some(place)
    }

    /// From the next chunk that is large enough, a new one if need be.
    #[cold]
    #[inline(never)]
    fn alloc_elsewhere(&self, layout: Layout) -> Result<NonNull<u8>, AllocError> {
        let mut chunks = self.chunks.borrow_mut();
        // With room to align inside a chunk that is aligned to less.
        let needed = layout.size() + layout.align();
        let mut next = self.entered.get();
        // Chunks of an earlier use come first; too small ones are left out until the next
        // rewind.
        while chunks
            .get(next)
            .is_some_and(|chunk| chunk.layout.size() < needed)
        {
            next += 1;
        }
        if next == chunks.len() {
            let usual = match chunks.last() {
                Some(last) => (last.layout.size() * 2).min(LARGEST_CHUNK),
                None => self.first_chunk,
            };
            let bytes = usual.max(needed);
            chunks
                .try_reserve(1)
                .map_err(|_| AllocError::OutOfMemory { bytes })?;
            chunks.push(Chunk::new(bytes)?);
        }
        let chunk = &chunks[next];
        self.floor.set(chunk.start);
        self.top.set(chunk.end());
        self.entered.set(next + 1);
        Ok(self
            .try_here(layout)
            .expect("the chunk was chosen so that it fits"))
    }

    fn mark(&self) -> Mark {
        Mark {
            floor: self.floor.get(),
            top: self.top.get(),
            entered: self.entered.get(),
        }
    }

    /// Frees what was allocated since `mark`; nothing may refer to it any more.
    fn rewind(&self, mark: &Mark) {
        self.floor.set(mark.floor);
        self.top.set(mark.top);
        self.entered.set(mark.entered);
    }

    /// Runs `f` and rewinds, even when it panics.
    fn scoped<R>(&self, f: impl FnOnce(&mut Scope<'_>) -> R) -> R {
        struct Rewind<'a>(&'a Bump, Mark);
        impl Drop for Rewind<'_> {
            fn drop(&mut self) {
                self.0.rewind(&self.1);
            }
        }
        let rewind = Rewind(self, self.mark());
        f(&mut rewind.0.scope())
    }

    #[inline(always)]
    fn scope(&self) -> Scope<'_> {
        Scope {
            bump: self,
            _exact: PhantomData,
        }
    }
}

impl Arena {
    /// An arena without memory; it takes some when it is first used.
    pub const fn new() -> Self {
        Self::with_chunk(FIRST_CHUNK)
    }

    /// An arena whose first chunk will have at least `bytes`.
    pub const fn with_chunk(bytes: usize) -> Self {
        Self {
            bump: Bump {
                floor: Cell::new(NOWHERE),
                top: Cell::new(NOWHERE),
                entered: Cell::new(0),
                chunks: RefCell::new(Vec::new()),
                first_chunk: bytes,
            },
        }
    }

    /// Runs `f`, then frees what was allocated in its scope, also when it panics.
    pub fn checkpoint<R>(&mut self, f: impl FnOnce(&mut Scope<'_>) -> R) -> R {
        self.bump.scoped(f)
    }

    /// Frees everything, and keeps the memory for what comes next: in one chunk, so that
    /// the next use of the same extent does not meet the end of one.
    pub fn reset(&mut self) {
        let bump = &mut self.bump;
        let chunks = bump.chunks.get_mut();
        if chunks.len() > 1 {
            let bytes = chunks.iter().map(|chunk| chunk.layout.size()).sum();
            chunks.clear();
            // Without memory there is no chunk, until the next use asks again.
            chunks.extend(Chunk::new(bytes));
        }
        match chunks.first() {
            Some(chunk) => {
                bump.floor.set(chunk.start);
                bump.top.set(chunk.end());
                bump.entered.set(1);
            }
            None => bump.rewind(&Mark {
                floor: NOWHERE,
                top: NOWHERE,
                entered: 0,
            }),
        }
    }

    /// Bytes in use, with what alignment and the ends of chunks cost.
    pub fn used(&self) -> usize {
        let chunks = self.bump.chunks.borrow();
        let entered = &chunks[..self.bump.entered.get()];
        let total: usize = entered.iter().map(|chunk| chunk.layout.size()).sum();
        let free = self.bump.top.get().as_ptr().addr() - self.bump.floor.get().as_ptr().addr();
        total - free
    }

    /// Bytes taken from the system.
    pub fn reserved(&self) -> usize {
        let chunks = self.bump.chunks.borrow();
        chunks.iter().map(|chunk| chunk.layout.size()).sum()
    }
}

impl Default for Arena {
    fn default() -> Self {
        Self::new()
    }
}

// Each returns memory that nothing else refers to, and so may be mutable though the arena
// is not.
#[allow(clippy::mut_from_ref)]
impl Arena {
    /// As [`Scope::alloc`], until the arena is reset or dropped.
    #[inline(always)]
    pub fn alloc<T>(&self, value: T) -> &mut T {
        self.bump.scope().alloc(value)
    }

    /// As [`Scope::alloc_slice_copy`], until the arena is reset or dropped.
    #[inline]
    pub fn alloc_slice_copy<T: Copy>(&self, values: &[T]) -> &mut [T] {
        self.bump.scope().alloc_slice_copy(values)
    }

    /// As [`Scope::alloc_str`], until the arena is reset or dropped.
    #[inline]
    pub fn alloc_str(&self, text: &str) -> &mut str {
        self.bump.scope().alloc_str(text)
    }

    /// As [`Scope::try_alloc_slice_fill`], until the arena is reset or dropped.
    ///
    /// # Errors
    /// If the size overflows or the system has no memory left.
    #[inline]
    pub fn try_alloc_slice_fill<T: Copy>(
        &self,
        count: usize,
        value: T,
    ) -> Result<&mut [T], AllocError> {
        self.bump.scope().try_alloc_slice_fill(count, value)
    }

    /// As [`Scope::try_alloc_layout`], until the arena is reset or dropped.
    ///
    /// # Errors
    /// If the size overflows or the system has no memory left.
    #[inline]
    pub fn try_alloc_layout(&self, layout: Layout) -> Result<&mut [MaybeUninit<u8>], AllocError> {
        self.bump.scope().try_alloc_layout(layout)
    }
}

impl<'scope> Scope<'scope> {
    /// Runs `f`, then frees what was allocated in its scope, also when it panics. What was
    /// allocated before stays, and can be used inside.
    pub fn checkpoint<R>(&mut self, f: impl FnOnce(&mut Scope<'_>) -> R) -> R {
        self.bump.scoped(f)
    }

    /// Places `value`. Aborts if the system has no memory left, as a `Box` does.
    ///
    /// ```compile_fail,E0080
    /// zcn_pool::Arena::new().alloc(String::new()); // would never be dropped
    /// ```
    #[inline(always)]
    pub fn alloc<T>(&self, value: T) -> &'scope mut T {
        const { assert!(!needs_drop::<T>(), "an arena runs no destructors") };
        let layout = Layout::new::<T>();
        let Ok(place) = self.bump.alloc(layout) else {
            handle_alloc_error(layout)
        };
        let place = place.cast::<T>();
        // SAFETY: fresh memory of this size and alignment. It is not rewound within
        // 'scope: that needs the end of the closure that 'scope is, or for the arena
        // itself a mutable borrow.
        unsafe {
            place.write(value);
            &mut *place.as_ptr()
        }
    }

    /// Places a copy of `values`. Aborts if the system has no memory left.
    #[inline]
    pub fn alloc_slice_copy<T: Copy>(&self, values: &[T]) -> &'scope mut [T] {
        let layout = Layout::for_value(values);
        let Ok(place) = self.bump.alloc(layout) else {
            handle_alloc_error(layout)
        };
        let place = place.cast::<T>().as_ptr();
        // SAFETY: as in `alloc`, for as many values, which are written first.
        unsafe {
            place.copy_from_nonoverlapping(values.as_ptr(), values.len());
            slice::from_raw_parts_mut(place, values.len())
        }
    }

    /// Places a copy of `text`. Aborts if the system has no memory left.
    #[inline]
    pub fn alloc_str(&self, text: &str) -> &'scope mut str {
        let bytes = self.alloc_slice_copy(text.as_bytes());
        // SAFETY: a copy of text.
        unsafe { str::from_utf8_unchecked_mut(bytes) }
    }

    /// Places `count` copies of `value`.
    ///
    /// # Errors
    /// If the size overflows or the system has no memory left.
    pub fn try_alloc_slice_fill<T: Copy>(
        &self,
        count: usize,
        value: T,
    ) -> Result<&'scope mut [T], AllocError> {
        let layout = Layout::array::<T>(count).map_err(|_| AllocError::TooLarge {
            count,
            size: size_of::<T>(),
        })?;
        let place = self.bump.alloc(layout)?.cast::<T>().as_ptr();
        // SAFETY: as in `alloc`, for `count` values, each written before it is read.
        unsafe {
            for index in 0..count {
                place.add(index).write(value);
            }
            Ok(slice::from_raw_parts_mut(place, count))
        }
    }

    /// Memory of a size and alignment known at run time, uninitialised.
    ///
    /// # Errors
    /// If the size overflows or the system has no memory left.
    #[inline]
    pub fn try_alloc_layout(
        &self,
        layout: Layout,
    ) -> Result<&'scope mut [MaybeUninit<u8>], AllocError> {
        let place = self.bump.alloc(layout)?.cast::<MaybeUninit<u8>>().as_ptr();
        // SAFETY: as in `alloc`; the bytes need not be initialised.
        Ok(unsafe { slice::from_raw_parts_mut(place, layout.size()) })
    }
}

impl fmt::Debug for Arena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arena")
            .field("used", &self.used())
            .field("reserved", &self.reserved())
            .finish()
    }
}

impl fmt::Debug for Scope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn objects_keep_their_values_across_chunks() {
        let arena = Arena::with_chunk(64);
        let all: Vec<&mut usize> = (0..10_000).map(|value| arena.alloc(value)).collect();
        for (index, value) in all.iter().enumerate() {
            assert_eq!(**value, index);
        }
        assert_eq!(arena.alloc_str("text"), "text");
        assert_eq!(arena.alloc_slice_copy(&[1, 2, 3]), [1, 2, 3]);
    }

    #[test]
    fn every_alignment_and_size() {
        let arena = Arena::with_chunk(100);
        for align in (0..14).map(|bits| 1 << bits) {
            for size in [0, 1, 3, 24, 100, 5000] {
                let layout = Layout::from_size_align(size, align).unwrap();
                let memory = arena.try_alloc_layout(layout).unwrap();
                assert_eq!(memory.len(), size);
                assert!(memory.as_ptr().addr().is_multiple_of(align));
                memory.fill(MaybeUninit::new(7));
            }
        }
    }

    #[test]
    fn impossible_sizes_are_errors_and_the_arena_lives_on() {
        let arena = Arena::new();
        assert!(matches!(
            arena.try_alloc_slice_fill(usize::MAX / 4, 0u64),
            Err(AllocError::TooLarge { .. })
        ));
        let most = Layout::from_size_align(isize::MAX as usize, 1).unwrap();
        assert!(arena.try_alloc_layout(most).is_err());
        let much = Layout::from_size_align(1 << 60, 4096).unwrap();
        assert_eq!(
            arena.try_alloc_layout(much).unwrap_err(),
            AllocError::OutOfMemory {
                bytes: (1 << 60) + 4096
            }
        );
        assert_eq!(*arena.alloc(5), 5);
    }

    #[test]
    fn reset_keeps_the_memory() {
        let mut arena = Arena::new();
        let mut reserved = 0;
        for round in 0..3 {
            for value in 0..5000u64 {
                arena.alloc(value);
            }
            arena.alloc_slice_copy(&[0u8; 100_000]);
            assert!(round == 0 || arena.reserved() == reserved);
            reserved = arena.reserved();
            arena.reset();
            assert_eq!((arena.used(), arena.reserved()), (0, reserved));
        }
    }

    #[test]
    fn checkpoint_frees_its_own_and_nothing_else() {
        let mut arena = Arena::with_chunk(256);
        arena.checkpoint(|outer| {
            let kept = outer.alloc([1u64; 8]);
            let mut first = 0;
            for round in 0..10 {
                // More than a chunk, so that it has to be rewound across chunks.
                let sum = outer.checkpoint(|inner| {
                    let all: Vec<_> = (0..100u64).map(|value| inner.alloc(value)).collect();
                    inner.checkpoint(|innermost| *innermost.alloc(1u8));
                    all.iter().map(|value| **value).sum::<u64>()
                });
                assert_eq!(sum, 4950);
                let place = outer.checkpoint(|inner| std::ptr::from_ref(inner.alloc(0u8)).addr());
                assert!(round == 0 || place == first);
                first = place;
            }
            assert_eq!(*kept, [1; 8]);
            let more = outer.alloc(2);
            assert_eq!((*more, kept[7]), (2, 1));
        });
        assert_eq!(arena.used(), 0);
    }

    #[test]
    fn checkpoint_in_a_full_chunk_keeps_what_fills_it() {
        let mut arena = Arena::with_chunk(64);
        arena.checkpoint(|outer| {
            let full = outer.alloc([3u8; 63]);
            outer.alloc(4u8);
            outer.checkpoint(|inner| {
                inner.alloc([5u8; 64]);
            });
            let next = outer.alloc([6u8; 64]);
            assert_eq!((*full, *next), ([3; 63], [6; 64]));
        });
    }

    #[test]
    fn checkpoint_rewinds_on_panic() {
        let mut arena = Arena::new();
        let result = catch_unwind(AssertUnwindSafe(|| {
            arena.checkpoint(|scope| {
                scope.alloc(1);
                panic!("boom");
            });
        }));
        assert!(result.is_err());
        assert_eq!(arena.used(), 0);
    }

    #[test]
    fn objects_without_size_cost_nothing() {
        let arena = Arena::new();
        arena.alloc(());
        arena.alloc_slice_copy::<u64>(&[]);
        assert_eq!(arena.used(), 0);
    }
}
