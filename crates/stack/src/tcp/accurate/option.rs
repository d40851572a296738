//! The AccECN option finds its place among the others (RFC 9768 section 3.2.3.3).

use zcn_wire::tcp::MAX_OPTIONS_LEN;
use zcn_wire::{AccEcn, AccEcnOrder, OptionLayout, TcpOptions};

use crate::tcp::sender::ECT_BYTES_BEGIN;

/// What the option takes of every segment of data, with its padding.
pub(crate) const RESERVED: u32 = 12;

/// SACK blocks that are never given up for the option.
const SACK_BLOCKS_MIN: usize = 2;

/// Adds the option with as many fields as there is room for in `room` more bytes, at least
/// `least`; for those SACK blocks but two make room. Answers whether it did. `received`: bytes as
/// ECT(1), ECT(0) and CE.
pub(crate) fn fit(options: &mut TcpOptions, received: [u32; 3], least: usize, room: usize) -> bool {
    let [ect1, ect0, ce] = received;
    // Fields at the end may be left out, and ECT(0) is what marks begin from: the order is 1.
    let fields = [
        ect1.wrapping_add(ECT_BYTES_BEGIN),
        ce,
        ect0.wrapping_add(ECT_BYTES_BEGIN),
    ];
    let before = length(options);
    let blocks = options.sack;
    loop {
        for count in (least..=fields.len()).rev() {
            options.acc_ecn = AccEcn::new(AccEcnOrder::One, &fields[..count]);
            let len = length(options);
            if len <= MAX_OPTIONS_LEN && len.saturating_sub(before) <= room {
                return true;
            }
        }
        let fewer = options.sack.len().saturating_sub(1);
        if least == 0 || fewer < SACK_BLOCKS_MIN {
            options.acc_ecn = None;
            options.sack = blocks;
            return false;
        }
        options.sack.truncate(fewer);
    }
}

/// Bytes of options, in whichever order the IP layer writes them.
fn length(options: &TcpOptions) -> usize {
    options
        .len(OptionLayout::Linux)
        .max(options.len(OptionLayout::FreeBsd))
}

#[cfg(test)]
mod tests {
    use super::*;
    use zcn_wire::{FastOpenCookie, SackBlock, SeqNum, TcpTimestamps};

    fn with(timestamps: bool, blocks: u32) -> TcpOptions {
        let mut options = TcpOptions::NONE;
        options.timestamps = timestamps.then(TcpTimestamps::default);
        for at in 0..blocks {
            let left = SeqNum(at * 10);
            options.sack.push(SackBlock::new(left, left + 5_u32));
        }
        options
    }

    fn fields(options: &TcpOptions) -> Option<usize> {
        options.acc_ecn.map(|option| option.counters().len())
    }

    #[test]
    fn the_option_takes_the_room_that_sack_leaves() {
        // Blocks, fields that changed, what leaves: fields and blocks.
        for (timestamps, blocks, least, expected) in [
            (true, 0, 0, (Some(3), 0)),
            (true, 1, 3, (Some(3), 1)),
            (true, 2, 0, (Some(2), 2)),
            (true, 2, 3, (None, 2)),
            (true, 3, 0, (Some(0), 3)),
            (true, 3, 2, (Some(2), 2)),
            (true, 3, 3, (None, 3)),
            (false, 3, 3, (Some(3), 3)),
            (false, 4, 3, (Some(3), 3)),
            (false, 4, 0, (Some(1), 4)),
        ] {
            let mut options = with(timestamps, blocks);
            let room = MAX_OPTIONS_LEN;
            let fits = fit(&mut options, [0; 3], least, room);
            assert_eq!(
                (fields(&options), options.sack.len()),
                expected,
                "timestamps {timestamps}, {blocks} blocks, at least {least}"
            );
            assert_eq!(fits, options.acc_ecn.is_some());
            assert!(length(&options) <= MAX_OPTIONS_LEN);
        }
    }

    #[test]
    fn data_keeps_its_place() {
        for (room, expected) in [(12, Some(3)), (11, Some(2)), (7, Some(0)), (3, None)] {
            let mut options = with(true, 0);
            let fits = fit(&mut options, [7; 3], 0, room);
            assert_eq!(fields(&options), expected, "{room}");
            assert_eq!(fits, expected.is_some());
        }
    }

    #[test]
    fn a_syn_ack_with_everything_has_room_for_two_fields() {
        let mut options = TcpOptions {
            mss: Some(1460),
            window_scale: Some(8),
            sack_permitted: true,
            timestamps: Some(TcpTimestamps::default()),
            ..TcpOptions::NONE
        };
        let plain = options;
        assert!(fit(&mut options, [0; 3], 0, MAX_OPTIONS_LEN));
        assert_eq!(fields(&options), Some(3));
        options = plain;
        options.fast_open = FastOpenCookie::new(&[7; 8]);
        fit(&mut options, [0; 3], 0, MAX_OPTIONS_LEN);
        assert!(length(&options) <= MAX_OPTIONS_LEN);
        assert!(fields(&options).is_some());
    }
}
