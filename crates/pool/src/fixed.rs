//! A bounded pool of objects of one type.

#![allow(unsafe_code)]

use std::cell::{Cell, UnsafeCell};
use std::fmt;
use std::marker::PhantomData;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use crate::error::{AllocError, Full};

/// A pool of up to `capacity` objects of one type, for one thread: one allocation when it
/// is made, none later.
///
/// ```
/// let pool = zcn_pool::FixedPool::with_capacity(2)?;
/// let mut text = pool.insert(String::from("a"))?;
/// text.push('b');
/// assert_eq!(*text, "ab");
/// drop(text); // its place is free again
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Clones are handles of the same pool. Objects may outlive all of them; the memory goes
/// when the last handle and the last object are gone.
pub struct FixedPool<T> {
    inner: NonNull<Inner<T>>,
    _owns: PhantomData<Inner<T>>,
}

type Place<T> = UnsafeCell<MaybeUninit<T>>;

/// What handles and objects share. All of it is of one thread.
struct Inner<T> {
    /// Handles that exist.
    handles: Cell<usize>,
    /// How many places are free.
    free: Cell<usize>,
    /// The free places, the last one released on top: the first `free` entries.
    stack: Box<[Cell<u32>]>,
    places: Box<[Place<T>]>,
    acquired: Cell<u64>,
}

impl<T> FixedPool<T> {
    /// A pool of `capacity` objects.
    ///
    /// # Errors
    /// If that many exceed the address space, 2^32 places, or the memory there is.
    pub fn with_capacity(capacity: usize) -> Result<Self, AllocError> {
        let too_large = AllocError::TooLarge {
            count: capacity,
            size: size_of::<T>(),
        };
        let places = u32::try_from(capacity).map_err(|_| too_large)?;
        let bytes = capacity
            .checked_mul(size_of::<T>().max(size_of::<u32>()))
            .filter(|&bytes| bytes <= isize::MAX as usize - align_of::<T>())
            .ok_or(too_large)?;
        let out_of_memory = |_| AllocError::OutOfMemory { bytes };
        let mut memory = Vec::<Place<T>>::new();
        memory.try_reserve_exact(capacity).map_err(out_of_memory)?;
        // SAFETY: reserved just now, and a place need not be initialised.
        unsafe { memory.set_len(capacity) };
        let mut stack = Vec::new();
        stack.try_reserve_exact(capacity).map_err(out_of_memory)?;
        // Top first: the first object gets the first place.
        stack.extend((0..places).rev().map(Cell::new));
        let inner = Box::new(Inner {
            handles: Cell::new(1),
            free: Cell::new(capacity),
            stack: stack.into_boxed_slice(),
            places: memory.into_boxed_slice(),
            acquired: Cell::new(0),
        });
        Ok(Self {
            inner: NonNull::from(Box::leak(inner)),
            _owns: PhantomData,
        })
    }

    #[inline(always)]
    fn inner(&self) -> &Inner<T> {
        // SAFETY: this handle keeps it alive.
        unsafe { self.inner.as_ref() }
    }

    /// Puts `value` into a free place.
    ///
    /// # Errors
    /// If there is none: then the value comes back.
    #[inline]
    pub fn insert(&self, value: T) -> Result<FixedBox<T>, Full<T>> {
        let inner = self.inner();
        let Some(top) = inner.free.get().checked_sub(1) else {
            return Err(Full(value));
        };
        inner.free.set(top);
        inner.acquired.set(inner.acquired.get() + 1);
        // SAFETY: `free` never exceeds the length of the stack.
        let index = unsafe { inner.stack.get_unchecked(top) }.get();
        // SAFETY: the stack holds indices of places only.
        let place = unsafe { inner.places.get_unchecked(index as usize) };
        // SAFETY: the place was on the stack, so it is free and nobody refers to it.
        unsafe { (*place.get()).write(value) };
        Ok(FixedBox {
            // From the cell, so that the pointer may write.
            place: NonNull::from(place),
            inner: self.inner,
            _owns: PhantomData,
        })
    }

    /// How many objects there can be.
    pub fn capacity(&self) -> usize {
        self.inner().places.len()
    }

    /// How many objects there are.
    pub fn in_use(&self) -> usize {
        self.capacity() - self.inner().free.get()
    }

    /// How many objects there have been.
    pub fn acquired(&self) -> u64 {
        self.inner().acquired.get()
    }
}

/// Frees the pool if neither handle nor object is left.
///
/// # Safety
/// `inner` is alive, and the caller does not use it afterwards unless it has a handle or
/// an object.
#[inline(always)]
unsafe fn free_if_unused<T>(inner: NonNull<Inner<T>>) {
    // SAFETY: alive, says the caller.
    let shared = unsafe { inner.as_ref() };
    if shared.handles.get() == 0 && shared.free.get() == shared.places.len() {
        // SAFETY: nobody refers to it any more; it came from a leaked box.
        drop(unsafe { Box::from_raw(inner.as_ptr()) });
    }
}

impl<T> Clone for FixedPool<T> {
    fn clone(&self) -> Self {
        let handles = &self.inner().handles;
        // More than that exist only if they are leaked in a loop.
        handles.set(handles.get().checked_add(1).expect("too many handles"));
        Self {
            inner: self.inner,
            _owns: PhantomData,
        }
    }
}

impl<T> Drop for FixedPool<T> {
    fn drop(&mut self) {
        let handles = &self.inner().handles;
        handles.set(handles.get() - 1);
        // SAFETY: alive until now by this handle, which is gone after this.
        unsafe { free_if_unused(self.inner) };
    }
}

impl<T> fmt::Debug for FixedPool<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FixedPool")
            .field("capacity", &self.capacity())
            .field("in_use", &self.in_use())
            .finish_non_exhaustive()
    }
}

/// An object in a [`FixedPool`]; its place is free again when this is dropped.
pub struct FixedBox<T> {
    place: NonNull<Place<T>>,
    inner: NonNull<Inner<T>>,
    _owns: PhantomData<T>,
}

impl<T> FixedBox<T> {
    /// Takes the object out and frees its place.
    pub fn into_inner(self) -> T {
        let this = ManuallyDrop::new(self);
        // SAFETY: the place holds the object, which is not used there again.
        let value = unsafe { (*this.place.as_ref().get()).assume_init_read() };
        drop(Vacant(&this));
        value
    }

    #[inline(always)]
    fn as_ptr(&self) -> *mut T {
        self.place.as_ptr().cast()
    }
}

/// Frees the place of an object that is gone, even when its destructor panicked.
struct Vacant<'a, T>(&'a FixedBox<T>);

impl<T> Drop for Vacant<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        let pool = self.0.inner;
        // SAFETY: alive, as this place is not free yet.
        let inner = unsafe { pool.as_ref() };
        let offset = self.0.as_ptr().addr() - inner.places.as_ptr().addr();
        // Places of a type without size are all the same one.
        let index = offset.checked_div(size_of::<T>()).unwrap_or(0);
        let free = inner.free.get();
        // SAFETY: this place was not free, so the stack has room for it.
        unsafe { inner.stack.get_unchecked(free) }.set(index as u32);
        inner.free.set(free + 1);
        // SAFETY: alive until now, and not used after this.
        unsafe { free_if_unused(pool) };
    }
}

impl<T> Drop for FixedBox<T> {
    #[inline]
    fn drop(&mut self) {
        let vacant = Vacant(self);
        // SAFETY: the place holds the object, which is not used again.
        unsafe { vacant.0.as_ptr().drop_in_place() };
    }
}

impl<T> Deref for FixedBox<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: the place holds the object, and this is its owner.
        unsafe { &*self.as_ptr() }
    }
}

impl<T> DerefMut for FixedBox<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and `self` is borrowed mutably.
        unsafe { &mut *self.as_ptr() }
    }
}

impl<T: fmt::Debug> fmt::Debug for FixedBox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::rc::Rc;

    use super::*;

    #[test]
    fn full_pool_gives_the_value_back() {
        let pool = FixedPool::with_capacity(2).unwrap();
        let (a, _b) = (pool.insert(1).unwrap(), pool.insert(2).unwrap());
        assert_eq!(pool.insert(3).unwrap_err().0, 3);
        drop(a);
        assert_eq!(*pool.insert(4).unwrap(), 4);
        assert_eq!((pool.in_use(), pool.acquired()), (1, 3));
    }

    #[test]
    fn pool_without_places_is_always_full() {
        let pool = FixedPool::with_capacity(0).unwrap();
        assert!(pool.insert(()).is_err());
    }

    #[test]
    fn last_place_released_is_taken_first() {
        let pool = FixedPool::with_capacity(4).unwrap();
        let _below = pool.insert(0u64).unwrap();
        let place = std::ptr::from_ref(&*pool.insert(1).unwrap());
        assert!(std::ptr::eq(place, &*pool.insert(2).unwrap()));
    }

    #[test]
    fn objects_of_any_alignment() {
        #[repr(align(256))]
        struct Wide;
        fn check<T>(value: impl Fn() -> T) {
            let pool = FixedPool::with_capacity(9).unwrap();
            let all: Vec<_> = (0..9).map(|_| pool.insert(value()).unwrap()).collect();
            for object in &all {
                assert!(std::ptr::from_ref(&**object).is_aligned());
            }
            assert!(pool.insert(value()).is_err());
        }
        check(|| 1u8);
        check(|| [1u8; 3]); // the predecessor misaligned sizes that 8 does not divide
        check(|| (1u8, 2u32));
        check(|| 1u128);
        check(|| Wide);
        check(|| ());
    }

    #[test]
    fn objects_outlive_the_handles() {
        let value = Rc::new(());
        let pool = FixedPool::with_capacity(2).unwrap();
        let (a, b) = (pool.insert(value.clone()), pool.insert(value.clone()));
        let other = pool.clone();
        drop(pool);
        drop(other);
        drop(a);
        assert_eq!(Rc::strong_count(&value), 2);
        drop(b);
        assert_eq!(Rc::strong_count(&value), 1);
    }

    #[test]
    fn into_inner_frees_the_place_and_keeps_the_value() {
        let pool = FixedPool::with_capacity(1).unwrap();
        let value = Rc::new(());
        let taken = pool.insert(value.clone()).unwrap().into_inner();
        assert_eq!(Rc::strong_count(&value), 2);
        assert_eq!(pool.in_use(), 0);
        drop(taken);
    }

    #[test]
    fn panic_in_a_destructor_frees_the_place() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("boom");
            }
        }
        let pool = FixedPool::with_capacity(1).unwrap();
        let bomb = pool.insert(Bomb).unwrap();
        assert!(catch_unwind(AssertUnwindSafe(|| drop(bomb))).is_err());
        assert_eq!(pool.in_use(), 0);
    }

    #[test]
    fn destructor_may_use_the_pool() {
        struct Again(Option<FixedPool<Again>>);
        impl Drop for Again {
            fn drop(&mut self) {
                if let Some(pool) = self.0.take() {
                    assert!(
                        pool.insert(Again(None)).is_err(),
                        "its place is still taken"
                    );
                }
            }
        }
        let pool = FixedPool::with_capacity(1).unwrap();
        let object = pool.insert(Again(Some(pool.clone()))).unwrap();
        drop(pool);
        drop(object);
    }

    #[test]
    fn impossible_capacity_is_an_error() {
        let huge = FixedPool::<[u64; 1 << 20]>::with_capacity(u32::MAX as usize);
        assert!(
            matches!(huge, Err(AllocError::OutOfMemory { .. })),
            "{huge:?}"
        );
        let overflow = FixedPool::<u64>::with_capacity(usize::MAX);
        assert!(matches!(overflow, Err(AllocError::TooLarge { .. })));
    }
}
