//! Pools by number: how a buffer that C holds finds its way home, from any thread.

use std::cell::RefCell;
use std::fmt::Display;
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use zcn::{Buf, BufferPool, RawBuf};

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
    /// its loops are not; with the last pool goes the memory of the list.
    static OWN: ManuallyDrop<RefCell<Vec<(u32, BufferPool)>>> =
        const { ManuallyDrop::new(RefCell::new(Vec::new())) };
}

fn all() -> MutexGuard<'static, Vec<Known>> {
    // Nothing panics between two states of the list.
    ALL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Pools known for as long as this lives; made and dropped on the thread of their loop.
#[derive(Debug)]
pub(crate) struct Registered(Vec<(u32, BufferPool)>);

/// Gives a pool its number.
fn enter(pool: BufferPool) -> (u32, BufferPool) {
    // Relaxed: only that no two are the same matters.
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    OWN.with(|own| own.borrow_mut().push((number, pool.clone())));
    all().push(Known {
        number,
        pool: pool.clone(),
        closed: false,
    });
    (number, pool)
}

impl Registered {
    pub(crate) fn new(pools: impl IntoIterator<Item = BufferPool>) -> Self {
        Self(pools.into_iter().map(enter).collect())
    }

    /// A single pool, with its number.
    pub(crate) fn one(pool: BufferPool) -> (Self, u32) {
        let entered = enter(pool);
        let number = entered.0;
        (Self(vec![entered]), number)
    }

    /// The number of the pool that a buffer is of, if it is one of these.
    #[inline(always)]
    pub(crate) fn number_of(&self, buf: &Buf) -> Option<u32> {
        let found = self.0.iter().find(|(_, pool)| buf.belongs_to(pool));
        found.map(|(number, _)| *number)
    }

    /// The pool of this number, if it is one of these.
    #[inline(always)]
    pub(crate) fn pool(&self, number: u32) -> Option<&BufferPool> {
        let found = self.0.iter().find(|(known, _)| *known == number);
        found.map(|(_, pool)| pool)
    }

    fn has(&self, number: u32) -> bool {
        self.pool(number).is_some()
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        OWN.with(|own| {
            let mut own = own.borrow_mut();
            own.retain(|(number, _)| !self.has(*number));
            if own.is_empty() {
                // The memory, too: nobody else gives it back when the thread ends.
                *own = Vec::new();
            }
        });
        for known in all().iter_mut().filter(|known| self.has(known.number)) {
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

/// The number of the pool that a buffer is of, if that is known on this thread.
pub(crate) fn number_of(buf: &Buf) -> Option<u32> {
    OWN.with(|own| {
        let own = own.borrow();
        let found = own.iter().find(|(_, pool)| buf.belongs_to(pool));
        found.map(|(number, _)| *number)
    })
}

/// The buffer that C names: of one of these pools in most cases, of any otherwise.
// Inlined for certain, as `handle::get`.
#[inline(always)]
pub(crate) fn claim(near: &Registered, number: u32, raw: RawBuf) -> Result<Buf> {
    match near.pool(number) {
        Some(pool) => pool.from_raw(raw).map_err(invalid),
        None => claim_any(number, raw).map(|(buf, _)| buf),
    }
}

/// Gives the buffer that C names back to its pool.
pub(crate) fn release(number: u32, raw: RawBuf) -> Result<()> {
    let (buf, closed) = claim_any(number, raw)?;
    drop(buf);
    if closed {
        sweep();
    }
    Ok(())
}

/// The buffer that C names, of whatever pool, and whether that is closed.
fn claim_any(number: u32, raw: RawBuf) -> Result<(Buf, bool)> {
    let own = OWN.with(|own| {
        let own = own.borrow();
        let found = own.iter().find(|(own, _)| *own == number);
        found.map(|(_, pool)| pool.from_raw(raw))
    });
    match own {
        Some(claimed) => claimed.map(|buf| (buf, false)).map_err(invalid),
        None => claim_foreign(number, raw),
    }
}

/// From the pool of another thread's loop, or of one that is gone; and whether it is gone.
#[cold]
fn claim_foreign(number: u32, raw: RawBuf) -> Result<(Buf, bool)> {
    let found = all().iter().find(|known| known.number == number).cloned();
    let Some(known) = found else {
        return Err(Failure::fixed(
            ZCN_Error::ZCN_ERROR_INVALID_BUFFER,
            c"the buffer is of no pool that there is: it was zeroed when it was given away, or its \
              loop is gone",
        ));
    };
    let buf = known.pool.from_raw(raw).map_err(invalid)?;
    Ok((buf, known.closed))
}

#[cold]
fn invalid(error: impl Display) -> Failure {
    Failure::new(ZCN_Error::ZCN_ERROR_INVALID_BUFFER, error.to_string())
}
