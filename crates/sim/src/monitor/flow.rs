//! One direction of a connection, as the wire sees it: what its sender may still send.

use zcn_wire::SeqNum;

use super::ranges::Ranges;
use super::segment::Segment;
use crate::link::NodeId;
use crate::violation::Invariant;

/// What was wrong with a segment.
type Fault = (Invariant, String);

/// Half of all numbers: offsets beyond are numbers before the first.
const HALF: u32 = 1 << 31;

/// What a SYN of the peer said.
#[derive(Clone, Copy, Debug, Default)]
struct Syn {
    seq: SeqNum,
    /// Bytes of its data.
    len: u32,
    window: u32,
    scale: Option<u8>,
}

/// A SYN-ACK that answered a SYN before another one did: a cookie is remembered nowhere, so
/// each SYN of a peer may get an answer with a number of its own, and any of them is good.
#[derive(Clone, Copy, Debug)]
struct Offer {
    iss: SeqNum,
    scale: Option<u8>,
    /// The right edge that came with its acknowledgement.
    edge: Option<SeqNum>,
}

/// What a host has sent to a peer, and what has reached it from there.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) node: NodeId,
    /// Our initial sequence number; `None` before a SYN of ours.
    iss: Option<SeqNum>,
    /// What we answered the same SYN with before.
    offers: Vec<Offer>,
    /// The shift count that our SYN offered.
    scale: Option<u8>,
    /// The number behind the highest one we sent.
    nxt: SeqNum,
    /// The number behind our FIN.
    fin: Option<SeqNum>,
    /// Whether the peer has acknowledged our FIN.
    over: bool,
    /// Whether we reset the connection.
    reset: bool,
    /// The highest right edge that we told.
    edge: Option<SeqNum>,
    ack: Option<SeqNum>,
    /// The initial sequence number of the peer, once we acknowledged one.
    irs: Option<SeqNum>,
    /// The SYNs that reached us, newest last.
    syns: Vec<Syn>,
    /// The one we acknowledged.
    syn: Syn,
    /// What reached us before we acknowledged a SYN.
    early: Vec<(SeqNum, SeqNum)>,
    /// What reached us, as offsets from `irs`.
    arrived: Ranges,
    /// The highest right edge that reached us.
    peer_edge: Option<SeqNum>,
    /// Whether the peer has acknowledged our SYN.
    established: bool,
}

impl Flow {
    pub(super) fn new(node: NodeId) -> Self {
        Self {
            node,
            iss: None,
            offers: Vec::new(),
            scale: None,
            nxt: SeqNum(0),
            fin: None,
            over: false,
            reset: false,
            edge: None,
            ack: None,
            irs: None,
            syns: Vec::new(),
            syn: Syn::default(),
            early: Vec::new(),
            arrived: Ranges::default(),
            peer_edge: None,
            established: false,
        }
    }

    /// A segment leaves.
    pub(super) fn sent(&mut self, segment: &Segment) -> Result<(), Fault> {
        if segment.flags.rst() {
            let own = self.iss.is_some() && segment.seq == self.nxt;
            // An answer to a stray segment of before takes its numbers from there.
            self.reset |= own && self.established && self.irs.is_some();
            return Ok(());
        }
        if segment.flags.syn() {
            self.syn_sent(segment);
        } else {
            self.take_offer(segment);
        }
        let Some(iss) = self.iss else {
            if segment.len == 0 && !segment.flags.fin() {
                // SYN and SYN-ACK waited for the neighbour's address, and of what waits there
                // the newest stays: an answer to the peer's SYN that came again.
                return Ok(());
            }
            let fault = "before any SYN".to_owned();
            return Err((Invariant::ResetLast, fault));
        };
        let ended = self.reset || self.over;
        if ended && segment.seq == iss + 1_u32 && segment.ack.is_some() {
            // A segment of before whose SYN cookie is still good opens the connection again,
            // as cookies do (RFC 4987 section 3.6).
            let (scale, syn, irs) = (self.scale, self.syn, self.irs);
            let arrived = std::mem::take(&mut self.arrived);
            *self = Self::new(self.node);
            (self.scale, self.syn, self.irs, self.arrived) = (scale, syn, irs, arrived);
            (self.iss, self.nxt, self.established) = (Some(iss), segment.seq, true);
        }
        if self.reset {
            return Err((Invariant::ResetLast, "after a reset".to_owned()));
        }
        self.numbers(segment, iss)?;
        self.acknowledgment(segment)
    }

    /// Our SYN begins a connection, or says again what it said: also late, if it waited for
    /// the neighbour's address or answers a duplicate.
    fn syn_sent(&mut self, segment: &Segment) {
        let base = segment.ack.map(|ack| ack - 1_u32);
        let same_peer = match (base, self.irs) {
            // The data of its SYN may be acknowledged, too (RFC 7413).
            (Some(base), Some(irs)) => base.distance(irs) <= self.syn.len,
            _ => true,
        };
        let ended = self.reset || self.over;
        if !same_peer || self.iss != Some(segment.seq) || ended {
            let syns = std::mem::take(&mut self.syns);
            let mut offers = std::mem::take(&mut self.offers);
            match self.iss {
                Some(iss) if same_peer && base.is_some() && !ended => {
                    let scale = self.scale;
                    offers.push(Offer {
                        iss,
                        scale,
                        edge: None,
                    });
                }
                _ => offers.clear(),
            }
            *self = Self::new(self.node);
            (self.syns, self.offers) = (syns, offers);
            self.iss = Some(segment.seq);
            self.nxt = segment.seq;
        }
        self.scale = segment.options.window_scale.map(|scale| scale.min(14));
    }

    /// Our first segment after the handshake says which of our answers the peer took.
    fn take_offer(&mut self, segment: &Segment) {
        let taken = self
            .offers
            .iter()
            .find(|offer| segment.seq == offer.iss + 1_u32);
        if let Some(&Offer { iss, scale, edge }) = taken
            && !self.established
        {
            (self.iss, self.nxt, self.peer_edge) = (Some(iss), segment.seq, edge);
            (self.scale, self.established) = (scale, true);
        }
    }

    /// The numbers that the segment takes.
    fn numbers(&mut self, segment: &Segment, iss: SeqNum) -> Result<(), Fault> {
        let end = segment.end();
        if segment.seq.distance(iss) >= HALF {
            let fault = format!("numbers before the first, {}", iss.0);
            return Err((Invariant::FinLast, fault));
        }
        if segment.flags.fin() {
            let first = self.fin.is_none();
            if self.fin.is_some_and(|fin| fin != end) || first && self.nxt.after(end) {
                return Err((Invariant::FinLast, "FIN before the end".to_owned()));
            }
            self.fin = Some(end);
        } else if self.fin.is_some_and(|fin| end.after_eq(fin)) && segment.len > 0 {
            return Err((Invariant::FinLast, "data in the place of FIN".to_owned()));
        }
        if !end.after(self.nxt) {
            return Ok(());
        }
        let data_end = segment.seq + segment.len + u32::from(segment.flags.syn());
        // A SYN has data before any window is offered (RFC 7413 section 4.2).
        let early = segment.flags.syn() && segment.ack.is_none();
        if segment.len > 0 && !early {
            let from_syn = iss + 1_u32 + self.syn.window;
            let edge = self.peer_edge.map_or(from_syn, |edge| edge.max(from_syn));
            // A probe of a closed window is one byte (RFC 9293 section 3.8.6.1).
            let allowed = edge + u32::from(segment.len == 1);
            if data_end.after(allowed) {
                let fault = format!(
                    "{} bytes beyond the window, whose edge is {}",
                    data_end.distance(edge),
                    edge.0
                );
                return Err((Invariant::WindowObeyed, fault));
            }
        }
        self.nxt = end;
        Ok(())
    }

    /// What the segment tells of the other direction.
    fn acknowledgment(&mut self, segment: &Segment) -> Result<(), Fault> {
        let Some(ack) = segment.ack else {
            return Ok(());
        };
        let irs = self.resolve(ack)?;
        let acknowledged = ack.distance(irs);
        if acknowledged > self.arrived.contiguous() {
            let fault = format!(
                "acknowledges {acknowledged} from {}, but only {} arrived",
                irs.0,
                self.arrived.contiguous()
            );
            return Err((Invariant::Acknowledgment, fault));
        }
        if self.ack.is_some_and(|last| ack.before(last)) {
            return Err((Invariant::Acknowledgment, "goes back".to_owned()));
        }
        self.ack = Some(ack);
        for block in segment.options.sack.iter() {
            let (left, right) = (block.left.distance(irs), block.right.distance(irs));
            if left >= right || !self.arrived.contains(left, right) {
                let fault = format!("SACK of {left} to {right} from {}, not arrived", irs.0);
                return Err((Invariant::Sack, fault));
            }
        }
        let shift = match (segment.flags.syn(), self.scale, self.syn.scale) {
            (false, Some(scale), Some(_)) => scale,
            _ => 0,
        };
        let edge = ack + (u32::from(segment.window) << shift);
        // A SYN-ACK sent again says what it said first; an answer in between was in whole
        // units of the scale, which may have been a part of one more.
        let unit = match self.scale.filter(|_| segment.flags.syn()) {
            Some(scale) => 1 << scale,
            None => 1,
        };
        if let Some(told) = self.edge
            && edge.before(told)
            && told.distance(edge) >= unit
        {
            let fault = format!("the edge moves back by {}", told.distance(edge));
            return Err((Invariant::EdgeKept, fault));
        }
        self.edge = Some(self.edge.map_or(edge, |told| told.max(edge)));
        Ok(())
    }

    /// The initial sequence number of the peer: the SYN that arrived and that fits best.
    fn resolve(&mut self, ack: SeqNum) -> Result<SeqNum, Fault> {
        if let Some(irs) = self.irs {
            return Ok(irs);
        }
        let fitting = self
            .syns
            .iter()
            .copied()
            .filter(|syn| (1..HALF).contains(&ack.distance(syn.seq)))
            .min_by_key(|syn| ack.distance(syn.seq));
        let Some(syn) = fitting else {
            let fault = "acknowledges, but no SYN arrived".to_owned();
            return Err((Invariant::Acknowledgment, fault));
        };
        let irs = syn.seq;
        (self.syn, self.irs) = (syn, Some(irs));
        self.arrived.add(0, 1 + syn.len);
        for (start, end) in std::mem::take(&mut self.early) {
            self.arrive(irs, start, end);
        }
        Ok(irs)
    }

    fn arrive(&mut self, irs: SeqNum, start: SeqNum, end: SeqNum) {
        let (start, end) = (start.distance(irs), end.distance(irs));
        if end < HALF {
            self.arrived.add(if start < HALF { start } else { 0 }, end);
        }
    }

    /// A segment of the peer reaches us.
    pub(super) fn delivered(&mut self, segment: &Segment) {
        if segment.flags.rst() {
            return;
        }
        if segment.flags.syn() {
            self.syns.push(Syn {
                seq: segment.seq,
                len: segment.len,
                window: segment.window.into(),
                scale: segment.options.window_scale.map(|scale| scale.min(14)),
            });
        }
        match self.irs {
            Some(irs) => self.arrive(irs, segment.seq, segment.end()),
            None => self.early.push((segment.seq, segment.end())),
        }
        let (Some(iss), Some(ack)) = (self.iss, segment.ack) else {
            return;
        };
        // Before we acknowledged a SYN, the last one that came is the peer's.
        let theirs = match self.irs {
            Some(_) => self.syn.scale,
            None => self.syns.last().and_then(|syn| syn.scale),
        };
        let syn = segment.flags.syn();
        let edge = |ours: Option<u8>| {
            let shift = match (syn, ours, theirs) {
                (false, Some(_), Some(scale)) => scale,
                _ => 0,
            };
            ack + (u32::from(segment.window) << shift)
        };
        for offer in &mut self.offers {
            if ack == offer.iss + 1_u32 {
                offer.edge = Some(edge(offer.scale));
            }
        }
        let edge = edge(self.scale);
        if !(1..HALF).contains(&ack.distance(iss)) || ack.after(self.nxt) {
            return;
        }
        self.established = true;
        self.over |= self.fin == Some(ack);
        self.peer_edge = Some(self.peer_edge.map_or(edge, |old| old.max(edge)));
    }
}
