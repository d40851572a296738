//! Commands of sockets: `URING_CMD` with `SOCKET_URING_OP_*`.
//!
//! They are ioctl(2), getsockopt(2), setsockopt(2) and getsockname(2) without a system call for
//! each, and reports of when data left. Source: `io_uring/cmd_net.c` of Linux 6.18 and 7.2.

use std::time::Duration;

use zcn_pool::{Buf, SharedBuf};

use crate::completion::Completion;
use crate::constants::socket as uapi;
use crate::handle::{Handle, SharedRing};
use crate::msg::Msg;
use crate::op::{Op, Target};
use crate::payload::{Payload, kernel_space};
use crate::push::PushError;
use crate::ring::Ring;
use crate::sizes::{Completion32, EntrySize};
use crate::slot::{Kind, OpId};

impl Op {
    fn socket_command(kind: Kind, target: Target, command: u32) -> Self {
        let mut op = Self::on(kind, crate::constants::opcode::URING_CMD, target);
        op.sqe.off = command.into();
        op
    }

    /// Bytes that wait to be received, as `SIOCINQ` tells (6.7; TCP, UDP and raw sockets).
    ///
    /// Fails with `EOPNOTSUPP` on other sockets and older kernels, and with `EINVAL` on a
    /// listener.
    pub fn socket_inq(target: Target) -> Self {
        Self::socket_command(Kind::Command, target, uapi::SIOCINQ)
    }

    /// Bytes that have not left or, for TCP, have not been acknowledged, as `SIOCOUTQ` tells (6.7).
    ///
    /// Fails as [`Op::socket_inq`] does.
    pub fn socket_outq(target: Target) -> Self {
        Self::socket_command(Kind::Command, target, uapi::SIOCOUTQ)
    }

    /// Reads an option of level `SOL_SOCKET` into the free space of `value` (6.7); completes with
    /// the buffer, its length grown by the length of the option.
    ///
    /// Fails with `EOPNOTSUPP` for other levels, `ENOPROTOOPT` for an option that is not there.
    pub fn getsockopt(target: Target, level: i32, name: i32, mut value: Buf) -> Self {
        let mut op = Self::socket_command(Kind::Command, target, uapi::GETSOCKOPT);
        let (at, room) = kernel_space(&mut value);
        op.option(level, name, at as u64, room);
        op.payload = Some(Payload::Buf(value));
        op
    }

    /// Sets an option of any level (6.7); completes with the slice.
    pub fn setsockopt(target: Target, level: i32, name: i32, value: SharedBuf) -> Self {
        let mut op = Self::socket_command(Kind::Command, target, uapi::SETSOCKOPT);
        op.option(level, name, value.as_ptr() as u64, value.len());
        op.payload = Some(Payload::Shared(value));
        op
    }

    /// Has the kernel stamp what a socket sends from now on at these stages, by its own clock
    /// (`SO_TIMESTAMPING`), with keys and without the data, as [`Ring::push_tx_timestamps`] reports
    /// them. `room` carries the option to the kernel and comes back as a slice. A stage that is no
    /// [`TxStage`] of a software stamp is left out.
    pub fn stamp_sends(target: Target, stages: &[TxStage], mut room: Buf) -> Self {
        let mut flags = libc::SOF_TIMESTAMPING_SOFTWARE
            | libc::SOF_TIMESTAMPING_OPT_ID
            | libc::SOF_TIMESTAMPING_OPT_TSONLY;
        for stage in stages {
            flags |= match stage {
                TxStage::Scheduled => libc::SOF_TIMESTAMPING_TX_SCHED,
                TxStage::Sent => libc::SOF_TIMESTAMPING_TX_SOFTWARE,
                TxStage::Acknowledged => libc::SOF_TIMESTAMPING_TX_ACK,
                TxStage::Completed | TxStage::Other(_) => 0,
            };
        }
        room.clear();
        // A buffer too small for the option makes the kernel refuse it.
        let _ = room.extend_from_slice(&flags.to_ne_bytes());
        let option = libc::SO_TIMESTAMPING;
        Self::setsockopt(target, libc::SOL_SOCKET, option, SharedBuf::from(room))
    }

    /// Level and name of an option share the field of the address, its length that of the file
    /// index, and the address of its value stands where commands begin.
    fn option(&mut self, level: i32, name: i32, at: u64, len: usize) {
        self.sqe.addr = u64::from(name as u32) << 32 | u64::from(level as u32);
        // A negative length is refused with `EINVAL`, as in the system call.
        self.sqe.file_index = u32::try_from(len).unwrap_or(u32::MAX);
        self.sqe.addr3 = at;
    }

    /// The socket's own address (younger than 6.18), into a message of
    /// [`Ring::take_msg`]; completes with it ([`Msg::peer`]).
    ///
    /// Fails with `EOPNOTSUPP` on kernels without the command.
    pub fn getsockname(target: Target, msg: Box<Msg>) -> Self {
        Self::socket_name(target, msg, 0)
    }

    /// The address of the socket's peer (younger than 6.18); otherwise as [`Op::getsockname`].
    ///
    /// Fails with `ENOTCONN` where there is none.
    pub fn getpeername(target: Target, msg: Box<Msg>) -> Self {
        Self::socket_name(target, msg, 1)
    }

    fn socket_name(target: Target, mut msg: Box<Msg>, peer: u32) -> Self {
        let mut op = Self::socket_command(Kind::SocketName, target, uapi::GETSOCKNAME);
        let (address, len) = msg.prepare_name();
        op.sqe.addr = address as u64;
        op.sqe.addr3 = len as u64;
        op.sqe.file_index = peer;
        op.payload = Some(Payload::Msg(msg));
        op
    }

    /// Only for rings of 32-byte completions: on others the kernel refuses it.
    fn tx_timestamps(target: Target) -> Self {
        Self::socket_command(Kind::TxTimestamps, target, uapi::TX_TIMESTAMP)
    }
}

impl<E: EntrySize> Ring<E, Completion32> {
    /// Reports when data left, until cancelled (6.17): each completion carries one
    /// [`TxTimestamp`]. What is stamped is the socket's `SO_TIMESTAMPING`, which must contain
    /// `SOF_TIMESTAMPING_OPT_TSONLY`: reports that carry data are left to recvmsg(2).
    ///
    /// ```compile_fail
    /// let mut ring = zcn_uring::Ring::builder().build().unwrap();
    /// // A timestamp does not fit into a completion of 16 bytes.
    /// ring.push_tx_timestamps(zcn_uring::Target::Fd(3), 0).unwrap();
    /// ```
    ///
    /// # Errors
    /// As [`push`](Self::push). The operation ends with `EOPNOTSUPP` on older kernels.
    #[allow(clippy::result_large_err)] // The error carries the operation, as in `push`.
    pub fn push_tx_timestamps(&mut self, target: Target, token: u64) -> Result<OpId, PushError> {
        self.push(Op::tx_timestamps(target).token(token))
    }
}

impl<E: EntrySize> SharedRing<E, Completion32> {
    /// [`Ring::push_tx_timestamps`] with a handle, submitted.
    ///
    /// # Errors
    /// As [`Ring::push`].
    #[allow(clippy::result_large_err)] // The error carries the operation, as in `push`.
    pub fn tx_timestamps(
        &self,
        target: Target,
        token: u64,
    ) -> Result<Handle<E, Completion32>, PushError> {
        self.submit_async(Op::tx_timestamps(target).token(token))
    }
}

/// Where data was when it was stamped (`SCM_TSTAMP_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TxStage {
    /// It entered the queueing discipline (`SOF_TIMESTAMPING_TX_SCHED`).
    Scheduled,
    /// It was handed to the device, or left it (`SOF_TIMESTAMPING_TX_SOFTWARE`, `_HARDWARE`).
    Sent,
    /// The peer has acknowledged all of it (`SOF_TIMESTAMPING_TX_ACK`; TCP).
    Acknowledged,
    /// The device reported that it was done with it (`SOF_TIMESTAMPING_TX_COMPLETION`).
    Completed,
    /// A stage that is younger than this code.
    Other(u8),
}

/// When a datagram, or the last byte of a send on a stream, passed a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TxTimestamp {
    /// The key of `SOF_TIMESTAMPING_OPT_ID`: number of the datagram, or offset of the byte in the
    /// stream, from 0; wraps.
    pub key: u32,
    /// Which stage.
    pub stage: TxStage,
    /// The device's own clock stamped it, not the kernel's.
    pub hardware: bool,
    /// Time since 1970, or whatever the device's clock counts from.
    pub time: Duration,
}

impl Completion<[u64; 2]> {
    /// The timestamp in a completion of [`Ring::push_tx_timestamps`]; `None` in its final one and
    /// in those of other operations.
    pub fn tx_timestamp(&self) -> Option<TxTimestamp> {
        if self.kind() != Kind::TxTimestamps || !self.more() {
            return None;
        }
        let [seconds, nanoseconds] = self.extra();
        let stage = match (self.flags() >> uapi::TIMESTAMP_TYPE_SHIFT) as u8 {
            0 => TxStage::Sent,
            1 => TxStage::Scheduled,
            2 => TxStage::Acknowledged,
            3 => TxStage::Completed,
            other => TxStage::Other(other),
        };
        Some(TxTimestamp {
            // The whole word: a key is no errno, however large.
            key: self.raw_result() as u32,
            stage,
            hardware: self.flags() & uapi::CQE_F_TSTAMP_HW != 0,
            time: Duration::new(seconds, nanoseconds as u32 % 1_000_000_000),
        })
    }
}
