//! Calls that wait for readiness.

#![allow(unsafe_code)]

use libc::{c_int, c_short, c_void, epoll_event, nfds_t, pollfd};

use super::answer;
use crate::errno::Errno;

pub(super) unsafe extern "C" fn poll(
    world: *mut c_void,
    entries: *mut pollfd,
    count: nfds_t,
    timeout: c_int,
) -> c_int {
    answer(world, |world| {
        let entries = if count == 0 {
            &mut []
        } else if entries.is_null() {
            return Err(Errno(libc::EFAULT));
        } else {
            // SAFETY: C's contract of poll(2).
            unsafe { std::slice::from_raw_parts_mut(entries, count as usize) }
        };
        let asked = entries
            .iter()
            .map(|entry| (entry.fd, entry.events))
            .collect();
        let found: Vec<c_short> = world.poll(asked, timeout)?;
        let mut ready = 0;
        for (entry, found) in entries.iter_mut().zip(found) {
            entry.revents = found;
            ready += c_int::from(found != 0);
        }
        Ok(ready)
    })
}

pub(super) unsafe extern "C" fn epoll_create(world: *mut c_void, size: c_int) -> c_int {
    answer(world, |world| world.epoll_create(size))
}

pub(super) unsafe extern "C" fn epoll_ctl(
    world: *mut c_void,
    epoll: c_int,
    operation: c_int,
    fd: c_int,
    event: *mut epoll_event,
) -> c_int {
    answer(world, |world| {
        let event = if event.is_null() {
            None
        } else {
            // SAFETY: C's contract of epoll_ctl(2).
            let event = unsafe { event.read_unaligned() };
            Some((event.events, event.u64))
        };
        world.epoll_control(epoll, operation, fd, event).map(|()| 0)
    })
}

pub(super) unsafe extern "C" fn epoll_wait(
    world: *mut c_void,
    epoll: c_int,
    events: *mut epoll_event,
    max: c_int,
    timeout: c_int,
) -> c_int {
    answer(world, |world| {
        let max = usize::try_from(max).ok().filter(|max| *max > 0);
        let max = max.ok_or(Errno(libc::EINVAL))?;
        if events.is_null() {
            return Err(Errno(libc::EFAULT));
        }
        let found = world.epoll_wait(epoll, max, timeout)?;
        let count = found.len();
        for (at, (ready, data)) in found.into_iter().enumerate() {
            let event = epoll_event {
                events: ready,
                u64: data,
            };
            // SAFETY: C's contract of epoll_wait(2): room for `max`, and `at` is below.
            unsafe { events.add(at).write_unaligned(event) };
        }
        Ok(c_int::try_from(count).unwrap_or(c_int::MAX))
    })
}
