//! Bytes that came from outside, and the moment at which they are let go of.
//!
//! Their owner is the user's, and so is its destructor. Where that must not run, because something
//! is borrowed that it might want to use, a [`Hold`] keeps such bytes until [`let_go`].

use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::mem;
use std::ptr;

use bytes::Bytes;

thread_local! {
    /// Holds of this thread. Constant at first and without a destructor: one instruction to read.
    static HOLDS: Cell<u32> = const { Cell::new(0) };
    static HELD: RefCell<Vec<Bytes>> = const { RefCell::new(Vec::new()) };
}

/// While one lives, foreign [`Bytes`] in a [`SharedBuf`](crate::SharedBuf) that is dropped on this
/// thread are kept, so that no destructor of an owner runs.
#[derive(Debug)]
#[must_use = "nothing is held once it is dropped"]
pub struct Hold(PhantomData<*mut ()>);

impl Hold {
    /// Begins to hold. Holds may nest.
    #[inline]
    #[allow(clippy::new_without_default)] // It does something.
    pub fn new() -> Self {
        HOLDS.with(|holds| holds.set(holds.get() + 1));
        Self(PhantomData)
    }
}

impl Drop for Hold {
    #[inline]
    fn drop(&mut self) {
        HOLDS.with(|holds| holds.set(holds.get() - 1));
    }
}

/// Hands what this thread has kept to `each`, which drops it, and what is kept meanwhile, too;
/// whether there was anything. Does nothing while a [`Hold`] lives.
pub fn let_go(mut each: impl FnMut(Bytes)) -> bool {
    let mut some = false;
    while HOLDS.get() == 0 {
        let held = HELD.with_borrow_mut(mem::take);
        if held.is_empty() {
            break;
        }
        some = true;
        held.into_iter().for_each(&mut each);
    }
    some
}

/// [`Bytes`] that a hold keeps when they are dropped.
#[derive(Clone)]
pub(crate) struct Foreign(Bytes);

/// No bytes at all lie in its middle, so that they are told from none of an owner's: where it begins,
/// another's bytes may end.
static NOTHING: [u8; 2] = [0; 2];

impl Foreign {
    /// No bytes, and nobody's.
    pub(crate) const fn nothing() -> Self {
        Self(Bytes::from_static(NOTHING.split_at(1).0.split_at(1).1))
    }

    /// Whether there is no owner that could mind.
    fn is_nothing(&self) -> bool {
        self.0.is_empty() && ptr::eq(self.0.as_ptr(), &raw const NOTHING[1])
    }

    pub(crate) const fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }

    pub(crate) fn bytes(&self) -> &Bytes {
        &self.0
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut Bytes {
        &mut self.0
    }

    pub(crate) fn into_bytes(mut self) -> Bytes {
        mem::take(&mut self.0)
    }
}

impl Drop for Foreign {
    #[inline]
    fn drop(&mut self) {
        if HOLDS.get() == 0 || self.is_nothing() {
            return;
        }
        let bytes = mem::take(&mut self.0);
        // Without a list the thread ends, and nothing that could be borrowed lives any more.
        let _ = HELD.try_with(|held| held.borrow_mut().push(bytes));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::SharedBuf;

    struct Owner(Arc<AtomicUsize>);

    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            b"owned"
        }
    }

    impl Drop for Owner {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn an_owner_is_dropped_only_when_nothing_holds_it() {
        let dropped = Arc::new(AtomicUsize::new(0));
        let count = || dropped.load(Ordering::Relaxed);
        let make = || SharedBuf::from(Bytes::from_owner(Owner(dropped.clone())));
        drop(make());
        assert_eq!(count(), 1, "at once");
        let hold = Hold::new();
        let mut slice = make();
        slice.advance(5);
        drop(slice);
        let inner = Hold::new();
        drop(make().clone());
        drop(inner);
        assert_eq!(count(), 1);
        assert!(!let_go(drop), "still held");
        drop(hold);
        assert!(let_go(drop));
        assert_eq!(count(), 3);
        assert!(!let_go(drop));
    }

    #[test]
    fn nothing_is_not_kept() {
        let hold = Hold::new();
        let mut slice = SharedBuf::from(Bytes::from(vec![1, 2]));
        drop(mem::take(&mut slice).split_to(0));
        drop(slice);
        drop(hold);
        let mut kept = 0;
        let_go(|_| kept += 1);
        assert_eq!(kept, 1, "the one that was taken");
    }

    #[test]
    fn bytes_that_are_taken_out_are_not_kept() {
        let dropped = Arc::new(AtomicUsize::new(0));
        let hold = Hold::new();
        let shared = SharedBuf::from(Bytes::from_owner(Owner(dropped.clone())));
        drop(Bytes::from(shared));
        assert_eq!(dropped.load(Ordering::Relaxed), 1);
        drop(hold);
        let_go(drop);
    }
}
