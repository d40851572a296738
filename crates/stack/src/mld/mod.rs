//! Multicast listener discovery, the side of a host (RFC 9777, RFC 2710): switches that watch
//! it forward neighbour solicitations only to those who said that they listen to the group.
//!
//! The groups are those of the interface's own addresses (RFC 4862 section 5.4.2), as sockets
//! join none.

mod listener;

use core::net::{IpAddr, Ipv6Addr};

use bytes::Bytes;
use zcn_frame::{Chain, Frame, Head};
use zcn_pool::SharedBuf;
use zcn_wire::ipv6::{self, Chain as Extensions};
use zcn_wire::mld::{self, MldRecord, MldRecordKind, MldRecords, MldRepr};
use zcn_wire::{Icmpv6Repr, Ipv6View, Protocol};

use crate::id::InterfaceId;
use crate::interface::AddressState;
use crate::ip::Ip;
use crate::packet::{HEADROOM, Outgoing, Packet, pseudo_header};
use crate::stats::DropReason;
use crate::time::Instant;

pub(crate) use listener::Listener;
use listener::Report;

impl Ip {
    /// Takes a message whose ICMPv6 checksum was right.
    pub(crate) fn mld_input(
        &mut self,
        now: Instant,
        packet: &Packet<'_>,
        message: MldRepr<'_>,
    ) -> Result<(), DropReason> {
        let stats = &mut self.stats.icmpv6;
        match message {
            MldRepr::Query(_) => stats.in_group_memb_queries += 1,
            MldRepr::ReportV1 { .. } => stats.in_group_memb_responses += 1,
            // For routers, and to addresses of theirs.
            MldRepr::Done { .. } | MldRepr::Report(_) => {}
        }
        // RFC 9777 section 6.2: from the link itself, and with the alert that routers add.
        let local = matches!(packet.source, IpAddr::V6(source) if source.is_unicast_link_local());
        if !local || packet.hop_limit != mld::HOP_LIMIT || !has_router_alert(packet) {
            return Err(DropReason::MldMalformed);
        }
        let listener = self
            .interface_mut(packet.interface)
            .filter(|interface| interface.link_address.is_some())
            .map(|interface| &mut interface.listener)
            .ok_or(DropReason::IcmpUnknownType)?;
        match message {
            MldRepr::Query(query) => listener.handle_query(now, &query),
            MldRepr::ReportV1 { group } => listener.handle_report_v1(now, group),
            MldRepr::Done { .. } | MldRepr::Report(_) => {}
        }
        Ok(())
    }

    /// Sends what the interface has to say of its groups at `now`.
    pub(crate) fn report_groups(&mut self, now: Instant, id: InterfaceId) {
        let Some(interface) = self.interface_mut(id) else {
            return;
        };
        if interface.listener.next_deadline().is_none_or(|at| at > now) {
            return;
        }
        // Until there is a link-local address it goes without (RFC 3590): switches heed that.
        let source = interface
            .addresses
            .iter()
            .filter(|own| own.state == AddressState::Preferred)
            .find_map(|own| match own.cidr.address() {
                IpAddr::V6(own) if own.is_unicast_link_local() => Some(own),
                _ => None,
            })
            .unwrap_or(Ipv6Addr::UNSPECIFIED);
        let room = interface.mtu as usize
            - ipv6::HEADER_LEN
            - mld::ROUTER_ALERT_LEN
            - zcn_wire::icmpv6::HEADER_LEN;
        for report in interface.listener.take_due(now) {
            match report {
                Report::Records(records) => self.send_records(now, id, source, room, &records),
                Report::Listening(group) => {
                    self.stats.icmpv6.out_group_memb_responses += 1;
                    self.send_mld(now, id, source, group, MldRepr::ReportV1 { group });
                }
                Report::Done(group) => {
                    self.stats.icmpv6.out_group_memb_reductions += 1;
                    let message = MldRepr::Done { group };
                    self.send_mld(now, id, source, mld::ALL_ROUTERS, message);
                }
            }
        }
    }

    /// Sends records in messages with `room` bytes for them.
    fn send_records(
        &mut self,
        now: Instant,
        id: InterfaceId,
        source: Ipv6Addr,
        room: usize,
        records: &[(MldRecordKind, Ipv6Addr)],
    ) {
        let len = MldRecord::new(MldRecordKind::IsExclude, Ipv6Addr::UNSPECIFIED).buffer_len();
        for records in records.chunks((room / len).max(1)) {
            let mut bytes = vec![0; len * records.len()];
            for (place, &(kind, group)) in bytes.chunks_exact_mut(len).zip(records) {
                // There is room for each.
                let _ = MldRecord::new(kind, group).emit(place);
            }
            if let Ok(records) = MldRecords::new(&bytes) {
                self.stats.icmpv6.out_mldv2_reports += 1;
                let message = MldRepr::Report(records);
                self.send_mld(now, id, source, mld::ALL_MLDV2_ROUTERS, message);
            }
        }
    }

    fn send_mld(
        &mut self,
        now: Instant,
        id: InterfaceId,
        source: Ipv6Addr,
        destination: Ipv6Addr,
        message: MldRepr<'_>,
    ) {
        let message = Icmpv6Repr::Mld(message);
        let pseudo = pseudo_header(source.into(), destination.into(), Protocol::ICMPV6);
        let mut bytes = vec![0; message.buffer_len()];
        let mut head = Head::with_room(HEADROOM);
        let alert = head.extend_from_slice(&mld::router_alert());
        if alert.is_err() || message.emit(pseudo, &mut bytes).is_err() {
            return;
        }
        self.stats.icmpv6.out_msgs += 1;
        let body = Chain::from(SharedBuf::from(Bytes::from(bytes)));
        // What does not leave is said again, or asked for again.
        let _ = self.send(
            now,
            &Outgoing {
                interface: Some(id),
                hop_limit: Some(mld::HOP_LIMIT),
                dont_fragment: true,
                ..Outgoing::new(source.into(), destination.into(), Protocol::HOP_BY_HOP)
            },
            &mut Frame::of(head, body),
        );
    }
}

fn has_router_alert(packet: &Packet<'_>) -> bool {
    let view = Ipv6View::quoted(packet.frame.linear()).ok();
    let chain = view.and_then(|view| Extensions::walk(&view).ok());
    chain.is_some_and(|chain| chain.router_alert)
}
