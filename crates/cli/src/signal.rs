//! SIGINT and SIGTERM: the first asks to stop, the second does not ask.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;

/// Calls `stop` on a thread of its own when the first signal comes. The second
/// ends the program at once, with the exit code that shells give to signals.
///
/// # Errors
/// When no handler or thread can be had.
pub(crate) fn on_first(stop: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let asked = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // Registered first, so that the signal which sets the flag passes it.
        flag::register_conditional_shutdown(signal, 128 + signal, asked.clone())?;
    }
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            if signals.forever().next().is_some() {
                asked.store(true, Ordering::SeqCst);
                stop();
            }
        })?;
    Ok(())
}
