//! Echo on one connection at a time with nothing but non-blocking `recv` and `send`.

use std::io;
use std::net::TcpStream;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::RECEIVE_BYTES;
use crate::error::{Action, Result};
use crate::server::Seat;

pub(super) fn serve(seat: &Seat) -> Result<()> {
    let listener = seat.listen()?;
    listener
        .set_nonblocking(true)
        .action("make a listener non-blocking")?;
    let mut buffer = vec![0; RECEIVE_BYTES];
    while !seat.stopped() {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nodelay(true).action("set TCP_NODELAY")?;
                seat.meter().connection();
                if echo(seat, &stream, &mut buffer).is_err() {
                    seat.meter().error();
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_micros(200));
            }
            Err(error) => return Err(error).action("accept a connection"),
        }
    }
    Ok(())
}

fn echo(seat: &Seat, stream: &TcpStream, buffer: &mut [u8]) -> rustix::io::Result<()> {
    let meter = seat.meter();
    while !seat.stopped() {
        meter.syscalls(1);
        let received = match recv(stream, &mut *buffer, RecvFlags::DONTWAIT) {
            Ok((0, _)) => return Ok(()),
            Ok((received, _)) => received,
            Err(Errno::AGAIN) => continue,
            Err(error) => return Err(error),
        };
        let mut rest = &buffer[..received];
        while !rest.is_empty() && !seat.stopped() {
            meter.syscalls(1);
            match send(stream, rest, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(sent) => {
                    meter.bytes(sent);
                    rest = &rest[sent..];
                }
                Err(Errno::AGAIN) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}
