//! Links between interfaces and switches, each direction with its own impairment.

use std::collections::BTreeMap;
use std::time::Duration;

use zcn_frame::Frame;
use zcn_link::{Impairment, Impairments};
use zcn_stack::InterfaceId;

/// A node of a simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub usize);

/// A switch of a simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SwitchId(pub usize);

/// A link of a simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub usize);

/// Where a link can end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// At an interface of a node.
    Node(NodeId, InterfaceId),
    /// At the next port of a switch.
    Switch(SwitchId),
}

impl From<SwitchId> for End {
    fn from(switch: SwitchId) -> Self {
        Self::Switch(switch)
    }
}

/// Which directions of a link, seen from its first end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the first end to the second.
    Forth,
    /// From the second end to the first.
    Back,
    /// Both.
    Both,
}

impl Direction {
    /// Whether the direction away from the end `side` is among them.
    fn has(self, side: usize) -> bool {
        match self {
            Self::Forth => side == 0,
            Self::Back => side == 1,
            Self::Both => true,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) ends: [End; 2],
    /// `pipes[side]` carries what enters at `ends[side]`.
    pub(crate) pipes: [Impairment; 2],
    /// Numbers, from 0, of frames that each pipe still has to lose.
    doomed: [Vec<u64>; 2],
    entered: [u64; 2],
}

impl Link {
    pub(crate) fn new(
        ends: [End; 2],
        impairments: [Impairments; 2],
        link_header: usize,
        seed: u64,
    ) -> Self {
        let [forth, back] = impairments;
        Self {
            ends,
            pipes: [
                Impairment::new(forth, link_header, seed),
                Impairment::new(back, link_header, !seed),
            ],
            doomed: [Vec::new(), Vec::new()],
            entered: [0, 0],
        }
    }

    /// Takes a frame in at an end.
    pub(crate) fn push(&mut self, side: usize, frame: Frame, now: Duration) {
        let number = self.entered[side];
        self.entered[side] += 1;
        if self.doomed[side].contains(&number) {
            self.doomed[side].retain(|&doomed| doomed != number);
            return;
        }
        self.pipes[side].push(frame, now);
    }

    /// Dooms the frame that enters at `side` after `skip` others from now on.
    pub(crate) fn lose(&mut self, side: usize, skip: u64) {
        let number = self.entered[side] + skip;
        self.doomed[side].push(number);
    }

    /// Changes the settings of some directions.
    pub(crate) fn change(
        &mut self,
        directions: Direction,
        mut change: impl FnMut(&mut Impairments),
    ) {
        for (side, pipe) in self.pipes.iter_mut().enumerate() {
            if directions.has(side) {
                let mut settings = pipe.settings().clone();
                change(&mut settings);
                pipe.set(settings);
            }
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.pipes
            .iter()
            .filter_map(Impairment::next_deadline)
            .min()
    }
}

/// A learning Ethernet switch: ports are ends of links.
#[derive(Debug, Default)]
pub(crate) struct Switch {
    /// Links, and the end of each that is here.
    pub(crate) ports: Vec<(LinkId, usize)>,
    addresses: BTreeMap<[u8; 6], usize>,
}

impl Switch {
    /// The ports by which a frame leaves that came in by the link `from`.
    pub(crate) fn ports_for(&mut self, frame: &mut Frame, from: LinkId) -> Vec<(LinkId, usize)> {
        let Some(came) = self.ports.iter().position(|port| port.0 == from) else {
            return Vec::new();
        };
        if !frame.pull(12) {
            return Vec::new();
        }
        let header = frame.linear();
        let (mut dst, mut src) = ([0; 6], [0; 6]);
        dst.copy_from_slice(&header[..6]);
        src.copy_from_slice(&header[6..12]);
        if src[0] & 1 == 0 {
            self.addresses.insert(src, came);
        }
        match self.addresses.get(&dst) {
            Some(&port) if port == came => Vec::new(),
            Some(&port) => vec![self.ports[port]],
            None => {
                let others = self.ports.iter().filter(|port| port.0 != from);
                others.copied().collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use zcn_pool::SharedBuf;

    fn frame(dst: u8, src: u8) -> Frame {
        let mut bytes = vec![0; 20];
        (bytes[0], bytes[5], bytes[6], bytes[11]) = (2, dst, 2, src);
        Frame::from(SharedBuf::from(Bytes::from(bytes)))
    }

    #[test]
    fn a_switch_floods_until_it_has_learnt() {
        let mut switch = Switch {
            ports: (0..3).map(|link| (LinkId(link), 1)).collect(),
            ..Switch::default()
        };
        let to =
            |ports: Vec<(LinkId, usize)>| ports.iter().map(|port| port.0.0).collect::<Vec<_>>();
        assert_eq!(to(switch.ports_for(&mut frame(9, 1), LinkId(0))), [1, 2]);
        assert_eq!(to(switch.ports_for(&mut frame(1, 9), LinkId(2))), [0]);
        assert_eq!(to(switch.ports_for(&mut frame(9, 1), LinkId(0))), [2]);
        assert_eq!(to(switch.ports_for(&mut frame(1, 5), LinkId(0))), [0; 0]);
    }

    #[test]
    fn the_nth_frame_is_lost() {
        let end = End::Switch(SwitchId(0));
        let mut link = Link::new([end; 2], Default::default(), 14, 1);
        link.lose(0, 1);
        for n in 0..3 {
            link.push(0, frame(n, 1), Duration::ZERO);
        }
        let mut arrived = Vec::new();
        while let Some(frame) = link.pipes[0].pop(Duration::ZERO) {
            arrived.push(frame.to_vec()[5]);
        }
        assert_eq!(arrived, [0, 2]);
    }
}
