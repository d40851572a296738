//! Echo of datagrams in batches on one socket.

use std::io;
use std::time::{Duration, Instant};

use crate::datagrams::{Batch, use_super_packets, wait_readable};
use crate::error::{Action, Result};
use crate::server::Seat;

/// Datagrams per system call.
const SLOTS: usize = 64;
/// The largest datagram without super-packets: one Ethernet frame.
const DATAGRAM_BYTES: usize = 2048;
/// Super-packets per system call, and the most one holds.
const SUPER_SLOTS: usize = 8;
const SUPER_BYTES: usize = 64 * 1024;
/// Socket buffers, so that a whole window of the load fits.
const SOCKET_BYTES: usize = 4 * 1024 * 1024;
/// How often a sleeping server looks whether it is to stop.
const NAP: Duration = Duration::from_millis(20);

pub(super) fn serve(seat: &Seat) -> Result<()> {
    let socket = seat.udp_socket()?;
    rustix::net::sockopt::set_socket_recv_buffer_size(&socket, SOCKET_BYTES)
        .action("size a receive buffer")?;
    rustix::net::sockopt::set_socket_send_buffer_size(&socket, SOCKET_BYTES)
        .action("size a send buffer")?;
    let mut batch = match seat.options().udp_segment {
        Some(segment) => {
            use_super_packets(&socket, segment)?;
            Batch::new(SUPER_SLOTS, SUPER_BYTES)
        }
        None => Batch::new(SLOTS, DATAGRAM_BYTES),
    };
    let meter = seat.meter();
    let spin = seat.options().spin.unwrap_or_default();
    let mut idle_since: Option<Instant> = None;
    while !seat.stopped() {
        meter.syscalls(1);
        match batch.receive(&socket) {
            Ok(count) => {
                idle_since = None;
                echo(seat, &socket, &mut batch, count)?;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let since = *idle_since.get_or_insert_with(Instant::now);
                if spin.is_zero() || since.elapsed() >= spin {
                    meter.syscalls(1);
                    wait_readable(&socket, NAP)?;
                }
            }
            Err(error) => return Err(error).action("receive datagrams"),
        }
    }
    Ok(())
}

fn echo(seat: &Seat, socket: &std::net::UdpSocket, batch: &mut Batch, count: usize) -> Result<()> {
    let mut sent = 0;
    while sent < count && !seat.stopped() {
        seat.meter().syscalls(1);
        match batch.send(socket, sent, count, false) {
            Ok(more) => {
                let bytes = (sent..sent + more).map(|index| batch.datagram(index).len());
                seat.meter().bytes(bytes.sum());
                sent += more;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error).action("send datagrams"),
        }
    }
    Ok(())
}
