//! `struct tcp_info` of linux/tcp.h.

use zcn_stack::tcp::TcpInfo;

/// The bytes of the structure; fields that we have nothing to say about are zero.
pub(crate) fn bytes(info: &TcpInfo) -> Vec<u8> {
    let mut out = vec![
        info.tcpi_state as u8,
        info.tcpi_ca_state,
        info.tcpi_retransmits,
        info.tcpi_probes,
        info.tcpi_backoff,
        info.tcpi_options,
        info.tcpi_snd_wscale & 15 | info.tcpi_rcv_wscale << 4,
        u8::from(info.tcpi_delivery_rate_app_limited) | info.tcpi_fastopen_client_fail << 1,
    ];
    let words = |out: &mut Vec<u8>, values: &[u32]| {
        out.extend(values.iter().flat_map(|value| value.to_ne_bytes()));
    };
    let longs = |out: &mut Vec<u8>, values: &[u64]| {
        out.extend(values.iter().flat_map(|value| value.to_ne_bytes()));
    };
    words(
        &mut out,
        &[
            info.tcpi_rto,
            info.tcpi_ato,
            info.tcpi_snd_mss,
            info.tcpi_rcv_mss,
            info.tcpi_unacked,
            info.tcpi_sacked,
            info.tcpi_lost,
            info.tcpi_retrans,
            0, // fackets
            info.tcpi_last_data_sent,
            0, // last_ack_sent: Linux does not say either
            info.tcpi_last_data_recv,
            info.tcpi_last_ack_recv,
            info.tcpi_pmtu,
            info.tcpi_rcv_ssthresh,
            info.tcpi_rtt,
            info.tcpi_rttvar,
            info.tcpi_snd_ssthresh,
            info.tcpi_snd_cwnd,
            info.tcpi_advmss,
            info.tcpi_reordering,
            info.tcpi_rcv_rtt,
            info.tcpi_rcv_space,
            info.tcpi_total_retrans,
        ],
    );
    longs(
        &mut out,
        &[
            info.tcpi_pacing_rate,
            u64::MAX, // max_pacing_rate: not limited
            info.tcpi_bytes_acked,
            info.tcpi_bytes_received,
        ],
    );
    words(
        &mut out,
        &[
            info.tcpi_segs_out,
            info.tcpi_segs_in,
            info.tcpi_notsent_bytes,
            info.tcpi_min_rtt,
            info.tcpi_data_segs_in,
            info.tcpi_data_segs_out,
        ],
    );
    longs(
        &mut out,
        &[
            info.tcpi_delivery_rate,
            info.tcpi_busy_time,
            info.tcpi_rwnd_limited,
            info.tcpi_sndbuf_limited,
        ],
    );
    words(&mut out, &[info.tcpi_delivered, info.tcpi_delivered_ce]);
    longs(&mut out, &[info.tcpi_bytes_sent, info.tcpi_bytes_retrans]);
    words(
        &mut out,
        &[
            info.tcpi_dsack_dups,
            info.tcpi_reord_seen,
            info.tcpi_rcv_ooopack,
            info.tcpi_snd_wnd,
            info.tcpi_rcv_wnd,
            0, // rehash
            info.tcpi_total_rto & 0xffff,
            0, // total_rto_time
            info.tcpi_received_ce,
            info.tcpi_delivered_e1_bytes,
            info.tcpi_delivered_e0_bytes,
            info.tcpi_delivered_ce_bytes,
            info.tcpi_received_e1_bytes,
            info.tcpi_received_e0_bytes,
            info.tcpi_received_ce_bytes,
        ],
    );
    // Of 16 bits each, as in Linux 6.18; since 7.0 they are bits of one word.
    for value in [info.tcpi_accecn_fail_mode, info.tcpi_accecn_opt_seen] {
        out.extend(u16::from(value).to_ne_bytes());
    }
    out
}

/// The structure of a socket that is no connection: only its state, and of a listener how
/// many connections wait and may wait.
pub(crate) fn without_connection(state: u8, waiting: u32, backlog: u32) -> Vec<u8> {
    let mut out = vec![0; 8 + 6 * 4];
    out[0] = state;
    out[24..28].copy_from_slice(&waiting.to_ne_bytes());
    out[28..32].copy_from_slice(&backlog.to_ne_bytes());
    out
}
