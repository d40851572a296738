//! Commands as entries of a ring, each with the buffer that the driver reads or writes.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd};

use zcn_pool::Buf;
use zcn_uring::sqe::{COMMAND_BYTES_128, Sqe, Sqe128};
use zcn_uring::{Op, Op128, Payload};
use zerocopy::IntoBytes;

use crate::uapi::{CtrlCmd, IoCmd};

/// A command of the control device. Its `addr` and `len` are set here, to the bytes of `buf`.
pub(crate) fn control(
    device: BorrowedFd<'_>,
    number: u32,
    mut command: CtrlCmd,
    mut buf: Buf,
) -> Op128 {
    command.addr = buf.as_mut_ptr() as u64;
    // The structures of this interface have less than 100 bytes.
    command.len = buf.len() as u16;
    let mut bytes = [0; COMMAND_BYTES_128];
    bytes[..size_of::<CtrlCmd>()].copy_from_slice(command.as_bytes());
    let mut entry = Sqe128 {
        sqe: Sqe {
            fd: device.as_raw_fd(),
            off: number.into(),
            ..Sqe::default()
        },
        ..Sqe128::default()
    };
    entry.set_command(&bytes);
    // SAFETY: the only address in the command is that of `buf`, as long as it is told to be; the
    // ring owns it until the final completion.
    unsafe { Op128::command(entry, Some(Payload::Buf(buf))) }
}

/// A command of a queue: fetch a request, or answer one and fetch the next. The data of a request
/// goes by way of the whole capacity of `buf`, which the device's largest request must not exceed.
pub(crate) fn queue(device: BorrowedFd<'_>, number: u32, mut command: IoCmd, mut buf: Buf) -> Op {
    command.addr = buf.as_mut_capacity().as_mut_ptr() as u64;
    let mut sqe = Sqe {
        fd: device.as_raw_fd(),
        off: number.into(),
        ..Sqe::default()
    };
    let bytes = command.as_bytes();
    for (word, bytes) in [&mut sqe.addr3, &mut sqe.pad]
        .into_iter()
        .zip(bytes.as_chunks().0)
    {
        *word = u64::from_ne_bytes(*bytes);
    }
    // SAFETY: the only address in the command is that of `buf`, whose capacity holds the largest
    // request of the device (`Queue::new` makes the pool so). The ring owns it until the final
    // completion, and between two commands the driver does not touch it.
    unsafe { Op::command(sqe, Some(Payload::Buf(buf))) }
}
