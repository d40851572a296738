//! Counters of the MIBs. They wrap at 2^64, and never go back.

macro_rules! counters {
    ($(#[$meta:meta])* $name:ident {
        $($(#[$doc:meta])* $field:ident = $mib:literal,)*
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct $name {
            $($(#[$doc])* #[doc = concat!("(`", $mib, "`)")] pub $field: u64,)*
        }

        impl $name {
            /// Every counter with its name in the MIB, in a fixed order.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$(($mib, self.$field),)*].into_iter()
            }
        }
    };
}

counters! {
    /// One version of IP (RFC 4293 `ipSystemStatsTable`). Super-frames count as one packet.
    IpStats {
        /// Packets received, with errors or not
        in_receives = "ipSystemStatsInReceives",
        /// Octets in them
        in_octets = "ipSystemStatsInOctets",
        /// Dropped for errors in the header
        in_hdr_errors = "ipSystemStatsInHdrErrors",
        /// Dropped for an address that is not ours or not valid
        in_addr_errors = "ipSystemStatsInAddrErrors",
        /// Dropped because nobody knows the protocol
        in_unknown_protos = "ipSystemStatsInUnknownProtos",
        /// Dropped because the frame was too short
        in_truncated_pkts = "ipSystemStatsInTruncatedPkts",
        /// Handed to a protocol
        in_delivers = "ipSystemStatsInDelivers",
        /// Multicast packets received
        in_mcast_pkts = "ipSystemStatsInMcastPkts",
        /// Broadcast packets received
        in_bcast_pkts = "ipSystemStatsInBcastPkts",
        /// Fragments received
        reasm_reqds = "ipSystemStatsReasmReqds",
        /// Datagrams put together
        reasm_oks = "ipSystemStatsReasmOKs",
        /// Datagrams that could not be put together
        reasm_fails = "ipSystemStatsReasmFails",
        /// Packets that protocols asked to send
        out_requests = "ipSystemStatsOutRequests",
        /// Octets sent
        out_octets = "ipSystemStatsOutOctets",
        /// Not sent for want of a route
        out_no_routes = "ipSystemStatsOutNoRoutes",
        /// Not sent though nothing was wrong with them
        out_discards = "ipSystemStatsOutDiscards",
        /// Packets given to a link
        out_transmits = "ipSystemStatsOutTransmits",
        /// Datagrams that had to be fragmented
        out_frag_reqds = "ipSystemStatsOutFragReqds",
        /// Datagrams fragmented
        out_frag_oks = "ipSystemStatsOutFragOKs",
        /// Datagrams that could not be fragmented
        out_frag_fails = "ipSystemStatsOutFragFails",
        /// Fragments made
        out_frag_creates = "ipSystemStatsOutFragCreates",
        /// Multicast packets sent
        out_mcast_pkts = "ipSystemStatsOutMcastPkts",
        /// Broadcast packets sent
        out_bcast_pkts = "ipSystemStatsOutBcastPkts",
    }
}

counters! {
    /// ICMP of one version of IP (RFC 4293 `icmpStatsTable`; the types as Linux names them).
    IcmpStats {
        /// Messages received
        in_msgs = "icmpStatsInMsgs",
        /// Dropped for errors
        in_errors = "icmpStatsInErrors",
        /// Messages sent
        out_msgs = "icmpStatsOutMsgs",
        /// Not sent: over the limit, or for want of memory
        out_errors = "icmpStatsOutErrors",
        /// Echo requests received
        in_echos = "icmpInEchos",
        /// Echo replies received
        in_echo_reps = "icmpInEchoReps",
        /// Unreachables received
        in_dest_unreachs = "icmpInDestUnreachs",
        /// Time exceeded received
        in_time_excds = "icmpInTimeExcds",
        /// Packet too big received (for IPv4: unreachable, fragmentation needed)
        in_pkt_too_bigs = "icmpInPktTooBigs",
        /// Parameter problems received
        in_parm_probs = "icmpInParmProbs",
        /// Redirects received, and ignored
        in_redirects = "icmpInRedirects",
        /// Queries for listeners received
        in_group_memb_queries = "icmpInGroupMembQueries",
        /// Reports of listeners received, of version 1
        in_group_memb_responses = "icmpInGroupMembResponses",
        /// Echo requests sent
        out_echos = "icmpOutEchos",
        /// Echo replies sent
        out_echo_reps = "icmpOutEchoReps",
        /// Unreachables sent
        out_dest_unreachs = "icmpOutDestUnreachs",
        /// Time exceeded sent
        out_time_excds = "icmpOutTimeExcds",
        /// Parameter problems sent
        out_parm_probs = "icmpOutParmProbs",
        /// Reports of groups sent, of version 1
        out_group_memb_responses = "icmpOutGroupMembResponses",
        /// Messages that a group was left sent, of version 1
        out_group_memb_reductions = "icmpOutGroupMembReductions",
        /// Reports of groups sent, of version 2
        out_mldv2_reports = "icmpOutMLDv2Reports",
        /// Errors not sent because of the rate limit
        out_rate_limited = "icmpOutRateLimitGlobal",
    }
}

counters! {
    /// UDP (RFC 4113).
    UdpStats {
        /// Datagrams delivered
        in_datagrams = "udpInDatagrams",
        /// Datagrams to a port where nobody listens
        no_ports = "udpNoPorts",
        /// Datagrams dropped for another reason
        in_errors = "udpInErrors",
        /// Datagrams dropped because the socket's queue was full, part of the errors
        rcvbuf_errors = "udpRcvbufErrors",
        /// Datagrams dropped for their checksum, part of the errors
        in_csum_errors = "udpInCsumErrors",
        /// Datagrams sent
        out_datagrams = "udpOutDatagrams",
    }
}

counters! {
    /// TCP (RFC 4022, and from `tcpListenOverflows` on what Linux adds in its own names).
    TcpStats {
        /// Connections we asked for
        active_opens = "tcpActiveOpens",
        /// Connections a peer asked for
        passive_opens = "tcpPassiveOpens",
        /// Attempts that failed
        attempt_fails = "tcpAttemptFails",
        /// Connections reset while established or half closed
        estab_resets = "tcpEstabResets",
        /// Connections established or half closed now
        curr_estab = "tcpCurrEstab",
        /// Segments received (as many as were on the wire)
        in_segs = "tcpInSegs",
        /// Segments sent (as many as will be on the wire)
        out_segs = "tcpOutSegs",
        /// Segments sent again
        retrans_segs = "tcpRetransSegs",
        /// Segments received with errors
        in_errs = "tcpInErrs",
        /// Segments with a wrong checksum, part of the errors
        in_csum_errors = "tcpInCsumErrors",
        /// Segments sent with RST
        out_rsts = "tcpOutRsts",
        /// Handshakes that found the accept queue full
        listen_overflows = "tcpListenOverflows",
        /// Handshakes that a listener dropped
        listen_drops = "tcpListenDrops",
        /// SYN cookies sent
        syncookies_sent = "tcpSyncookiesSent",
        /// SYNs sent with data (RFC 7413)
        fast_open_active = "tcpFastOpenActive",
        /// SYN-ACKs that did not acknowledge the data of our SYN
        fast_open_active_fail = "tcpFastOpenActiveFail",
        /// Connections opened by a SYN with a good cookie
        fast_open_passive = "tcpFastOpenPassive",
        /// SYNs with a cookie that is not ours
        fast_open_passive_fail = "tcpFastOpenPassiveFail",
        /// SYNs that asked for a cookie
        fast_open_cookie_reqd = "tcpFastOpenCookieReqd",
        /// SYNs with a cookie that found too many unfinished handshakes
        fast_open_listen_overflow = "tcpFastOpenListenOverflow",
        /// SYN cookies received
        syncookies_recv = "tcpSyncookiesRecv",
        /// SYN cookies that were wrong
        syncookies_failed = "tcpSyncookiesFailed",
        /// Challenge ACKs sent (RFC 5961)
        challenge_acks = "tcpChallengeACK",
        /// Challenge ACKs not sent because of their limit
        challenge_ack_limited = "tcpChallengeACKLimited",
        /// Segments dropped by PAWS
        paws_estab = "tcpPAWSEstab",
        /// Retransmission timeouts
        timeouts = "tcpTimeouts",
        /// Tail-loss probes sent
        loss_probes = "tcpLossProbes",
        /// Episodes of fast recovery
        fast_recoveries = "tcpSackRecovery",
        /// Retransmissions found to have been spurious
        spurious_rtos = "tcpSpuriousRTOs",
        /// Episodes undone because nothing was lost
        undos = "tcpFullUndo",
        /// Zero-window probes sent
        win_probes = "tcpWinProbe",
        /// Keepalive probes sent
        keepalives = "tcpKeepAlive",
        /// ACKs delayed
        delayed_acks = "tcpDelayedACKs",
        /// Segments that went to the out-of-order queue
        ofo_queue = "tcpOFOQueue",
        /// Segments dropped from the out-of-order queue for want of room
        ofo_drop = "tcpOFODrop",
        /// Connections that ended by a timeout
        abort_on_timeout = "tcpAbortOnTimeout",
        /// Connections that ended for want of memory
        abort_on_memory = "tcpAbortOnMemory",
        /// Connections closed with data unread
        abort_on_close = "tcpAbortOnClose",
        /// Entries of TIME-WAIT there were
        time_wait = "tcpTW",
        /// Connections that took the place of one in TIME-WAIT
        time_wait_recycled = "tcpTWRecycled",
    }
}

counters! {
    /// Neighbour caches (as Linux names them in `ndstat`).
    NeighbourStats {
        /// Entries now
        entries = "neighEntries",
        /// Entries made
        allocs = "neighAllocs",
        /// Entries removed
        destroys = "neighDestroys",
        /// Resolutions that failed
        res_failed = "neighResFailed",
        /// Packets dropped because an entry's queue was full
        unres_discards = "neighUnresDiscards",
        /// Entries not made because the cache was full
        table_fulls = "neighTableFulls",
        /// Announcements that told of an address of ours
        conflicts = "neighConflicts",
        /// Solicitations sent, ARP and NDP
        solicits = "neighSolicits",
    }
}
