//! Echo servers on other libraries, written as their documentation writes them and with
//! the settings that serve them best.

use std::net::TcpStream;

use zcn_measure::server::{Seat, Server};

mod compio;
mod monoio;
mod tokio;

/// Bytes that one receive may return, as in the baselines.
const RECEIVE_BYTES: usize = 64 * 1024;

/// `tokio` on its single-threaded runtime.
pub fn tokio() -> Server {
    Server::new("tokio", tokio::serve)
}

/// `monoio` on its io_uring driver.
pub fn monoio() -> Server {
    Server::new("monoio", monoio::serve)
}

/// `compio` on its io_uring driver.
pub fn compio() -> Server {
    Server::new("compio", compio::serve)
}

/// All of them.
pub fn all() -> Vec<Server> {
    vec![tokio(), monoio(), compio()]
}

/// A listener whose `accept` returns once more when the server is to stop: the stop itself
/// connects to it. That works for any library and costs nothing before.
fn listen(seat: &Seat) -> zcn_measure::error::Result<std::net::TcpListener> {
    let listener = seat.listen()?;
    if let Ok(address) = listener.local_addr() {
        seat.on_stop(move || drop(TcpStream::connect(address)));
    }
    Ok(listener)
}

/// Gives an error of a library the name of what was tried.
fn cannot(action: &'static str) -> impl Fn(std::io::Error) -> zcn_measure::error::Error {
    move |error| zcn_measure::error::Error::io(action, error)
}
