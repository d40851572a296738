//! The event loop: one thread's, shared by whatever is put on it.
#![allow(unsafe_code)]
#![allow(clippy::missing_safety_doc)]

use std::cell::{Cell, OnceCell, RefCell};
use std::ffi::c_int;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use zcn::{Buf, Runtime};

use crate::connections::Connections;
use crate::embed::Embedding;
use crate::error::{Failure, Result, ZCN_Error, code, value_or};
use crate::guard::guard;
use crate::handle::{self, Handled, Id, Object, null};
use crate::options::{self, Options, ZCN_Options};
use crate::pools::{self, Registered};
use crate::stats::{Counter, Figures, LoopFigures};

/// An event loop. It belongs to the thread that made it, and so does everything on it.
///
/// A server, client or UDP socket brings a loop of its own unless it is put on one with
/// `zcn_server_create_on` and the like; a thread needs one loop only.
#[derive(Debug)]
#[allow(non_camel_case_types)]
pub struct ZCN_Loop {
    _opaque: (),
}

/// What the handlers inside the runtime need of their loop.
pub(crate) struct LoopShared {
    pub(crate) connections: RefCell<Connections>,
    /// What a callback is being given, for [`crate::lease::zcn_buf_retain`] to take.
    pub(crate) delivering: Cell<Option<Buf>>,
    endpoints: Cell<u32>,
}

impl LoopShared {
    /// Tells the servers and clients of a loop apart.
    pub(crate) fn next_endpoint(&self) -> u32 {
        let next = self.endpoints.get().wrapping_add(1);
        self.endpoints.set(next);
        next
    }
}

/// An event loop with what stands on it.
pub(crate) struct Loop {
    pub(crate) id: Cell<Option<Id>>,
    pub(crate) runtime: Runtime,
    pub(crate) shared: Rc<LoopShared>,
    pub(crate) figures: Arc<LoopFigures>,
    /// Belongs to one object, with which it goes.
    owned: bool,
    polling: Cell<bool>,
    /// Destroyed inside callbacks; dropped when the callbacks are over.
    doomed: RefCell<Vec<Object>>,
    /// What is on it.
    members: RefCell<Vec<Id>>,
    embedding: OnceCell<Embedding>,
    /// An instant with what CLOCK_MONOTONIC said then, nanoseconds.
    anchor: (Instant, u64),
    /// Most used first.
    pub(crate) pools: Registered,
    /// Further ones that leases were found to be of: those of a stack's link.
    foreign: RefCell<Vec<Registered>>,
}

impl Loop {
    /// Makes a loop of the calling thread and enters it.
    pub(crate) fn new(options: &Options, owned: bool) -> Result<Rc<Self>> {
        let runtime = options.runtime()?;
        let figures = Arc::new(LoopFigures {
            waker: runtime.handle(),
            pools: [runtime.pool(), runtime.outgoing_pool()],
            lent: Counter::default(),
            polls: Counter::default(),
            system_calls: Counter::default(),
        });
        let pools = [runtime.outgoing_pool(), runtime.pool(), runtime.bulk_pool()];
        let made = Rc::new(Self {
            id: Cell::new(None),
            runtime,
            shared: Rc::new(LoopShared {
                connections: RefCell::default(),
                delivering: Cell::new(None),
                endpoints: Cell::new(0),
            }),
            figures: figures.clone(),
            owned,
            polling: Cell::new(false),
            doomed: RefCell::default(),
            members: RefCell::default(),
            embedding: OnceCell::new(),
            anchor: (Instant::now(), monotonic_ns()),
            pools: Registered::new(pools),
            foreign: RefCell::default(),
        });
        made.publish();
        let id = handle::enter::<Self>(Figures::new(figures), Object::Loop(made.clone()))?;
        made.id.set(Some(id));
        Ok(made)
    }

    pub(crate) fn adopt(&self, member: Id) {
        self.members.borrow_mut().push(member);
    }

    /// An object on it is destroyed: it goes now, or when the callbacks are over, and with it the
    /// loop if that is its own.
    pub(crate) fn part_with(self: &Rc<Self>, member: Id, object: Object) {
        self.members.borrow_mut().retain(|id| *id != member);
        self.bury(object);
        if self.owned {
            self.end();
        }
    }

    /// The loop goes with all that is on it, now or when the callbacks are over.
    pub(crate) fn end(self: &Rc<Self>) {
        for member in self.members.take() {
            if let Some(object) = handle::take(member) {
                object.silence();
                self.bury(object);
            }
        }
        if let Some(id) = self.id.get() {
            handle::forget(id);
        }
        self.bury(Object::Loop(self.clone()));
    }

    /// Calls `then` with each object of one kind that is on it.
    pub(crate) fn each_member<T: Handled>(&self, then: impl Fn(&T)) {
        for &member in &*self.members.borrow() {
            if let Some(object) = handle::object(member)
                && let Some(found) = T::find(&object)
            {
                then(found);
            }
        }
    }

    fn bury(&self, object: Object) {
        if self.polling.get() {
            self.doomed.borrow_mut().push(object);
        }
    }

    /// One turn of the loop, and as many callbacks as it brings, at most `most` if that is not 0.
    pub(crate) fn poll(&self, timeout_ms: c_int, most: usize) -> Result<usize> {
        if self.polling.get() {
            return Err(Failure::fixed(
                ZCN_Error::ZCN_ERROR_REENTRANT,
                c"the loop is being polled: it cannot be polled from inside one of its callbacks",
            ));
        }
        let polling = Polling::new(self);
        let limit = match u64::try_from(timeout_ms) {
            Ok(limit) => Duration::from_millis(limit),
            // With a limit a signal ends the wait; nobody minds coming back once a day.
            Err(_) => Duration::from_secs(86_400),
        };
        let outcome = self
            .runtime
            .poll(limit, if most == 0 { usize::MAX } else { most })
            .map_err(Failure::from);
        self.publish();
        let embedded = match self.embedding.get() {
            Some(embedding) => embedding.prepare(&self.runtime),
            None => Ok(()),
        };
        drop(polling);
        let count = outcome?;
        embedded?;
        Ok(count)
    }

    /// The number of the pool of a buffer that is of none of the loop's own pools.
    #[cold]
    pub(crate) fn number_of_foreign(&self, buf: &Buf) -> u32 {
        pools::number_of(buf).unwrap_or_else(|| {
            let (registered, number) = Registered::one(buf.pool());
            self.foreign.borrow_mut().push(registered);
            number
        })
    }

    /// Lets other threads see how things stand.
    fn publish(&self) {
        let figures = &self.figures;
        figures.lent.set(self.runtime.lent_buffers() as u64);
        figures.polls.add(1);
        figures
            .system_calls
            .set(self.runtime.driver_stats().system_calls);
    }

    /// Something was asked for from outside of the callbacks. A foreign loop that waits on the
    /// descriptor has to come back for it.
    #[inline]
    pub(crate) fn touched(&self) {
        if let Some(embedding) = self.embedding.get()
            && !self.polling.get()
        {
            embedding.kick();
        }
    }

    pub(crate) fn fd(&self) -> Result<c_int> {
        if self.embedding.get().is_none() {
            let made = Embedding::new(&self.runtime)?;
            // Nobody else is here to have set it meanwhile.
            let _ = self.embedding.set(made);
        }
        let embedding = self.embedding.get();
        embedding.map_or(
            Err(Failure::plain(ZCN_Error::ZCN_ERROR_SYSTEM)),
            |embedding| {
                if !self.polling.get() {
                    embedding.prepare(&self.runtime)?;
                }
                Ok(embedding.fd())
            },
        )
    }

    fn time_ns(&self) -> u64 {
        let (anchor, monotonic_ns) = self.anchor;
        let since = self.runtime.now().saturating_duration_since(anchor);
        monotonic_ns + u64::try_from(since.as_nanos()).unwrap_or(u64::MAX / 2)
    }
}

fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Says that callbacks may be running; at its end what was destroyed in them goes.
struct Polling<'a>(&'a Loop);

impl<'a> Polling<'a> {
    fn new(of: &'a Loop) -> Self {
        of.polling.set(true);
        Self(of)
    }
}

impl Drop for Polling<'_> {
    fn drop(&mut self) {
        self.0.polling.set(false);
        // A callback that unwound may have left it.
        self.0.shared.delivering.take();
        let doomed = self.0.doomed.take();
        drop(doomed);
    }
}

/// An event loop with the given options (NULL: the defaults); NULL on failure, with the reason in
/// `error` unless that is NULL.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zcn_loop_create(
    options: *const ZCN_Options,
    error: *mut ZCN_Error,
) -> *mut ZCN_Loop {
    let made = guard(|| {
        let options = options::copy(options)?;
        let made = Loop::new(&options, false)?;
        Ok(made.id.get().map_or(null(), Id::handle))
    });
    // SAFETY: C passes a place for the code, or NULL.
    unsafe { answer(made, error) }
}

/// The handle that a constructor made, its error told to C.
///
/// # Safety
/// `error` is NULL or may be written to.
pub(crate) unsafe fn answer<T>(made: Result<*mut T>, error: *mut ZCN_Error) -> *mut T {
    let (handle, code) = match made {
        Ok(handle) => (handle, ZCN_Error::ZCN_SUCCESS),
        Err(failure) => (null(), failure.code()),
    };
    if !error.is_null() {
        // SAFETY: not NULL, and the rest is the caller's promise.
        unsafe { error.write(code) };
    }
    handle
}

/// Destroys a loop and everything on it; all their handles are void, connections are ended, no
/// callback comes any more. Inside one of its callbacks, the end comes when the callback returns.
///
/// `ZCN_ERROR_INVALID_ARGUMENT` for the loop that a server, client or UDP socket brought: it goes
/// with that. NULL is ignored.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub extern "C" fn zcn_loop_destroy(event_loop: *mut ZCN_Loop) -> ZCN_Error {
    if event_loop.is_null() {
        return ZCN_Error::ZCN_SUCCESS;
    }
    code(guard(|| {
        let found = handle::get::<Loop>(event_loop)?;
        if found.owned {
            return Err(Failure::fixed(
                ZCN_Error::ZCN_ERROR_INVALID_ARGUMENT,
                c"the loop belongs to the object that brought it, and goes with it",
            ));
        }
        found.end();
        Ok(())
    }))
}

/// Handles what there is, waiting for it for at most `timeout_ms` (0 does not wait, negative waits
/// as long as it takes), with at most `max_events` callbacks (0: no limit; the rest comes with the
/// next call).
///
/// Returns the number of callbacks, or a negative error. 0 when the time has passed, and also after
/// a wake-up, a signal, or something that concerned only the library: call it again.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub extern "C" fn zcn_loop_poll(
    event_loop: *mut ZCN_Loop,
    timeout_ms: c_int,
    max_events: u32,
) -> c_int {
    count(guard(|| {
        let found = handle::get::<Loop>(event_loop)?;
        found.poll(timeout_ms, max_events as usize)
    }))
}

/// A count for C, or a negative error.
pub(crate) fn count(outcome: Result<usize>) -> c_int {
    match outcome {
        Ok(count) => c_int::try_from(count).unwrap_or(c_int::MAX),
        Err(failure) => failure.code() as c_int,
    }
}

/// A descriptor that is readable whenever `zcn_loop_poll` has something to do, timers included, for
/// `poll`, `epoll`, `select` or another event loop: when it is readable, call
/// `zcn_loop_poll(loop, 0, 0)`. It stays the library's: do not read, write or close it. A negative
/// error if there is none to be had.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub extern "C" fn zcn_loop_fd(event_loop: *mut ZCN_Loop) -> c_int {
    number(guard(|| handle::get::<Loop>(event_loop)?.fd()))
}

/// A number for C that is not negative, or a negative error.
pub(crate) fn number(outcome: Result<c_int>) -> c_int {
    outcome.unwrap_or_else(|failure| failure.code() as c_int)
}

/// Ends the wait of a loop, or the next one: from any thread, and the only call besides statistics
/// and buffers that is for any thread. It does not allocate; in a signal handler write to a pipe of
/// your own, as the handle is looked up under a lock.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub extern "C" fn zcn_loop_wakeup(event_loop: *mut ZCN_Loop) -> ZCN_Error {
    code(guard(|| {
        handle::figures::<Loop>(event_loop)?.of_loop.waker.wake();
        Ok(())
    }))
}

/// When the loop last took what the kernel had for it, in nanoseconds of `CLOCK_MONOTONIC`: inside
/// a callback, when its data was seen, without another look at the clock. 0 for a void handle.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub extern "C" fn zcn_loop_time_ns(event_loop: *const ZCN_Loop) -> u64 {
    let time = guard(|| handle::with::<Loop, _>(event_loop, |of| Ok(of.time_ns())));
    value_or(time, 0)
}

/// Whether the loop runs on io_uring (1) or, where that is refused, on epoll (0); a negative error
/// for a void handle.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub extern "C" fn zcn_loop_is_uring(event_loop: *const ZCN_Loop) -> c_int {
    number(guard(|| {
        handle::with::<Loop, _>(event_loop, |of| {
            let kind = of.runtime.reactor_kind();
            Ok(c_int::from(kind == zcn::ReactorKind::Uring))
        })
    }))
}
