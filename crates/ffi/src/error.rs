//! Error codes, and what the last error of a thread was.
#![allow(unsafe_code)]
#![allow(clippy::missing_safety_doc)]

use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_int};
use std::mem::MaybeUninit;

use zcn::{Action, Error as ZcnError};

/// What a call answers. Negative values are errors; `zcn_last_error_message` says more about the
/// last one of the calling thread.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(non_camel_case_types)]
pub enum ZCN_Error {
    /// Done.
    ZCN_SUCCESS = 0,
    /// A setting is missing or out of range.
    ZCN_ERROR_INVALID_CONFIG = -1,
    /// Memory, address space or locked memory ran out.
    ZCN_ERROR_OUT_OF_MEMORY = -2,
    /// io_uring could not be set up.
    ZCN_ERROR_IO_URING_INIT = -3,
    /// The address could not be bound.
    ZCN_ERROR_BIND_FAILED = -4,
    /// Listening failed.
    ZCN_ERROR_LISTEN_FAILED = -5,
    /// The handle is NULL, was destroyed, or is of another kind of object.
    ZCN_ERROR_INVALID_HANDLE = -6,
    /// No such connection: never was, or is gone.
    ZCN_ERROR_CONNECTION_NOT_FOUND = -7,
    /// No free buffer.
    ZCN_ERROR_NO_BUFFER = -8,
    /// Nothing was sent.
    ZCN_ERROR_SEND_FAILED = -9,
    /// The library itself failed; the message says where. A bug to report.
    ZCN_ERROR_PANIC = -10,
    /// The object belongs to another thread.
    ZCN_ERROR_WRONG_THREAD = -11,
    /// The send queue is full until `on_writable`.
    ZCN_ERROR_WOULD_BLOCK = -12,
    /// Not available in this build, on this kernel, or not yet.
    ZCN_ERROR_UNSUPPORTED = -13,
    /// No option has this name.
    ZCN_ERROR_UNKNOWN_OPTION = -14,
    /// An argument is NULL where it may not be, or out of range.
    ZCN_ERROR_INVALID_ARGUMENT = -15,
    /// The connection is closing, or its write side is shut down.
    ZCN_ERROR_CLOSED = -16,
    /// The call cannot be made from inside a callback of the same loop.
    ZCN_ERROR_REENTRANT = -17,
    /// The peer could not be reached.
    ZCN_ERROR_CONNECT_FAILED = -18,
    /// The name could not be resolved.
    ZCN_ERROR_RESOLVE_FAILED = -19,
    /// The server has not been started.
    ZCN_ERROR_NOT_STARTED = -20,
    /// The server has been started already.
    ZCN_ERROR_ALREADY_STARTED = -21,
    /// The buffer was given back already, or never was one.
    ZCN_ERROR_INVALID_BUFFER = -22,
    /// The time limit has passed.
    ZCN_ERROR_TIMED_OUT = -23,
    /// The operating system refused; `zcn_last_os_error` tells why.
    ZCN_ERROR_SYSTEM = -24,
}

use ZCN_Error::*;

/// Every code, by which numbers from C are told apart.
const ALL: [ZCN_Error; 25] = [
    ZCN_SUCCESS,
    ZCN_ERROR_INVALID_CONFIG,
    ZCN_ERROR_OUT_OF_MEMORY,
    ZCN_ERROR_IO_URING_INIT,
    ZCN_ERROR_BIND_FAILED,
    ZCN_ERROR_LISTEN_FAILED,
    ZCN_ERROR_INVALID_HANDLE,
    ZCN_ERROR_CONNECTION_NOT_FOUND,
    ZCN_ERROR_NO_BUFFER,
    ZCN_ERROR_SEND_FAILED,
    ZCN_ERROR_PANIC,
    ZCN_ERROR_WRONG_THREAD,
    ZCN_ERROR_WOULD_BLOCK,
    ZCN_ERROR_UNSUPPORTED,
    ZCN_ERROR_UNKNOWN_OPTION,
    ZCN_ERROR_INVALID_ARGUMENT,
    ZCN_ERROR_CLOSED,
    ZCN_ERROR_REENTRANT,
    ZCN_ERROR_CONNECT_FAILED,
    ZCN_ERROR_RESOLVE_FAILED,
    ZCN_ERROR_NOT_STARTED,
    ZCN_ERROR_ALREADY_STARTED,
    ZCN_ERROR_INVALID_BUFFER,
    ZCN_ERROR_TIMED_OUT,
    ZCN_ERROR_SYSTEM,
];

impl ZCN_Error {
    fn from_number(number: c_int) -> Option<Self> {
        let at = usize::try_from(number.checked_neg()?).ok()?;
        ALL.get(at).copied()
    }

    fn name(self) -> &'static CStr {
        match self {
            ZCN_SUCCESS => c"ZCN_SUCCESS",
            ZCN_ERROR_INVALID_CONFIG => c"ZCN_ERROR_INVALID_CONFIG",
            ZCN_ERROR_OUT_OF_MEMORY => c"ZCN_ERROR_OUT_OF_MEMORY",
            ZCN_ERROR_IO_URING_INIT => c"ZCN_ERROR_IO_URING_INIT",
            ZCN_ERROR_BIND_FAILED => c"ZCN_ERROR_BIND_FAILED",
            ZCN_ERROR_LISTEN_FAILED => c"ZCN_ERROR_LISTEN_FAILED",
            ZCN_ERROR_INVALID_HANDLE => c"ZCN_ERROR_INVALID_HANDLE",
            ZCN_ERROR_CONNECTION_NOT_FOUND => c"ZCN_ERROR_CONNECTION_NOT_FOUND",
            ZCN_ERROR_NO_BUFFER => c"ZCN_ERROR_NO_BUFFER",
            ZCN_ERROR_SEND_FAILED => c"ZCN_ERROR_SEND_FAILED",
            ZCN_ERROR_PANIC => c"ZCN_ERROR_PANIC",
            ZCN_ERROR_WRONG_THREAD => c"ZCN_ERROR_WRONG_THREAD",
            ZCN_ERROR_WOULD_BLOCK => c"ZCN_ERROR_WOULD_BLOCK",
            ZCN_ERROR_UNSUPPORTED => c"ZCN_ERROR_UNSUPPORTED",
            ZCN_ERROR_UNKNOWN_OPTION => c"ZCN_ERROR_UNKNOWN_OPTION",
            ZCN_ERROR_INVALID_ARGUMENT => c"ZCN_ERROR_INVALID_ARGUMENT",
            ZCN_ERROR_CLOSED => c"ZCN_ERROR_CLOSED",
            ZCN_ERROR_REENTRANT => c"ZCN_ERROR_REENTRANT",
            ZCN_ERROR_CONNECT_FAILED => c"ZCN_ERROR_CONNECT_FAILED",
            ZCN_ERROR_RESOLVE_FAILED => c"ZCN_ERROR_RESOLVE_FAILED",
            ZCN_ERROR_NOT_STARTED => c"ZCN_ERROR_NOT_STARTED",
            ZCN_ERROR_ALREADY_STARTED => c"ZCN_ERROR_ALREADY_STARTED",
            ZCN_ERROR_INVALID_BUFFER => c"ZCN_ERROR_INVALID_BUFFER",
            ZCN_ERROR_TIMED_OUT => c"ZCN_ERROR_TIMED_OUT",
            ZCN_ERROR_SYSTEM => c"ZCN_ERROR_SYSTEM",
        }
    }

    fn text(self) -> &'static CStr {
        match self {
            ZCN_SUCCESS => c"success",
            ZCN_ERROR_INVALID_CONFIG => c"a setting is missing or out of range",
            ZCN_ERROR_OUT_OF_MEMORY => c"out of memory",
            ZCN_ERROR_IO_URING_INIT => c"io_uring could not be set up",
            ZCN_ERROR_BIND_FAILED => c"the address could not be bound",
            ZCN_ERROR_LISTEN_FAILED => c"listening failed",
            ZCN_ERROR_INVALID_HANDLE => {
                c"the handle is NULL, was destroyed, or is of another kind of object"
            }
            ZCN_ERROR_CONNECTION_NOT_FOUND => c"no such connection",
            ZCN_ERROR_NO_BUFFER => c"no free buffer",
            ZCN_ERROR_SEND_FAILED => c"nothing was sent",
            ZCN_ERROR_PANIC => c"the library failed; this is a bug in it",
            ZCN_ERROR_WRONG_THREAD => c"the object belongs to another thread",
            ZCN_ERROR_WOULD_BLOCK => c"the send queue is full until on_writable",
            ZCN_ERROR_UNSUPPORTED => c"not available",
            ZCN_ERROR_UNKNOWN_OPTION => c"no option has this name",
            ZCN_ERROR_INVALID_ARGUMENT => c"an argument is NULL or out of range",
            ZCN_ERROR_CLOSED => c"the connection is closing",
            ZCN_ERROR_REENTRANT => c"not possible from inside a callback of the same loop",
            ZCN_ERROR_CONNECT_FAILED => c"the peer could not be reached",
            ZCN_ERROR_RESOLVE_FAILED => c"the name could not be resolved",
            ZCN_ERROR_NOT_STARTED => c"the server has not been started",
            ZCN_ERROR_ALREADY_STARTED => c"the server has been started already",
            ZCN_ERROR_INVALID_BUFFER => c"the buffer was given back already, or never was one",
            ZCN_ERROR_TIMED_OUT => c"the time limit has passed",
            ZCN_ERROR_SYSTEM => c"the operating system refused",
        }
    }
}

/// Why a call fails. What there is to say about it became the thread's last error when this was
/// made; what is passed on is one register wide, for the sake of the calls that succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failure(ZCN_Error);

pub(crate) type Result<T> = std::result::Result<T, Failure>;

const _: () = assert!(size_of::<Result<()>>() == size_of::<c_int>());

impl Failure {
    #[cold]
    pub(crate) fn new(code: ZCN_Error, text: impl AsRef<str>) -> Self {
        // A NUL inside would end the text for C.
        let text = text.as_ref().bytes().filter(|&byte| byte != 0);
        Self::keep(code, 0, text)
    }

    #[cold]
    pub(crate) fn fixed(code: ZCN_Error, text: &'static CStr) -> Self {
        Self::keep(code, 0, text.to_bytes().iter().copied())
    }

    pub(crate) fn plain(code: ZCN_Error) -> Self {
        Self::fixed(code, code.text())
    }

    fn keep(code: ZCN_Error, errno: c_int, text: impl Iterator<Item = u8>) -> Self {
        LAST.with_borrow_mut(|last| {
            last.errno = errno;
            last.text.clear();
            last.text.extend(text);
            last.text.push(0);
        });
        Self(code)
    }

    pub(crate) fn with_errno(self, errno: c_int) -> Self {
        LAST.with_borrow_mut(|last| last.errno = errno);
        self
    }

    /// The same under another code.
    pub(crate) fn under(self, code: ZCN_Error) -> Self {
        Self(code)
    }

    /// An error of the Rust library under the code that the caller finds fitting.
    pub(crate) fn of(code: ZCN_Error, error: &ZcnError) -> Self {
        Self::new(code, error.to_string()).with_errno(error.raw_os_error().unwrap_or(0))
    }

    /// The code, for C.
    pub(crate) fn code(self) -> ZCN_Error {
        self.0
    }
}

impl From<ZcnError> for Failure {
    fn from(error: ZcnError) -> Self {
        let code = match (error.action(), error.raw_os_error(), error.kind()) {
            (_, Some(libc::ENOMEM), _) | (_, None, std::io::ErrorKind::OutOfMemory) => {
                ZCN_ERROR_OUT_OF_MEMORY
            }
            // What only the kernel's half has, asked of a stack.
            (_, Some(libc::EOPNOTSUPP), _) => ZCN_ERROR_UNSUPPORTED,
            (Action::Bind, ..) => ZCN_ERROR_BIND_FAILED,
            (Action::Listen, Some(_), _) => ZCN_ERROR_LISTEN_FAILED,
            (_, None, std::io::ErrorKind::InvalidInput) => ZCN_ERROR_INVALID_CONFIG,
            (Action::Resolve, ..) => ZCN_ERROR_RESOLVE_FAILED,
            (_, None, std::io::ErrorKind::TimedOut) => ZCN_ERROR_TIMED_OUT,
            (Action::Connect, ..) => ZCN_ERROR_CONNECT_FAILED,
            (Action::Send, ..) => ZCN_ERROR_SEND_FAILED,
            _ => ZCN_ERROR_SYSTEM,
        };
        Self::of(code, &error)
    }
}

struct Last {
    errno: c_int,
    /// With the NUL that ends it; empty before the first error.
    text: Vec<u8>,
}

thread_local! {
    static LAST: RefCell<Last> = const {
        RefCell::new(Last { errno: 0, text: Vec::new() })
    };
}

/// What C is answered that gets no code.
pub(crate) fn value_or<T>(outcome: Result<T>, default: T) -> T {
    outcome.unwrap_or(default)
}

/// The code of an outcome.
#[inline]
pub(crate) fn code(outcome: Result<()>) -> ZCN_Error {
    match outcome {
        Ok(()) => ZCN_SUCCESS,
        Err(failure) => failure.code(),
    }
}

/// A short English text for an error code. Never NULL; static.
#[unsafe(no_mangle)]
pub extern "C" fn zcn_error_string(error: MaybeUninit<ZCN_Error>) -> *const c_char {
    let text = number(error).map_or(c"unknown error code", ZCN_Error::text);
    text.as_ptr()
}

/// The name of an error code as it is spelled in this header, e.g. "ZCN_ERROR_BIND_FAILED".
/// Never NULL; static.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub extern "C" fn zcn_error_name(error: MaybeUninit<ZCN_Error>) -> *const c_char {
    let name = number(error).map_or(c"ZCN_ERROR_UNKNOWN", ZCN_Error::name);
    name.as_ptr()
}

/// What a caller passes may be any number.
fn number(error: MaybeUninit<ZCN_Error>) -> Option<ZCN_Error> {
    // SAFETY: C passes an int, so it is initialised, and every int may be read as one.
    let number = unsafe { error.as_ptr().cast::<c_int>().read() };
    ZCN_Error::from_number(number)
}

/// What went wrong in the last call of this thread that failed: what was tried, on which address,
/// why, and what helps. Calls that succeed leave it alone. Never NULL; valid until the next call
/// of this thread that fails.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub extern "C" fn zcn_last_error_message() -> *const c_char {
    LAST.with_borrow(|last| match last.text.is_empty() {
        true => c"".as_ptr(),
        false => last.text.as_ptr().cast(),
    })
}

/// The errno of the last call of this thread that failed, or 0 if no system call was to blame.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub extern "C" fn zcn_last_os_error() -> c_int {
    LAST.with_borrow(|last| last.errno)
}

/// The last error's message, for tests.
#[cfg(test)]
pub(crate) fn last_message() -> String {
    LAST.with_borrow(|last| String::from_utf8_lossy(&last.text[..last.text.len() - 1]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_codes_are_the_same() {
        for code in ALL {
            assert_eq!(ZCN_Error::from_number(code as c_int), Some(code));
            assert!(!code.text().is_empty());
            assert_eq!(code.name().to_str().unwrap(), format!("{code:?}"));
        }
        for foreign in [1, 25, -25, -1000, c_int::MIN, c_int::MAX] {
            assert_eq!(ZCN_Error::from_number(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn codes_of_the_origin_keep_their_values() {
        assert_eq!(ZCN_SUCCESS as c_int, 0);
        assert_eq!(ZCN_ERROR_INVALID_CONFIG as c_int, -1);
        assert_eq!(ZCN_ERROR_OUT_OF_MEMORY as c_int, -2);
        assert_eq!(ZCN_ERROR_IO_URING_INIT as c_int, -3);
        assert_eq!(ZCN_ERROR_BIND_FAILED as c_int, -4);
        assert_eq!(ZCN_ERROR_LISTEN_FAILED as c_int, -5);
        assert_eq!(ZCN_ERROR_INVALID_HANDLE as c_int, -6);
        assert_eq!(ZCN_ERROR_CONNECTION_NOT_FOUND as c_int, -7);
        assert_eq!(ZCN_ERROR_NO_BUFFER as c_int, -8);
        assert_eq!(ZCN_ERROR_SEND_FAILED as c_int, -9);
    }

    #[test]
    fn the_last_error_keeps_its_message_without_inner_nuls() {
        let code = Failure::new(ZCN_ERROR_SYSTEM, "a\0b").with_errno(5).code();
        assert_eq!(code, ZCN_ERROR_SYSTEM);
        // SAFETY: the message ends with a NUL.
        let text = unsafe { CStr::from_ptr(zcn_last_error_message()) };
        assert_eq!(text, c"ab");
        assert_eq!(zcn_last_os_error(), 5);
    }
}
