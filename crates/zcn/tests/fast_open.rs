//! Data with the SYN (TCP Fast Open, RFC 7413), on both halves. The kernel's takes it only where
//! `net.ipv4.tcp_fastopen` says so; otherwise the data follows the handshake.

mod common;

use std::process::Command;
use std::thread;

use bytes::Bytes;
use common::{any, builder, closed_port, on_both, reactors, skipped};
use zcn::{ConnectOptions, ListenOptions, Net, SharedBuf};
use zcn_sys::namespace::enter_new_network;

/// `TCPI_OPT_SYN_DATA` of linux/tcp.h.
const SYN_DATA: u8 = 32;

fn asking(request: &'static [u8]) -> ConnectOptions {
    let mut options = ConnectOptions::default();
    options.early_data = Some(Bytes::from_static(request));
    options
}

/// A counter of the kernel's TCP in this thread's namespace.
fn counter(name: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/net/netstat").ok()?;
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let mut names = lines.next()?.split(' ');
    let at = names.position(|found| found == name)?;
    lines.next()?.split(' ').nth(at)?.parse().ok()
}

async fn early_data_comes_first() {
    let net = Net::current().unwrap();
    let mut options = ListenOptions::default();
    options.fast_open = Some(16);
    let listener = net.tcp_listen(any(), &options).unwrap();
    let address = listener.local_addr();
    for round in 0..3 {
        let client = net.tcp_connect(address, &asking(b"first")).await.unwrap();
        client.send_copy(b", second").await.unwrap();
        client.shutdown();
        let (served, _) = listener.accept().await.unwrap();
        let mut received = Vec::new();
        while let Some(data) = served.recv().await.unwrap() {
            received.extend_from_slice(&data);
        }
        assert_eq!(received, b"first, second");
        served
            .send(SharedBuf::from_static(b"answer"))
            .await
            .unwrap();
        assert_eq!(&client.recv().await.unwrap().unwrap()[..], b"answer");
        if let Some(info) = client.tcp_info() {
            // The first connection brings the cookie.
            let early = info.tcpi_options & SYN_DATA != 0;
            assert_eq!(early, round > 0, "connection {round}");
        }
    }
}

#[test]
fn early_data_comes_first_and_with_the_second_syn() {
    on_both(async |_| early_data_comes_first().await);
}

#[test]
fn the_kernel_sends_and_takes_data_with_a_syn_where_it_may() {
    let outcome = thread::spawn(|| {
        if let Err(error) = enter_new_network() {
            return skipped(format_args!("no network namespace of our own: {error}"));
        }
        // Client and server.
        let set = std::fs::write("/proc/sys/net/ipv4/tcp_fastopen", "3");
        let up = Command::new("ip")
            .args(["link", "set", "lo", "up"])
            .status();
        if set.is_err() || !up.is_ok_and(|status| status.success()) {
            return skipped("fast open cannot be switched on here");
        }
        for kind in reactors() {
            let active = || counter("TCPFastOpenActive");
            let before = active();
            let mut runtime = builder(kind).build().unwrap();
            runtime.block_on(early_data_comes_first()).unwrap();
            // All but the first connection of the first reactor have the cookie.
            assert!(active() > before, "{kind:?}: {before:?} {:?}", active());
        }
    });
    if let Err(panic) = outcome.join() {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn empty_early_data_is_none() {
    on_both(async |_| {
        let net = Net::current().unwrap();
        let listener = net.tcp_listen(any(), &ListenOptions::default()).unwrap();
        let address = listener.local_addr();
        let client = net.tcp_connect(address, &asking(b"")).await.unwrap();
        let (served, _) = listener.accept().await.unwrap();
        served.send_copy(b"welcome").await.unwrap();
        assert_eq!(&client.recv().await.unwrap().unwrap()[..], b"welcome");
    });
}

#[test]
fn nobody_there_is_told_by_the_connect_or_the_first_receive() {
    let (_kept, address) = closed_port();
    on_both(async |_| {
        let net = Net::kernel().unwrap();
        let refused = match net.tcp_connect(address, &asking(b"anybody?")).await {
            Ok(stream) => stream.recv().await.err(),
            Err(error) => Some(error),
        };
        let errno = refused.and_then(|error| error.raw_os_error());
        assert_eq!(errno, Some(libc::ECONNREFUSED));
    });
}
