//! The control socket of a running stack: whoever connects gets one JSON document, what the
//! stack has at that moment, and the end.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process;

use serde_json::{Value, json};
use zcn::stack::{Instant, Stack};
use zcn::{Net, Runtime, UnixListener};
use zcn_stack::tcp::TcpInfo;

use crate::failure::Failure;

/// Where control sockets are, unless somebody says otherwise: in a folder that is the
/// user's own.
pub(crate) fn folder() -> Option<PathBuf> {
    let runtime = env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty())?;
    Some(PathBuf::from(runtime).join("zcn"))
}

/// Answers on a control socket for as long as the runtime runs: at `path`, which must be
/// had, or else in the folder, where it is dispensable.
///
/// # Errors
/// The socket at `path` cannot be had.
pub(super) fn serve(
    runtime: &Runtime,
    net: &Net,
    link: &str,
    path: Option<&Path>,
) -> Result<(), Failure> {
    let entered = runtime.enter();
    let listener = match (path, folder()) {
        (Some(path), _) => UnixListener::bind(path)?,
        (None, Some(folder)) => {
            let path = folder.join(format!("stack-{}.sock", process::id()));
            let bound = fs::create_dir_all(&folder)
                .map_err(|error| error.to_string())
                .and_then(|()| UnixListener::bind(path).map_err(|error| error.to_string()));
            match bound {
                Ok(listener) => listener,
                Err(_) => return Ok(()),
            }
        }
        (None, None) => return Ok(()),
    };
    drop(entered);
    let (net, link) = (net.clone(), link.to_owned());
    // It ends with the runtime.
    drop(runtime.spawn(async move {
        while let Ok(peer) = listener.accept().await {
            let Some(document) = net.with_stack(|stack, now| document(stack, now, &link)) else {
                return;
            };
            drop(zcn::spawn(async move {
                // A peer that does not read to the end has itself to blame.
                let _ = peer.send_copy(document.to_string().as_bytes()).await;
                peer.shutdown();
                let _ = peer.recv().await;
            }));
        }
    }));
    Ok(())
}

/// What a stack has: listeners, and connections with their `TcpInfo`.
fn document(stack: &Stack, now: Instant, link: &str) -> Value {
    let listeners: Vec<Value> = stack
        .tcp_listeners()
        .filter_map(|id| {
            let local = stack.tcp_listener_address(id)?;
            Some(json!({ "local": local, "waiting": stack.tcp_acceptable(id) }))
        })
        .collect();
    let connections: Vec<Value> = stack
        .tcp_connections()
        .filter_map(|id| {
            let (local, remote) = stack.tcp_addresses(id)?;
            let info = stack.tcp_info(now, id)?;
            Some(json!({
                "local": local,
                "remote": remote,
                "state": info.tcpi_state.to_string(),
                "recv_q": stack.tcp_readable(id),
                "send_q": stack.tcp_unacknowledged(id),
                "congestion": stack.tcp_options(id).map(|options| options.congestion.name()),
                "info": fields(&info),
            }))
        })
        .collect();
    let (open, half_open, time_wait) = stack.tcp_table_sizes();
    json!({
        "pid": process::id(),
        "link": link,
        "connections_open": open,
        "half_open": half_open,
        "time_wait": time_wait,
        "udp_sockets": stack.udp_sockets(),
        "listeners": listeners,
        "connections": connections,
    })
}

/// The fields of `TcpInfo` under Linux's names.
fn fields(info: &TcpInfo) -> Value {
    macro_rules! object {
        ($($field:ident),* $(,)?) => {
            [$((stringify!($field).to_owned(), Value::from(info.$field)),)*]
                .into_iter()
                .collect()
        };
    }
    object!(
        tcpi_ca_state,
        tcpi_retransmits,
        tcpi_probes,
        tcpi_backoff,
        tcpi_options,
        tcpi_snd_wscale,
        tcpi_rcv_wscale,
        tcpi_rto,
        tcpi_ato,
        tcpi_snd_mss,
        tcpi_rcv_mss,
        tcpi_unacked,
        tcpi_sacked,
        tcpi_lost,
        tcpi_retrans,
        tcpi_last_data_sent,
        tcpi_last_data_recv,
        tcpi_last_ack_recv,
        tcpi_pmtu,
        tcpi_rcv_ssthresh,
        tcpi_rtt,
        tcpi_rttvar,
        tcpi_snd_ssthresh,
        tcpi_snd_cwnd,
        tcpi_advmss,
        tcpi_reordering,
        tcpi_rcv_rtt,
        tcpi_rcv_space,
        tcpi_total_retrans,
        tcpi_pacing_rate,
        tcpi_bytes_acked,
        tcpi_bytes_received,
        tcpi_segs_out,
        tcpi_segs_in,
        tcpi_notsent_bytes,
        tcpi_min_rtt,
        tcpi_data_segs_in,
        tcpi_data_segs_out,
        tcpi_delivered,
        tcpi_bytes_sent,
        tcpi_bytes_retrans,
        tcpi_dsack_dups,
        tcpi_snd_wnd,
        tcpi_rcv_wnd,
        tcpi_delivery_rate,
        tcpi_reord_seen,
        tcpi_total_rto,
        tcpi_delivered_ce,
        tcpi_received_ce,
        tcpi_delivered_e1_bytes,
        tcpi_delivered_e0_bytes,
        tcpi_delivered_ce_bytes,
        tcpi_received_e1_bytes,
        tcpi_received_e0_bytes,
        tcpi_received_ce_bytes,
        tcpi_accecn_fail_mode,
        tcpi_accecn_opt_seen,
    )
}
