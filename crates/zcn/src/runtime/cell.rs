//! The reactor in its cell, and what is kept back while it is borrowed.

use std::cell::{Ref, RefCell, RefMut};
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind};

use zcn_pool::Hold;

use crate::reactor::Reactor;

/// A reactor that user code never sees borrowed (rule 16): slices whose owner is the user's are not
/// let go of while it is, but by the runtime afterwards.
#[derive(Debug)]
pub(crate) struct ReactorCell {
    reactor: RefCell<Reactor>,
    // Dropped after the reactor.
    _last: LetGo,
}

impl ReactorCell {
    pub(crate) fn new(reactor: Reactor) -> Self {
        Self {
            reactor: RefCell::new(reactor),
            _last: LetGo,
        }
    }

    #[inline]
    pub(crate) fn borrow(&self) -> Guard<Ref<'_, Reactor>> {
        Guard::new(self.reactor.borrow(), Hold::new())
    }

    #[inline]
    pub(crate) fn borrow_mut(&self) -> Guard<RefMut<'_, Reactor>> {
        Guard::new(self.reactor.borrow_mut(), Hold::new())
    }
}

/// Lets go of what was kept back on this thread.
pub(crate) fn let_go() -> bool {
    zcn_pool::let_go(|bytes| {
        if catch_unwind(AssertUnwindSafe(|| drop(bytes))).is_err() {
            tracing::error!("the destructor of an owner of sent bytes panicked");
        }
    })
}

/// Does so at the end of a reactor, when no turn will do it any more.
#[derive(Debug)]
struct LetGo;

impl Drop for LetGo {
    fn drop(&mut self) {
        let_go();
    }
}

impl<B> Guard<B> {
    #[inline]
    pub(crate) fn new(borrow: B, hold: Hold) -> Self {
        Self {
            borrow,
            _hold: hold,
        }
    }
}

/// A borrow, which ends before its hold does.
#[derive(Debug)]
pub(crate) struct Guard<B> {
    borrow: B,
    _hold: Hold,
}

impl<B: Deref> Deref for Guard<B> {
    type Target = B::Target;

    #[inline]
    fn deref(&self) -> &B::Target {
        &self.borrow
    }
}

impl<B: DerefMut> DerefMut for Guard<B> {
    #[inline]
    fn deref_mut(&mut self) -> &mut B::Target {
        &mut self.borrow
    }
}
