//! The acknowledgment of one transmission in calm: by far the most frequent one.

use super::Sender;
use super::ack::{Ack, AckOutcome};
use super::recovery::CaState;
use super::rtt::micros;
use super::tlp::Probe;
use super::transmit::Demand;
use crate::tcp::congestion::AckSample;
use crate::time::Instant;

impl Sender {
    /// Takes in the acknowledgment of exactly the oldest transmission, sent once, while nothing
    /// is SACKed, lost, sent again or probed. What [`handle_ack`](Self::handle_ack) comes to in
    /// that case is known beforehand: no duplicate, no loss, no state to go through, and one
    /// record that all measurements are of. `None`, and nothing changed, in every other case.
    #[inline]
    pub(super) fn handle_plain_ack(&mut self, now: Instant, ack: &Ack<'_>) -> Option<AckOutcome> {
        let calm = self.state == CaState::Open
            && self.probe == Probe::None
            && self.sack
            && ack.sack.is_empty()
            && !ack.ece;
        if !calm {
            return None;
        }
        let record = self.records.take_plain_front(ack.ack)?;
        let largest = self.max_window;
        let window_updated = self.update_window(ack);
        let mss = self.window.mss;

        let reordered = self.rack.note_order(&record, mss);
        let rtt = now.saturating_duration_since(record.sent_at);
        let rtt_us = micros(rtt);
        self.rack.deliver_once(&record, rtt_us);
        let mut candidate = None;
        self.episode.rate.deliver(&record, now, &mut candidate);
        self.episode.delivered_segments = self
            .episode
            .delivered_segments
            .wrapping_add(record.segments());
        self.episode.reorderings += u32::from(reordered);
        self.snd_una = ack.ack;
        self.retransmits = 0;
        self.demand = Demand::None;
        self.rtt.note_min_us(rtt_us, now);
        self.rtt.sample_us(rtt_us, self.snd_una, self.snd_nxt);
        self.rack.on_dsack(false, self.snd_una, self.snd_nxt);
        self.restart_timer_on_progress(now);

        let min_rtt_us = self.rtt.min_rtt_us();
        let rate = self.episode.rate.sample(candidate, min_rtt_us, now);
        let sample = AckSample {
            now,
            acked: record.len,
            delivered: record.len,
            lost: 0,
            in_flight: self.records.pipe(),
            snd_una: self.snd_una,
            snd_nxt: self.snd_nxt,
            rtt: Some(rtt),
            srtt: self.rtt.srtt(),
            min_rtt: self.rtt.min_rtt(),
            may_grow: true,
            cwnd_limited: self.usage.is_limited(&self.window),
            rate,
        };
        self.congestion.on_ack(&mut self.window, &sample);
        self.check();
        Some(AckOutcome {
            acked: record.len,
            window_updated,
            window_is_largest: self.max_window > largest,
            rtt: Some(rtt),
            ..AckOutcome::default()
        })
    }
}
