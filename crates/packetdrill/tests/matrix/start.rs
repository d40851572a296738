//! The states that a segment can meet, and the ways there.

use super::connection::Connection;
use super::subject::{CLOSED, Subject};
use crate::driver::{ACK, FIN, OPTIONS, PSH, SYN};

/// Where a connection stands when the segment arrives; the names of the RFC's states, and what is
/// the matter beside that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Nobody listens.
    Closed,
    Listen,
    SynSent,
    /// After a SYN for a listener.
    SynReceived,
    /// Both sent a SYN.
    SynReceivedCrossed,
    /// Nothing was sent.
    Idle,
    /// The same, and we connected.
    IdleActive,
    /// Ten bytes were sent, and five of them acknowledged.
    Established,
    /// Ten bytes wait to be read.
    EstablishedUnread,
    /// Ten bytes came behind a hole of ten.
    EstablishedHole,
    /// `SHUT_RD`.
    EstablishedDeaf,
    /// `SHUT_WR`; ten bytes and the FIN were sent and five acknowledged.
    FinWait1,
    /// The same, closed.
    FinWait1Orphan,
    FinWait2,
    FinWait2Orphan,
    Closing,
    ClosingOrphan,
    /// Ten bytes were sent, and five of them acknowledged.
    CloseWait,
    /// Ten bytes and the FIN wait to be read.
    CloseWaitUnread,
    LastAck,
    TimeWait,
    /// By way of `Closing`.
    TimeWaitCrossed,
}

impl Start {
    pub const ALL: [Self; 22] = [
        Self::Closed,
        Self::Listen,
        Self::SynSent,
        Self::SynReceived,
        Self::SynReceivedCrossed,
        Self::Idle,
        Self::IdleActive,
        Self::Established,
        Self::EstablishedUnread,
        Self::EstablishedHole,
        Self::EstablishedDeaf,
        Self::FinWait1,
        Self::FinWait1Orphan,
        Self::FinWait2,
        Self::FinWait2Orphan,
        Self::Closing,
        Self::ClosingOrphan,
        Self::CloseWait,
        Self::CloseWaitUnread,
        Self::LastAck,
        Self::TimeWait,
        Self::TimeWaitCrossed,
    ];

    /// Whether both have chosen if there are timestamps.
    pub fn is_synchronised(self) -> bool {
        !matches!(self, Self::Closed | Self::Listen | Self::SynSent)
    }

    /// A new connection in this state.
    pub fn reach(self, subject: &mut Subject<'_>, stamps: bool) -> Connection {
        let mut it = Connection::new(subject.port(), stamps);
        match self {
            Self::Closed => it.local = CLOSED,
            Self::Listen => {}
            Self::SynSent => connect(&mut it, subject),
            Self::SynReceived => greet(&mut it, subject),
            Self::SynReceivedCrossed => {
                connect(&mut it, subject);
                greet(&mut it, subject);
            }
            Self::IdleActive => {
                connect(&mut it, subject);
                let mut answer = it.segment(SYN | ACK, 0, it.snd_nxt);
                answer.options = syn_options(&it);
                subject.inject(&answer);
                (it.rcv_nxt, it.snd_una) = (1, it.snd_nxt);
            }
            _ => {
                greet(&mut it, subject);
                let all = it.snd_nxt;
                acknowledge(&mut it, subject, all);
                subject.accept_all();
                it.fd = subject.accepted(it.port);
                assert!(it.fd.is_some(), "accepted");
                self.open(&mut it, subject);
            }
        }
        it
    }

    /// From ESTABLISHED on.
    fn open(self, it: &mut Connection, subject: &mut Subject<'_>) {
        match self {
            Self::EstablishedUnread | Self::CloseWaitUnread => {
                say(it, subject, 0);
                it.rcv_nxt = it.rcv_nxt.wrapping_add(10);
            }
            Self::EstablishedHole => say(it, subject, 10),
            Self::EstablishedDeaf => shut(it, subject, libc::SHUT_RD),
            Self::Established | Self::FinWait1 | Self::FinWait1Orphan | Self::CloseWait => {
                let fd = it.fd.expect("a connection");
                assert_eq!(subject.tool.write(fd, &[7; 10]), Ok(10));
                subject.sync();
                it.learn(subject);
                acknowledge(it, subject, it.snd_nxt.wrapping_sub(5));
            }
            _ => {}
        }
        match self {
            Self::FinWait1 | Self::FinWait2 | Self::Closing => {
                shut(it, subject, libc::SHUT_WR);
            }
            Self::FinWait1Orphan | Self::FinWait2Orphan | Self::ClosingOrphan => close(it, subject),
            Self::TimeWait | Self::TimeWaitCrossed => close(it, subject),
            _ => {}
        }
        match self {
            Self::FinWait2 | Self::FinWait2Orphan | Self::TimeWait => {
                acknowledge(it, subject, it.snd_nxt);
            }
            _ => {}
        }
        match self {
            Self::Closing | Self::ClosingOrphan | Self::TimeWaitCrossed => {
                finish(it, subject, it.snd_nxt.wrapping_sub(1));
            }
            Self::CloseWait | Self::CloseWaitUnread | Self::LastAck | Self::TimeWait => {
                finish(it, subject, it.snd_una);
            }
            _ => {}
        }
        match self {
            Self::LastAck => close(it, subject),
            Self::TimeWaitCrossed => acknowledge(it, subject, it.snd_nxt),
            _ => {}
        }
    }
}

fn connect(it: &mut Connection, subject: &mut Subject<'_>) {
    let tool = subject.tool;
    let fd = tool.socket(false);
    tool.nonblocking(fd);
    let to = format!("192.0.2.1:{}", it.port);
    assert_eq!(tool.connect(fd, &to), Err(libc::EINPROGRESS));
    it.fd = Some(fd);
    subject.sync();
    it.learn(subject);
}

/// The peer's SYN, which counts from 0 on.
fn greet(it: &mut Connection, subject: &mut Subject<'_>) {
    let mut syn = it.segment(SYN, 0, 0);
    syn.options = syn_options(it);
    subject.inject(&syn);
    it.rcv_nxt = 1;
    subject.sync();
    it.learn(subject);
}

/// What a SYN of the peer's offers.
pub fn syn_options(it: &Connection) -> Vec<u8> {
    if !it.stamps {
        return OPTIONS.to_vec();
    }
    let mut options = vec![2, 4, 5, 180, 4, 2, 8, 10];
    options.extend(it.stamp.to_be_bytes());
    options.extend(it.echo.to_be_bytes());
    options.extend([1, 3, 3, 7]);
    options
}

fn acknowledge(it: &mut Connection, subject: &mut Subject<'_>, ack: u32) {
    it.snd_una = ack;
    subject.inject(&it.segment(ACK, it.rcv_nxt, ack));
    subject.sync();
    it.learn(subject);
}

/// Ten bytes, so far beyond what is expected.
fn say(it: &mut Connection, subject: &mut Subject<'_>, beyond: u32) {
    let segment = it.segment(ACK | PSH, it.rcv_nxt.wrapping_add(beyond), it.snd_una);
    subject.inject(&segment.payload(&[1; 10]));
    subject.sync();
    it.learn(subject);
}

/// The peer's FIN.
fn finish(it: &mut Connection, subject: &mut Subject<'_>, ack: u32) {
    subject.inject(&it.segment(FIN | ACK, it.rcv_nxt, ack));
    it.rcv_nxt = it.rcv_nxt.wrapping_add(1);
    subject.sync();
    it.learn(subject);
}

fn shut(it: &mut Connection, subject: &mut Subject<'_>, how: i32) {
    let fd = it.fd.expect("a connection");
    assert_eq!(subject.tool.shutdown(fd, how), Ok(0));
    subject.sync();
    it.learn(subject);
}

fn close(it: &mut Connection, subject: &mut Subject<'_>) {
    let fd = it.fd.take().expect("a connection");
    assert_eq!(subject.tool.close(fd), Ok(0));
    subject.sync();
    it.learn(subject);
}
