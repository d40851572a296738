//! zcn's own servers, as they take part in the contests.

use zcn_measure::server::Server;

/// Name of zcn on io_uring: the row that targets are about.
pub const URING: &str = "zcn-uring";

/// TCP echo on zcn, on every reactor.
pub fn tcp_servers() -> impl Iterator<Item = Server> {
    // Plug in here once `zcn::TcpServer` exists.
    std::iter::empty()
}

/// UDP echo on zcn.
pub fn udp_servers() -> impl Iterator<Item = Server> {
    // Plug in here once `zcn::UdpSocket` exists.
    std::iter::empty()
}
