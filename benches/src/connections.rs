//! Many idle connections beside active ones: memory, and that nothing is lost.
//!
//! Server and client are processes of their own: this program started again. So neither
//! needs more descriptors than it has connections, and the server's memory is measured
//! where nothing else was ever allocated.

mod client;
mod parent;
mod server;

pub use parent::run;

/// First argument of the processes that this benchmark starts.
const SERVER: &str = "--connections-server";
const CLIENT: &str = "--connections-client";

/// Runs the part of a process that [`run`] started; `None` in any other process.
pub fn child() -> Option<crate::harness::Result> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (role, rest) = arguments.split_first()?;
    match role.as_str() {
        SERVER => Some(server::run(rest)),
        CLIENT => Some(client::run(rest)),
        _ => None,
    }
}

/// A line that one process writes to another, as an object.
fn tell<T: serde::Serialize>(value: &T) -> crate::harness::Result {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, value)?;
    writeln!(out)?;
    out.flush()?;
    Ok(())
}

/// Waits for the other process to say go on; false when it is gone.
fn told() -> crate::harness::Result<bool> {
    let mut line = String::new();
    Ok(std::io::stdin().read_line(&mut line)? > 0)
}
