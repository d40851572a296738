//! Echo with one thread per connection and blocking calls.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::RECEIVE_BYTES;
use crate::error::{Action, Result};
use crate::meter::Meter;
use crate::server::Seat;

/// Enough for the loop below and for what the standard library does around it.
const STACK_BYTES: usize = 64 * 1024;

pub(super) fn serve(seat: &Seat) -> Result<()> {
    let listener = Arc::new(seat.listen()?);
    let open = Arc::new(Mutex::new(Vec::<Weak<TcpStream>>::new()));
    let (closing, still_open) = (listener.clone(), open.clone());
    seat.on_stop(move || {
        // Ends the blocking accept and every blocking receive.
        let _ = rustix::net::shutdown(&*closing, rustix::net::Shutdown::Both);
        for stream in still_open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
        {
            if let Some(stream) = stream.upgrade() {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    });
    std::thread::scope(|scope| {
        while let Some(stream) = accept(seat, &listener)? {
            let stream = Arc::new(stream);
            {
                let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
                open.retain(|stream| stream.strong_count() > 0);
                // Weak: a connection closes when its thread has ended.
                open.push(Arc::downgrade(&stream));
                if seat.stopped() {
                    // The hook may have looked before this one was there.
                    let _ = stream.shutdown(Shutdown::Both);
                }
            }
            std::thread::Builder::new()
                .stack_size(STACK_BYTES)
                .spawn_scoped(scope, move || {
                    let meter = seat.enroll();
                    if echo(&stream, &meter).is_err() && !seat.stopped() {
                        meter.error();
                    }
                })
                .action("start a connection's thread")?;
        }
        Ok(())
    })
}

/// The next connection, or `None` when the server is to stop.
fn accept(seat: &Seat, listener: &TcpListener) -> Result<Option<TcpStream>> {
    loop {
        seat.meter().syscalls(1);
        match listener.accept() {
            _ if seat.stopped() => return Ok(None),
            Ok((stream, _)) => {
                stream.set_nodelay(true).action("set TCP_NODELAY")?;
                seat.meter().syscalls(1);
                seat.meter().connection();
                return Ok(Some(stream));
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => return Err(error).action("accept a connection"),
        }
    }
}

fn echo(stream: &TcpStream, meter: &Meter) -> rustix::io::Result<()> {
    let mut buffer = vec![0; RECEIVE_BYTES];
    loop {
        meter.syscalls(1);
        let (received, _) = recv(stream, &mut buffer[..], RecvFlags::empty())?;
        if received == 0 {
            return Ok(());
        }
        let mut rest = &buffer[..received];
        while !rest.is_empty() {
            meter.syscalls(1);
            let sent = send(stream, rest, SendFlags::NOSIGNAL)?;
            meter.bytes(sent);
            rest = &rest[sent..];
        }
    }
}
