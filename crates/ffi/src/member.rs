//! What servers, clients and UDP sockets have in common: they stand on a loop, their own or one that
//! there was already.
#![allow(unsafe_code)]

use std::rc::Rc;
use std::sync::Arc;

use crate::endpoint::{Endpoint, ZCN_OnEnd, ZCN_OnSent, ZCN_OnWritable};
use crate::error::{Result, ZCN_Error, code, value_or};
use crate::event_loop::{Loop, ZCN_Loop, answer};
use crate::guard::guard;
use crate::handle::{self, Handled, Id, Object, null};
use crate::options::{self, Options, ZCN_Options};
use crate::stats::Figures;

/// An object on a loop.
pub(crate) trait Member: Handled {
    /// Makes one.
    fn make(of: &Rc<Loop>, figures: Arc<Figures>, options: Options) -> Result<Self>;
    /// The loop that it is on.
    fn of(&self) -> &Rc<Loop>;
    /// Lets no callback come any more; what is left ends as the loop runs on.
    fn silence(&self);
    fn into_object(this: Rc<Self>) -> Object;
}

/// One that has connections.
pub(crate) trait Streams: Member {
    fn endpoint(&self) -> &Endpoint;
    /// Whether connections are to tell of sends, from the next one on.
    fn notify_sent(&self, yes: bool);
}

/// Makes an object and enters it; one that cannot be made leaves nothing behind.
pub(crate) fn enter<T: Member>(options: Options, given: Option<Rc<Loop>>) -> Result<Id> {
    let (of, owned) = match given {
        Some(given) => (given, false),
        None => (Loop::new(&options, true)?, true),
    };
    let figures = Figures::new(of.figures.clone());
    let made = T::make(&of, figures.clone(), options)
        .and_then(|made| handle::enter::<T>(figures, T::into_object(Rc::new(made))));
    match made {
        Ok(id) => {
            of.adopt(id);
            of.touched();
        }
        Err(_) if owned => of.end(),
        Err(_) => {}
    }
    made
}

/// An object with a loop of its own, for C.
///
/// # Safety
/// `error` is NULL or may be written to.
pub(crate) unsafe fn create<T: Member, H>(
    options: *const ZCN_Options,
    error: *mut ZCN_Error,
) -> *mut H {
    let made = guard(|| enter::<T>(options::copy(options)?, None).map(Id::handle));
    // SAFETY: the caller's promise.
    unsafe { answer(made, error) }
}

/// An object on a loop that there is already, for C.
///
/// # Safety
/// `error` is NULL or may be written to.
pub(crate) unsafe fn create_on<T: Member, H>(
    event_loop: *mut ZCN_Loop,
    options: *const ZCN_Options,
    error: *mut ZCN_Error,
) -> *mut H {
    let made = guard(|| {
        let given = handle::get::<Loop>(event_loop)?;
        enter::<T>(options::copy(options)?, Some(given)).map(Id::handle)
    });
    // SAFETY: the caller's promise.
    unsafe { answer(made, error) }
}

/// Destroys an object: now, or when the callbacks are over.
pub(crate) fn destroy<T: Member>(handle: *mut impl Sized) {
    if handle.is_null() {
        return;
    }
    let destroyed = guard(|| {
        let (id, member) = handle::remove::<T>(handle)?;
        member.silence();
        let of = member.of().clone();
        of.part_with(id, T::into_object(member));
        Ok(())
    });
    value_or(destroyed, ());
}

/// The loop that an object is on.
pub(crate) fn event_loop<T: Member>(handle: *mut impl Sized) -> *mut ZCN_Loop {
    let found = guard(|| {
        handle::with::<T, _>(handle, |member| {
            Ok(member.of().id.get().map_or(null(), Id::handle))
        })
    });
    value_or(found, null())
}

pub(crate) fn set_on_writable<T: Streams>(
    handle: *mut impl Sized,
    on_writable: ZCN_OnWritable,
) -> ZCN_Error {
    set::<T>(handle, |member| {
        member.endpoint().on_writable.set(on_writable);
    })
}

pub(crate) fn set_on_sent<T: Streams>(handle: *mut impl Sized, on_sent: ZCN_OnSent) -> ZCN_Error {
    set::<T>(handle, |member| {
        member.endpoint().on_sent.set(on_sent);
        member.notify_sent(on_sent.is_some());
    })
}

pub(crate) fn set_on_end<T: Streams>(handle: *mut impl Sized, on_end: ZCN_OnEnd) -> ZCN_Error {
    set::<T>(handle, |member| member.endpoint().on_end.set(on_end))
}

fn set<T: Streams>(handle: *mut impl Sized, then: impl FnOnce(&T)) -> ZCN_Error {
    code(guard(|| {
        handle::with::<T, _>(handle, |member| {
            then(member);
            Ok(())
        })
    }))
}
