//! Echo servers on other libraries, written as their documentation writes them and with
//! the settings that serve them best. Their loops look alike, but the types of these
//! libraries share no trait: each file is a program of its library and stays one.

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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use zcn_measure::core::Cores;
    use zcn_measure::load::{ClosedLoop, Stream, drive};
    use zcn_measure::server::ServerOptions;

    /// Every server, ours included, under loads that check every byte.
    #[test]
    fn every_server_echoes() {
        let cores = Cores::pick().unwrap();
        let duration = Duration::from_millis(30);
        let many = ClosedLoop {
            connections: 20,
            message_bytes: 64,
            duration,
            spin: true,
        };
        for server in super::all().into_iter().chain(crate::zcn::tcp_servers()) {
            for options in [
                ServerOptions::blocking(cores.server),
                ServerOptions::spinning(cores.server),
            ] {
                let outcome = drive(&server, &options, cores.client, &many).unwrap();
                assert!(outcome.report.requests > 0, "{}", server.name());
                let full = Stream::bulk(duration);
                let outcome = drive(&server, &options, cores.client, &full).unwrap();
                assert!(outcome.report.bytes > 0, "{}", server.name());
            }
        }
    }
}
