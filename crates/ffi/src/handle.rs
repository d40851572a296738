//! Handles: what C holds in place of a pointer.
//!
//! A handle looks like a pointer and is a number that is never used twice. The thread that made an
//! object finds it by the number in a table of its own, without a lock; any other thread finds in
//! the directory of the process whose it is. So a handle that was destroyed, forged or carried to
//! another thread is an error code and not undefined behaviour. Its upper bits are not those of any
//! address: whoever reads through one faults at once.

use std::cell::RefCell;
use std::collections::HashMap;
use std::mem::ManuallyDrop;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use crate::client::Client;
use crate::error::{Failure, Result, ZCN_Error};
use crate::event_loop::Loop;
use crate::member::Member;
use crate::options::Options;
use crate::server::Server;
use crate::stats::Figures;
use crate::udp::Udp;

/// Kind of an object; part of its handle, so that one of another kind never fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Loop = 1,
    Server,
    Client,
    Udp,
    Options,
}

/// The number behind a handle.
///
/// ```text
/// 63      60 59   56 55          40 39                       0
/// | 0101   | kind  | place          | serial, never used twice |
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Id(u64);

const MARK: u64 = 0b0101 << 60;
const PLACE_BITS: u32 = 16;
const SERIAL_BITS: u32 = 40;

/// Most objects that one thread can have.
const PLACES_MAX: usize = 1 << PLACE_BITS;

/// The next serial; 2^40 objects last for centuries.
static SERIAL: AtomicU64 = AtomicU64::new(1);

impl Id {
    fn new(kind: Kind, place: usize) -> Self {
        // Relaxed: only that no two are the same matters.
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed) & ((1 << SERIAL_BITS) - 1);
        Self(MARK | (kind as u64) << 56 | (place as u64) << SERIAL_BITS | serial)
    }

    /// The handle as C sees it.
    pub(crate) fn handle<T>(self) -> *mut T {
        std::ptr::without_provenance_mut(self.0 as usize)
    }

    #[inline]
    fn of<T>(handle: *const T) -> Self {
        Self(handle.addr() as u64)
    }

    #[inline]
    fn is(self, kind: Kind) -> bool {
        self.0 >> 56 == MARK >> 56 | kind as u64
    }

    #[inline]
    fn place(self) -> usize {
        (self.0 >> SERIAL_BITS) as usize & (PLACES_MAX - 1)
    }
}

/// An object of the calling thread.
#[derive(Clone)]
pub(crate) enum Object {
    Loop(Rc<Loop>),
    Server(Rc<Server>),
    Client(Rc<Client>),
    Udp(Rc<Udp>),
}

impl Object {
    /// No callback of it comes any more.
    pub(crate) fn silence(&self) {
        match self {
            Self::Loop(_) => {}
            Self::Server(server) => server.silence(),
            Self::Client(client) => client.silence(),
            Self::Udp(udp) => udp.silence(),
        }
    }
}

/// What the handles of one type lead to.
pub(crate) trait Handled: Sized {
    const KIND: Kind;
    fn find(object: &Object) -> Option<&Rc<Self>>;
}

macro_rules! handled {
    ($($name:ident),*) => {$(
        impl Handled for $name {
            const KIND: Kind = Kind::$name;

            #[inline]
            fn find(object: &Object) -> Option<&Rc<Self>> {
                match object {
                    Object::$name(object) => Some(object),
                    _ => None,
                }
            }
        }
    )*};
}

handled!(Loop, Server, Client, Udp);

/// The objects of a thread, by place.
#[derive(Default)]
struct Local {
    places: Vec<Option<(Id, Object)>>,
    free: Vec<usize>,
}

thread_local! {
    /// Not dropped with the thread: what is then left was never destroyed, and an event loop cannot
    /// be ended while its thread's other values go. Its handles answer `ZCN_ERROR_WRONG_THREAD` to
    /// all other threads. With the last object goes the memory of the table.
    static LOCAL: ManuallyDrop<RefCell<Local>> = const {
        ManuallyDrop::new(RefCell::new(Local { places: Vec::new(), free: Vec::new() }))
    };
}

/// What the directory knows of an object.
#[derive(Clone)]
pub(crate) enum Listed {
    /// An object of some thread, with what other threads may see and do.
    Figures(Arc<Figures>),
    /// Options belong to no thread.
    Options(Arc<Mutex<Options>>),
}

static DIRECTORY: LazyLock<Mutex<HashMap<Id, Listed>>> = LazyLock::new(Mutex::default);

fn directory() -> MutexGuard<'static, HashMap<Id, Listed>> {
    // Nothing panics between two states of the map.
    DIRECTORY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Enters an object of the calling thread.
pub(crate) fn enter<T: Handled>(figures: Arc<Figures>, object: Object) -> Result<Id> {
    let place = LOCAL.with(|local| {
        let mut local = local.borrow_mut();
        local.free.pop().or_else(|| {
            let next = local.places.len();
            (next < PLACES_MAX).then(|| {
                local.places.push(None);
                next
            })
        })
    });
    let place = place.ok_or_else(|| {
        Failure::fixed(
            ZCN_Error::ZCN_ERROR_OUT_OF_MEMORY,
            c"a thread can have 65536 objects; destroy some, or use another thread",
        )
    })?;
    let id = Id::new(T::KIND, place);
    LOCAL.with(|local| local.borrow_mut().places[place] = Some((id, object)));
    directory().insert(id, Listed::Figures(figures));
    Ok(id)
}

/// Enters options.
pub(crate) fn enter_options(options: Options) -> Id {
    let id = Id::new(Kind::Options, 0);
    let options = Arc::new(Mutex::new(options));
    directory().insert(id, Listed::Options(options));
    id
}

/// The calling thread's object of this handle.
// What runs inside `LocalKey::with` is small, so that it is inlined and the thread-local is read
// without a call; hence no error is made there either. This and what else every send goes through is
// inlined for certain: a result in memory costs more than the work.
#[inline(always)]
pub(crate) fn get<T: Handled>(handle: *const impl Sized) -> Result<Rc<T>> {
    let id = Id::of(handle);
    let found = LOCAL.with(|local| match local.borrow().places.get(id.place()) {
        Some(Some((found, object))) if *found == id => T::find(object).cloned(),
        _ => None,
    });
    found.ok_or_else(|| unknown(T::KIND, id))
}

/// Calls `then` with the calling thread's object of this handle.
#[inline(always)]
pub(crate) fn with<T: Handled, R>(
    handle: *const impl Sized,
    then: impl FnOnce(&Rc<T>) -> Result<R>,
) -> Result<R> {
    then(&get::<T>(handle)?)
}

/// Takes an object out, with its number; its handle is void from here on.
pub(crate) fn remove<T: Handled>(handle: *const impl Sized) -> Result<(Id, Rc<T>)> {
    let object = get::<T>(handle)?;
    let id = Id::of(handle);
    forget(id);
    Ok((id, object))
}

/// Makes a handle of the calling thread void.
pub(crate) fn forget(id: Id) {
    // Dropped with nothing borrowed: its end may look for other objects.
    drop(take(id));
}

/// An object of the calling thread by its number.
pub(crate) fn object(id: Id) -> Option<Object> {
    LOCAL.with(|local| match local.borrow().places.get(id.place()) {
        Some(Some((found, object))) if *found == id => Some(object.clone()),
        _ => None,
    })
}

/// Takes an object of the calling thread out; its handle is void from here on.
pub(crate) fn take(id: Id) -> Option<Object> {
    directory().remove(&id);
    LOCAL.with(|local| {
        let mut local = local.borrow_mut();
        let place = id.place();
        let found = local.places.get_mut(place)?;
        if found.as_ref().is_none_or(|(found, _)| *found != id) {
            return None;
        }
        let object = found.take();
        local.free.push(place);
        if local.free.len() == local.places.len() {
            // The memory, too: nobody else gives it back when the thread ends.
            *local = Local::default();
        }
        object.map(|(_, object)| object)
    })
}

/// What any thread may ask of an object.
pub(crate) fn figures<T: Handled>(handle: *const impl Sized) -> Result<Arc<Figures>> {
    let id = Id::of(handle);
    match directory().get(&id) {
        Some(Listed::Figures(figures)) if id.is(T::KIND) => Ok(figures.clone()),
        _ => Err(void()),
    }
}

/// Options by their handle, on any thread.
pub(crate) fn options(handle: *const impl Sized) -> Result<Arc<Mutex<Options>>> {
    match directory().get(&Id::of(handle)) {
        Some(Listed::Options(options)) => Ok(options.clone()),
        _ => Err(void()),
    }
}

/// Takes options out.
pub(crate) fn remove_options(handle: *const impl Sized) -> Result<()> {
    let id = Id::of(handle);
    let mut directory = directory();
    match directory.get(&id) {
        Some(Listed::Options(_)) => {
            directory.remove(&id);
            Ok(())
        }
        _ => Err(void()),
    }
}

fn void() -> Failure {
    Failure::plain(ZCN_Error::ZCN_ERROR_INVALID_HANDLE)
}

/// Why a handle led nowhere on this thread.
#[cold]
fn unknown(kind: Kind, id: Id) -> Failure {
    if id.is(kind) && directory().contains_key(&id) {
        return Failure::fixed(
            ZCN_Error::ZCN_ERROR_WRONG_THREAD,
            c"the object was made on another thread, which alone may use it; zcn_loop_wakeup, \
              zcn_server_wakeup, the statistics and the zcn_buf_* calls are for any thread",
        );
    }
    void()
}

/// Pointer to nothing, for constructors that failed.
pub(crate) fn null<T>() -> *mut T {
    std::ptr::null_mut()
}
