//! The network and the clock of the script.

#![allow(unsafe_code)]

use std::time::Duration;

use libc::{c_int, c_longlong, c_uint, c_void, size_t, timeval};

use super::memory::{bytes, store};
use super::{answer, fail};
use crate::errno::Errno;

pub(super) unsafe extern "C" fn netdev_send(
    world: *mut c_void,
    packet: *const c_void,
    len: size_t,
) -> c_int {
    answer(world, |world| {
        // SAFETY: the table's contract: `len` bytes of a packet.
        let packet = unsafe { bytes(packet, len) }?;
        world.packet_in(packet).map(|()| 0)
    })
}

pub(super) unsafe extern "C" fn netdev_receive(
    world: *mut c_void,
    buffer: *mut c_void,
    count: *mut size_t,
    time_usecs: *mut c_longlong,
) -> c_int {
    answer(world, |world| {
        let Some((left_at, packet)) = world.packet_out()? else {
            fail(
                "no packet left the stack in 130 s of virtual time; the script expects one",
                1,
            );
        };
        if buffer.is_null() || count.is_null() || time_usecs.is_null() {
            return Err(Errno(libc::EFAULT));
        }
        // SAFETY: the table's contract: `*count` is the room at `buffer`.
        unsafe {
            let len = packet.len().min(*count);
            store(buffer, &packet[..len]);
            *count = len;
            *time_usecs = left_at.as_micros().cast_signed();
        }
        Ok(0)
    })
}

pub(super) unsafe extern "C" fn usleep(world: *mut c_void, micros: c_uint) -> c_int {
    answer(world, |world| {
        let length = Duration::from_micros(micros.into());
        world.sleep(length).map(|()| 0)
    })
}

pub(super) unsafe extern "C" fn gettimeofday(
    world: *mut c_void,
    time: *mut timeval,
    _zone: *mut c_void,
) -> c_int {
    answer(world, |world| {
        let now = world.clock()?.as_micros();
        if !time.is_null() {
            let value = timeval {
                tv_sec: (now / 1_000_000).cast_signed(),
                tv_usec: (now % 1_000_000).cast_signed(),
            };
            // SAFETY: C's contract of gettimeofday(2).
            unsafe { time.write(value) };
        }
        Ok(0)
    })
}
