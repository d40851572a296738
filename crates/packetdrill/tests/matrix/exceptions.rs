//! Where the stack answers otherwise than the kernel, on purpose.

use super::Case;
use super::probe::{Acked, Seq, Stamped, URG};
use super::start::Start;
use crate::driver::{ACK, FIN, RST, SYN};

/// A difference that is meant, and the cases that may show it.
pub struct Exception {
    pub reason: &'static str,
    pub covers: fn(&Case) -> bool,
}

pub const ALL: [Exception; 8] = [
    Exception {
        reason: "urgent data is in line (RFC 6093); the kernel keeps its last byte apart",
        covers: |case| case.probe.flags & URG != 0 && case.probe.len > 0,
    },
    Exception {
        reason: "a timestamp one less than the last is old (RFC 7323 section 5.3, R1); the kernel \
                 lets it pass",
        covers: |case| case.stamps && case.probe.stamped == Stamped::By(-1),
    },
    Exception {
        reason: "what reaches beyond the window is cut off there (RFC 9293 section 3.10.7.4); the \
                 kernel takes it whole, or not at all if something waits to be read",
        covers: |case| matches!(case.probe.seq, Seq::Edge(-10..=0)),
    },
    Exception {
        reason: "data with an acknowledgement from before the connection is dropped (RFC 5961 \
                 section 5.2), also where the kernel's header prediction takes it",
        covers: |case| {
            let probe = case.probe;
            let old = match probe.ack {
                Acked::Next(by) => by < 0,
                Acked::Una(by) => by < 0,
                Acked::Zero => true,
            };
            let start = matches!(case.start, Start::Established | Start::EstablishedUnread);
            start && old && probe.seq == Seq::Next(0) && probe.len > 0
        },
    },
    Exception {
        reason: "the SYN of a simultaneous open must be acknowledged (RFC 9293 section 3.10.7.4); \
                 to the kernel any acknowledgement of less will do",
        covers: |case| {
            let less = matches!(case.probe.ack, Acked::Next(-1) | Acked::Una(0));
            case.start == Start::SynReceivedCrossed && less
        },
    },
    Exception {
        reason: "a reset in the window of a half-open connection, but not at its start, is \
                 challenged (RFC 5961 section 3.2)",
        covers: |case| case.start == Start::SynReceived && case.probe.flags & RST != 0,
    },
    Exception {
        reason: "the peer's data ends at its first FIN; the kernel takes a second one behind it, \
                 and tells of its number where data was said to follow",
        covers: |case| {
            let ended = matches!(
                case.start,
                Start::CloseWait | Start::CloseWaitUnread | Start::EstablishedHole
            );
            let second = case.probe.len > 0 || case.probe.seq == Seq::Next(10);
            ended && case.probe.flags & FIN != 0 && second
        },
    },
    Exception {
        reason: "data of a SYN-ACK that crosses ours is taken; the kernel asks for it again",
        covers: |case| {
            let syn_ack = case.probe.flags & (SYN | ACK) == SYN | ACK;
            let half = matches!(case.start, Start::SynReceived | Start::SynReceivedCrossed);
            half && syn_ack && case.probe.len > 0
        },
    },
];
