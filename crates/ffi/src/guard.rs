//! The boundary that no panic crosses.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::{Failure, Result, ZCN_Error};

/// Runs the body of an exported function; a panic in it becomes an error.
///
/// What a panic may leave half-done is reached through cells whose borrows end with the unwinding,
/// and the runtime itself puts what it had taken out back only when it is whole.
#[inline]
pub(crate) fn guard<T>(body: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| Err(failure(&*panic)))
}

#[cold]
fn failure(panic: &(dyn Any + Send)) -> Failure {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    let text = format!("libzero_copy_net panicked, which is a bug in it: {text}");
    Failure::new(ZCN_Error::ZCN_ERROR_PANIC, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{code, last_message};

    #[test]
    fn a_panic_becomes_an_error_code_with_its_message() {
        let outcome = guard(|| -> Result<()> { panic!("on {}", "purpose") });
        assert_eq!(code(outcome), ZCN_Error::ZCN_ERROR_PANIC);
        assert!(last_message().ends_with("on purpose"), "{}", last_message());
        assert_eq!(code(guard(|| Ok(()))), ZCN_Error::ZCN_SUCCESS);
    }
}
