//! The options of a TCP header.

use super::acc_ecn::{AccEcn, AccEcnOrder};
use super::fast_open::FastOpenCookie;
use super::sack::{SackBlock, SackBlocks};
use crate::bytes::{be16, be32, put};
use crate::error::EmitError;
use crate::seq::SeqNum;

/// Most bytes of options.
pub const MAX_OPTIONS_LEN: usize = 40;

const END: u8 = 0;
const NOP: u8 = 1;
const MSS: u8 = 2;
const WINDOW_SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
const SACK: u8 = 5;
const TIMESTAMPS: u8 = 8;
const USER_TIMEOUT: u8 = 28;
const FAST_OPEN: u8 = 34;
pub(super) const ACC_ECN_0: u8 = 172;
pub(super) const ACC_ECN_1: u8 = 174;
/// Shared experimental kind (RFC 6994); fast open used it before it had its own.
const EXPERIMENT: u8 = 254;
const FAST_OPEN_EXPERIMENT: [u8; 2] = [0xf9, 0x89];

const TIMESTAMPS_LEN: usize = 10;

/// The timestamps option (RFC 7323, section 3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TcpTimestamps {
    /// TSval: the sender's clock.
    pub val: u32,
    /// TSecr: the peer's last TSval; counts only with the ACK flag.
    pub ecr: u32,
}

/// How options are put in order and padded. Receivers take any; fingerprints and scripts that
/// compare headers do not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OptionLayout {
    /// As Linux: on a SYN `MSS, SACK-permitted, timestamps, NOP, window scale` (`NOP NOP
    /// SACK-permitted` without timestamps); later `NOP NOP timestamps, NOP NOP SACK`.
    #[default]
    Linux,
    /// As FreeBSD: on a SYN `MSS, NOP, window scale, SACK-permitted, timestamps`; later
    /// `NOP NOP timestamps, NOP NOP SACK`; end-of-list and zeros at the end.
    FreeBsd,
}

/// The options that this crate knows. Others (MD5, authentication, multipath) are skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TcpOptions {
    /// Maximum segment size, raw; see [`Mss`](crate::Mss).
    pub mss: Option<u16>,
    /// Window shift, raw: a peer may send more than 14; see
    /// [`WindowScale`](crate::WindowScale).
    pub window_scale: Option<u8>,
    /// Whether SACK may be used.
    pub sack_permitted: bool,
    /// Timestamps.
    pub timestamps: Option<TcpTimestamps>,
    /// SACK blocks.
    pub sack: SackBlocks,
    /// Fast-open cookie or the request for one.
    pub fast_open: Option<FastOpenCookie>,
    /// Accurate ECN counters.
    pub acc_ecn: Option<AccEcn>,
    /// User timeout (RFC 5482), raw: granularity bit and 15 bits of seconds or minutes.
    pub user_timeout: Option<u16>,
}

impl TcpOptions {
    /// No options.
    pub const NONE: Self = Self {
        mss: None,
        window_scale: None,
        sack_permitted: false,
        timestamps: None,
        sack: SackBlocks::EMPTY,
        fast_open: None,
        acc_ecn: None,
        user_timeout: None,
    };

    /// The options of a header, in any order.
    ///
    /// As in Linux, a length below 2 or beyond the header ends the list and what came before
    /// counts; an option of a known kind with a wrong length is skipped. Of options that come
    /// twice the last one counts.
    #[inline]
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        if let Some(timestamps) = aligned_timestamps(bytes) {
            return Self {
                timestamps: Some(timestamps),
                ..Self::NONE
            };
        }
        Self::parse_any(bytes)
    }

    fn parse_any(mut rest: &[u8]) -> Self {
        let mut options = Self::NONE;
        while let [kind, tail @ ..] = rest {
            match *kind {
                END => break,
                NOP => {
                    rest = tail;
                    continue;
                }
                _ => {}
            }
            let len = tail.first().copied().map_or(0, usize::from);
            let Some((option, next)) = rest.split_at_checked(len).filter(|_| len >= 2) else {
                break;
            };
            options.take(*kind, &option[2..]);
            rest = next;
        }
        options
    }

    /// Notes one option.
    fn take(&mut self, kind: u8, data: &[u8]) {
        match (kind, data) {
            (MSS, [_, _]) => self.mss = Some(be16(data, 0)),
            (WINDOW_SCALE, [shift]) => self.window_scale = Some(*shift),
            (SACK_PERMITTED, []) => self.sack_permitted = true,
            (SACK, _) => {
                let (blocks, rest) = data.as_chunks::<8>();
                if rest.is_empty() {
                    self.sack = blocks
                        .iter()
                        .map(|block| SackBlock::new(SeqNum(be32(block, 0)), SeqNum(be32(block, 4))))
                        .collect();
                }
            }
            (TIMESTAMPS, [_, _, _, _, _, _, _, _]) => {
                self.timestamps = Some(TcpTimestamps {
                    val: be32(data, 0),
                    ecr: be32(data, 4),
                });
            }
            (USER_TIMEOUT, [_, _]) => self.user_timeout = Some(be16(data, 0)),
            (FAST_OPEN, cookie) => {
                self.fast_open = FastOpenCookie::new(cookie).or(self.fast_open);
            }
            (EXPERIMENT, [a, b, cookie @ ..]) if [*a, *b] == FAST_OPEN_EXPERIMENT => {
                let cookie = FastOpenCookie::new(cookie).map(|cookie| cookie.in_experiment(true));
                self.fast_open = cookie.or(self.fast_open);
            }
            (ACC_ECN_0, counters) => {
                self.acc_ecn = Some(AccEcn::parse(AccEcnOrder::Zero, counters));
            }
            (ACC_ECN_1, counters) => {
                self.acc_ecn = Some(AccEcn::parse(AccEcnOrder::One, counters));
            }
            _ => {}
        }
    }

    /// Bytes of the options in a header: a multiple of 4. More than 40 do not fit, and
    /// [`TcpRepr::emit`](super::TcpRepr::emit) refuses them.
    #[inline]
    #[must_use]
    pub fn len(&self, layout: OptionLayout) -> usize {
        let mut count = Count(0);
        self.write(layout, &mut count);
        count.0
    }

    /// Whether there are none.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::NONE
    }

    /// Writes the options to `bytes`, which is [`len`](Self::len) long.
    ///
    /// # Errors
    ///
    /// [`EmitError::BufferTooSmall`] if it is shorter.
    #[inline]
    pub(super) fn emit(&self, layout: OptionLayout, bytes: &mut [u8]) -> Result<(), EmitError> {
        let mut writer = Writer { bytes, at: 0 };
        self.write(layout, &mut writer);
        if writer.at > writer.bytes.len() {
            return Err(EmitError::BufferTooSmall);
        }
        Ok(())
    }

    #[inline]
    fn write(&self, layout: OptionLayout, sink: &mut impl Sink) {
        if self.has_timestamps_only() {
            // Nearly every segment of an open connection; the same in every layout.
            if let Some(timestamps) = self.timestamps {
                sink.put([NOP, NOP]);
                sink.put_timestamps(timestamps);
            }
            return;
        }
        match layout {
            OptionLayout::Linux => self.write_linux(sink),
            OptionLayout::FreeBsd => self.write_freebsd(sink),
        }
    }

    /// Whether there is nothing but timestamps, or nothing.
    #[inline]
    #[must_use]
    pub fn has_timestamps_only(&self) -> bool {
        !self.sack_permitted
            && self.sack.is_empty()
            && self.mss.is_none()
            && self.window_scale.is_none()
            && self.fast_open.is_none()
            && self.acc_ecn.is_none()
            && self.user_timeout.is_none()
    }

    fn write_linux(&self, sink: &mut impl Sink) {
        if let Some(mss) = self.mss {
            sink.put_mss(mss);
        }
        if let Some(timestamps) = self.timestamps {
            // SACK-permitted takes the place of the two NOPs.
            sink.put(if self.sack_permitted {
                [SACK_PERMITTED, 2]
            } else {
                [NOP, NOP]
            });
            sink.put_timestamps(timestamps);
        }
        // Counters that end inside a word take the place of NOPs of the next option.
        if let Some(counters) = self.acc_ecn {
            sink.put_acc_ecn(counters);
        }
        if self.sack_permitted && self.timestamps.is_none() {
            sink.pad_to(4, 2);
            sink.put([SACK_PERMITTED, 2]);
        }
        if let Some(shift) = self.window_scale {
            sink.pad_to(4, 1);
            sink.put([WINDOW_SCALE, 3, shift]);
        }
        if let Some(timeout) = self.user_timeout {
            sink.put_user_timeout(timeout);
        }
        if !self.sack.is_empty() {
            sink.pad_to(4, 2);
            sink.put_sack(&self.sack);
        }
        if let Some(cookie) = self.fast_open {
            sink.pad_to(4, 0);
            sink.put_fast_open(cookie);
        }
        sink.pad_to(4, 0);
    }

    fn write_freebsd(&self, sink: &mut impl Sink) {
        if let Some(mss) = self.mss {
            sink.put_mss(mss);
        }
        if let Some(shift) = self.window_scale {
            sink.put([NOP, WINDOW_SCALE, 3, shift]);
        }
        if self.sack_permitted {
            sink.put([SACK_PERMITTED, 2]);
        }
        if let Some(timestamps) = self.timestamps {
            sink.pad_to(4, 2);
            sink.put_timestamps(timestamps);
        }
        if let Some(timeout) = self.user_timeout {
            sink.put_user_timeout(timeout);
        }
        if let Some(counters) = self.acc_ecn {
            sink.put_acc_ecn(counters);
        }
        if !self.sack.is_empty() {
            sink.pad_to(4, 2);
            sink.put_sack(&self.sack);
        }
        if let Some(cookie) = self.fast_open {
            sink.put_fast_open(cookie);
        }
        while !sink.at().is_multiple_of(4) {
            sink.put([END]);
        }
    }
}

/// The layout of nearly every segment of an open connection, `NOP NOP timestamps`, in one
/// comparison (RFC 7323, appendix A).
#[inline]
fn aligned_timestamps(bytes: &[u8]) -> Option<TcpTimestamps> {
    let bytes: &[u8; 12] = bytes.try_into().ok()?;
    if bytes[..4] != [NOP, NOP, TIMESTAMPS, TIMESTAMPS_LEN as u8] {
        return None;
    }
    Some(TcpTimestamps {
        val: be32(bytes, 4),
        ecr: be32(bytes, 8),
    })
}

/// Where options go: bytes, or only their count.
trait Sink {
    fn at(&self) -> usize;

    fn put<const N: usize>(&mut self, bytes: [u8; N]);

    /// NOPs until the position is `remainder` beyond a multiple of `unit`.
    #[inline]
    fn pad_to(&mut self, unit: usize, remainder: usize) {
        for _ in 0..(unit + remainder - self.at() % unit) % unit {
            self.put([NOP]);
        }
    }

    #[inline]
    fn put_mss(&mut self, mss: u16) {
        let [high, low] = mss.to_be_bytes();
        self.put([MSS, 4, high, low]);
    }

    #[inline]
    fn put_timestamps(&mut self, timestamps: TcpTimestamps) {
        self.put([TIMESTAMPS, TIMESTAMPS_LEN as u8]);
        self.put(timestamps.val.to_be_bytes());
        self.put(timestamps.ecr.to_be_bytes());
    }

    fn put_user_timeout(&mut self, timeout: u16) {
        let [high, low] = timeout.to_be_bytes();
        self.put([USER_TIMEOUT, 4, high, low]);
    }

    fn put_acc_ecn(&mut self, counters: AccEcn) {
        self.put([counters.kind(), counters.len() as u8]);
        for counter in counters.counters() {
            let [_, a, b, c] = counter.to_be_bytes();
            self.put([a, b, c]);
        }
    }

    fn put_sack(&mut self, blocks: &SackBlocks) {
        self.put([SACK, (2 + blocks.len() * 8) as u8]);
        for block in blocks.iter() {
            self.put(block.left.0.to_be_bytes());
            self.put(block.right.0.to_be_bytes());
        }
    }

    fn put_fast_open(&mut self, cookie: FastOpenCookie) {
        let len = cookie.as_bytes().len() as u8;
        if cookie.is_experimental() {
            let [a, b] = FAST_OPEN_EXPERIMENT;
            self.put([EXPERIMENT, 4 + len, a, b]);
        } else {
            self.put([FAST_OPEN, 2 + len]);
        }
        for &byte in cookie.as_bytes() {
            self.put([byte]);
        }
    }
}

/// Counts.
struct Count(usize);

impl Sink for Count {
    #[inline]
    fn at(&self) -> usize {
        self.0
    }

    #[inline]
    fn put<const N: usize>(&mut self, _: [u8; N]) {
        self.0 += N;
    }
}

/// Writes; what does not fit is counted only.
struct Writer<'a> {
    bytes: &'a mut [u8],
    at: usize,
}

impl Sink for Writer<'_> {
    #[inline]
    fn at(&self) -> usize {
        self.at
    }

    #[inline]
    fn put<const N: usize>(&mut self, field: [u8; N]) {
        if let Some(place) = self.bytes.get_mut(self.at..self.at + N) {
            put(place, 0, field);
        }
        self.at += N;
    }
}
