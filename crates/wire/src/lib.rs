//! Packet formats of zcn: views over bytes, plain structs, checksums.
//!
//! Every protocol has two types. A *view* ([`TcpView`], [`Ipv4View`], …) borrows received bytes;
//! its constructor checks the lengths once, and its accessors cannot fail. A *repr*
//! ([`TcpRepr`], [`Ipv4Repr`], …) is a plain struct of what the header says: `parse` makes it
//! from a view, `emit` writes it. Checksums are looked at only when `verify_checksum` is
//! called, because a device or the kernel may have done it; transport headers leave `emit`
//! with a checksum of zero, for `fill_checksum` or, with offload, `fill_partial`.
//!
//! ```
//! use std::net::Ipv4Addr;
//! use zcn_wire::{Ipv4Repr, Ipv4View, Protocol, UdpRepr, UdpView, udp};
//!
//! let (src, dst) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2));
//! let datagram = UdpRepr { src_port: 5000, dst_port: 7, payload_len: 5 };
//! let packet = Ipv4Repr::new(src, dst, Protocol::UDP, datagram.buffer_len());
//!
//! let mut bytes = vec![0; packet.buffer_len()];
//! let at = packet.emit(&mut bytes)?;
//! let payload_at = at + datagram.emit(&mut bytes[at..])?;
//! bytes[payload_at..].copy_from_slice(b"hello");
//! udp::fill_checksum(&mut bytes[at..], packet.pseudo_header())?;
//!
//! let packet = Ipv4View::new(&bytes)?;
//! packet.verify_checksum()?;
//! let datagram = UdpView::new(packet.payload())?;
//! datagram.verify_checksum(packet.pseudo_header())?;
//! assert_eq!(datagram.payload(), b"hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Nothing here panics, loops or allocates, whatever the bytes. Numbers are in the machine's
//! byte order, lengths in bytes. The crate knows no sockets, no clock and no other crate.

mod bytes;
mod cidr;
mod error;
mod protocol;
mod quote;
mod seq;
mod window;

pub mod arp;
pub mod checksum;
pub mod ethernet;
pub mod icmpv4;
pub mod icmpv6;
pub mod ipv4;
pub mod ipv6;
pub mod mld;
pub mod ndp;
pub mod tcp;
pub mod tcp4;
pub mod udp;
pub mod virtio;

pub use arp::{ArpOperation, ArpRepr, ArpView};
pub use checksum::PseudoHeader;
pub use cidr::{CidrError, IpCidr, Ipv4Cidr, Ipv6Cidr};
pub use error::{EmitError, ParseError};
pub use ethernet::{EtherType, EthernetAddress, EthernetRepr, EthernetView, VlanTag};
pub use icmpv4::{Icmpv4Repr, Icmpv4View, UnreachableV4};
pub use icmpv6::{Icmpv6Repr, Icmpv6View, UnreachableV6};
pub use ipv4::{Ipv4Options, Ipv4Repr, Ipv4View};
pub use ipv6::{Ipv6Repr, Ipv6View};
pub use mld::{MldQuerier, MldQuery, MldRecord, MldRecordKind, MldRecords, MldRepr};
pub use ndp::{NdpOption, NdpOptions, NdpRepr, PrefixInformation, RouterAdvertisement};
pub use protocol::{Ecn, Protocol, TrafficClass};
pub use quote::QuotedPacket;
pub use seq::SeqNum;
pub use tcp::{
    AccEcn, AccEcnOrder, FastOpenCookie, OptionLayout, SackBlock, SackBlocks, TcpFlags, TcpOptions,
    TcpRepr, TcpTimestamps, TcpView,
};
pub use tcp4::Tcp4Segment;
pub use udp::{UdpRepr, UdpView};
pub use virtio::{ChecksumState, Gso, GsoKind, VirtioNetHeader};
pub use window::{Mss, WindowScale};
