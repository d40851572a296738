//! Scripts by feature; see `script/mod.rs` for their language.

mod script;

macro_rules! features {
    ($($feature:ident,)*) => {
        $(
            #[test]
            fn $feature() {
                let count = script::run_folder(stringify!($feature));
                println!("{}: {count} scripts", stringify!($feature));
            }
        )*
    };
}

features! {
    acc_ecn,
    attacks,
    close,
    cookies,
    delayed_ack,
    ecn,
    fast_open,
    paws,
    persist,
    pmtu,
    rack,
    recovery,
    reset,
    rfc5961,
    rto,
    sack,
    send,
    window,
    handshake,
    info,
    keepalive,
    linger,
    listener,
    nagle,
    simultaneous,
    slow_start,
    syncache,
    time_wait,
    tlp,
    undo,
    urgent,
    user_timeout,
}

#[test]
fn a_wrong_script_says_where_and_what() {
    let error = script::run("+0 listen\n+0 < S seq 0 win 1000\n+0 > A seq 0 ack 1\n").unwrap_err();
    assert!(error.starts_with("3: differs in flags"), "{error}");
    let error = script::run("+0 listen\n+0 > A seq 0\n").unwrap_err();
    assert!(error.contains("nothing left"), "{error}");
    let error = script::run("+0 listen\n+0 < S seq 0 win 1000\n+1 silence\n").unwrap_err();
    assert!(error.starts_with("3: expected silence"), "{error}");
    assert!(script::run("+0 frobnicate\n").is_err());
}
