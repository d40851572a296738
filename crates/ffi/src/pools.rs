//! Pools by number: how a buffer that C holds finds its way home, from any thread.

use std::cell::RefCell;
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use zcn::{Buf, BufferPool};

use crate::error::{Failure, Result, ZCN_Error};

/// A pool whose buffers C may hold.
#[derive(Clone)]
struct Known {
    number: u32,
    pool: BufferPool,
    /// Its loop or socket is gone; it is forgotten when the last buffer is home.
    closed: bool,
}

/// The pools of the process.
static ALL: Mutex<Vec<Known>> = Mutex::new(Vec::new());
/// The next number. It wraps after four billion pools, of which none will be left then.
static NEXT: AtomicU32 = AtomicU32::new(1);

thread_local! {
    /// The pools of this thread's own loops, found without a lock. Not dropped with the thread, as
    /// its loops are not.
    static OWN: ManuallyDrop<RefCell<Vec<(u32, BufferPool)>>> =
        const { ManuallyDrop::new(RefCell::new(Vec::new())) };
}

fn all() -> MutexGuard<'static, Vec<Known>> {
    // Nothing panics between two states of the list.
    ALL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Pools known for as long as this lives; made and dropped on the thread of their loop.
#[derive(Debug)]
pub(crate) struct Registered(Vec<u32>);

impl Registered {
    pub(crate) fn new(pools: impl IntoIterator<Item = BufferPool>) -> Self {
        let mut numbers = Vec::new();
        for pool in pools {
            // Relaxed: only that no two are the same matters.
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            OWN.with(|own| own.borrow_mut().push((number, pool.clone())));
            all().push(Known {
                number,
                pool,
                closed: false,
            });
            numbers.push(number);
        }
        Self(numbers)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        OWN.with(|own| {
            own.borrow_mut()
                .retain(|(number, _)| !self.0.contains(number))
        });
        for known in all()
            .iter_mut()
            .filter(|known| self.0.contains(&known.number))
        {
            known.closed = true;
        }
        sweep();
    }
}

/// Forgets closed pools whose buffers are all home.
fn sweep() {
    let done: Vec<Known> = all()
        .extract_if(.., |known| known.closed && known.pool.stats().in_use == 0)
        .collect();
    // With the lock released: the memory goes with the last handle.
    drop(done);
}

/// The number of the pool that a buffer of this thread's loops is of.
#[inline]
pub(crate) fn number_of(buf: &Buf) -> Option<u32> {
    OWN.with(|own| {
        let own = own.borrow();
        let found = own.iter().find(|(_, pool)| buf.belongs_to(pool));
        found.map(|(number, _)| *number)
    })
}

/// Calls `then` with the pool of this number.
#[inline]
pub(crate) fn with<R>(number: u32, then: impl FnOnce(&BufferPool) -> Result<R>) -> Result<R> {
    OWN.with(|own| {
        let own = own.borrow();
        match own.iter().find(|(own, _)| *own == number) {
            Some((_, pool)) => then(pool),
            None => with_foreign(number, then),
        }
    })
}

/// [`with`] for the pool of another thread's loop, or of one that is gone.
#[cold]
fn with_foreign<R>(number: u32, then: impl FnOnce(&BufferPool) -> Result<R>) -> Result<R> {
    let found = all().iter().find(|known| known.number == number).cloned();
    let Some(known) = found else {
        return Err(Failure::fixed(
            ZCN_Error::ZCN_ERROR_INVALID_BUFFER,
            c"the buffer is of no pool that there is: it was zeroed when it was given away, or its \
              loop is gone",
        ));
    };
    let closed = known.closed;
    let outcome = then(&known.pool);
    drop(known);
    if closed {
        sweep();
    }
    outcome
}
