//! Options by name, and addresses.
#![allow(unsafe_code)]

mod common;

use std::ffi::CStr;
use std::ptr::{null, null_mut};

use common::*;
use zero_copy_net::*;

#[test]
fn an_unknown_option_is_named_and_near_ones_suggested() {
    let options = zcn_options_new();
    for (name, word) in [
        ("prot", "prot"),
        ("buffer", "buffer_size"),
        ("", "\"\""),
        ("connection_timeout", "connection_timeout"),
    ] {
        assert_eq!(set(options, name, "x"), ZCN_ERROR_UNKNOWN_OPTION, "{name}");
        assert!(last_message().contains(word), "{}", last_message());
        assert_eq!(
            set_number(options, name, 1),
            ZCN_ERROR_UNKNOWN_OPTION,
            "{name}"
        );
    }
    let long = "n".repeat(100_000);
    assert_eq!(set(options, &long, "1"), ZCN_ERROR_UNKNOWN_OPTION);
    assert!(last_message().len() < 200);
    zcn_options_free(options);
}

#[test]
fn values_out_of_range_are_refused_with_the_range() {
    let options = zcn_options_new();
    for (name, value, word) in [
        ("port", "65536", "65535"),
        ("port", "-1", "whole number"),
        ("port", "http", "whole number"),
        ("ring_entries", "0", "32768"),
        ("buffers", "1", "2 to"),
        ("nodelay", "2", "0 to 1"),
        ("ttl", "0", "1 to 255"),
        ("reactor", "kqueue", "uring"),
        ("huge_pages", "yes", "require"),
        ("zero_copy", "", "never"),
        ("backend", "dpdk", "stack"),
        ("address", "example.org", "example.org"),
        ("local_address", "nowhere", "nowhere"),
        ("high_water", "0", "1 to"),
    ] {
        assert_eq!(
            set(options, name, value),
            ZCN_ERROR_INVALID_CONFIG,
            "{name} = {value}"
        );
        assert!(last_message().contains(word), "{}", last_message());
    }
    assert_eq!(set_number(options, "address", 7), ZCN_ERROR_INVALID_CONFIG);
    assert!(
        last_message().contains("zcn_options_set_str"),
        "{}",
        last_message()
    );
    assert_eq!(
        set_number(options, "port", u64::MAX),
        ZCN_ERROR_INVALID_CONFIG
    );
    // SAFETY: NULL is answered.
    unsafe {
        let code = ZCN_ERROR_INVALID_ARGUMENT;
        assert_eq!(zcn_options_set_str(options, null(), c"1".as_ptr()), code);
        assert_eq!(zcn_options_set_str(options, c"port".as_ptr(), null()), code);
        assert_eq!(zcn_options_set_u64(options, null(), 1), code);
        assert_eq!(
            zcn_options_set_str(options, c"\xff".as_ptr(), c"1".as_ptr()),
            code
        );
    }
    zcn_options_free(options);
}

#[test]
fn every_option_of_the_documentation_can_be_set() {
    let source = include_str!("../src/options.rs");
    let options = zcn_options_new();
    let mut count = 0;
    for row in source
        .lines()
        .filter_map(|line| line.strip_prefix("/// | `"))
    {
        let cells: Vec<&str> = row.split(" | ").collect();
        for name in cells[0].split(", ").map(|name| name.trim_matches('`')) {
            let value = match name {
                "address" | "local_address" | "peer_address" => "127.0.0.1",
                "backend" => "kernel",
                "congestion" => "cubic",
                "link" => "memory",
                "capture" => "x.pcapng",
                "stack_file" => "x.toml",
                "addresses" | "kernel_addresses" => "10.9.0.2/24, fd09::2/64",
                "routes" => "0.0.0.0/0 via 10.9.0.1",
                "reactor" => "auto",
                "huge_pages" => "try",
                "zero_copy" => "never",
                "buffers" => "64",
                "receive_buffers" => "32",
                _ => "1",
            };
            assert_eq!(
                set(options, name, value),
                ZCN_SUCCESS,
                "{name}: {}",
                last_message()
            );
            if value.parse::<u64>().is_ok() {
                assert_eq!(
                    set_number(options, name, value.parse().unwrap()),
                    ZCN_SUCCESS
                );
            }
            count += 1;
        }
    }
    assert!(count > 35, "{count}");
    zcn_options_free(options);
}

#[test]
fn a_stack_that_cannot_come_up_says_why() {
    // Options by name, the code, and what the message holds.
    type Case = (
        &'static [(&'static str, &'static str)],
        ZCN_Error,
        &'static str,
    );
    let cases: [Case; 5] = [
        (&[], ZCN_ERROR_INVALID_CONFIG, "needs a link"),
        (
            &[("link", "memory"), ("stack_file", "x.toml")],
            ZCN_ERROR_INVALID_CONFIG,
            "stack_file",
        ),
        (
            &[("stack_file", "no/such.toml")],
            ZCN_ERROR_SYSTEM,
            "no/such.toml",
        ),
        (
            &[("link", "packet:no-such-if")],
            ZCN_ERROR_INVALID_CONFIG,
            "no-such-if",
        ),
        (
            &[("link", "memory"), ("capture", "no/such/file")],
            ZCN_ERROR_SYSTEM,
            "no/such/file",
        ),
    ];
    for (pairs, code, text) in cases {
        let options = options(&[("backend", "stack")]);
        for (name, value) in pairs {
            assert_eq!(set(options, name, value), ZCN_SUCCESS);
        }
        let mut error = ZCN_SUCCESS;
        // SAFETY: a place for the code.
        assert!(unsafe { zcn_loop_create(options, &raw mut error) }.is_null());
        assert_eq!(error, code, "{}", last_message());
        assert!(last_message().contains(text), "{}", last_message());
        // What goes with the loop of its own says the same.
        // SAFETY: places for the codes.
        unsafe {
            assert!(zcn_server_create_opts(options, &raw mut error).is_null());
            assert!(zcn_client_create(options, null_mut()).is_null());
            assert!(zcn_udp_create(options, null_mut()).is_null());
        }
        assert_eq!(error, code, "{}", last_message());
        zcn_options_free(options);
    }
}

#[test]
fn one_options_object_serves_many_threads() {
    let options = options(&[("address", "127.0.0.1"), ("buffers", "16")]);
    let handle = options.addr();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            std::thread::spawn(move || {
                let options = std::ptr::without_provenance_mut(handle);
                // SAFETY: the error may be NULL.
                let server = unsafe { zcn_server_create_opts(options, null_mut()) };
                assert_eq!(zcn_server_start(server), ZCN_SUCCESS);
                assert_eq!(zcn_server_get_stats(server).total_buffers, 32);
                zcn_server_destroy(server);
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    zcn_options_free(options);
}

#[test]
fn a_core_that_is_not_there_is_a_wrong_setting() {
    let options = options(&[("cpu", "65535")]);
    let mut error = ZCN_SUCCESS;
    // SAFETY: a place for the code.
    assert!(unsafe { zcn_loop_create(options, &raw mut error) }.is_null());
    assert_eq!(error, ZCN_ERROR_INVALID_CONFIG, "{}", last_message());
    assert!(last_message().contains("65535"), "{}", last_message());
    zcn_options_free(options);
}

#[test]
fn addresses_go_to_text_and_back() {
    for (text, port, shown) in [
        ("127.0.0.1", 80, "127.0.0.1:80"),
        ("::1", 443, "[::1]:443"),
        ("[::1]", 1, "[::1]:1"),
        ("fe80::1%3", 53, "[fe80::1%3]:53"),
    ] {
        let parsed = address(text, port);
        let mut room = [1; ZCN_ADDRESS_TEXT_BYTES];
        // SAFETY: an address and room of that length.
        let code = unsafe { zcn_address_format(&raw const parsed, room.as_mut_ptr(), room.len()) };
        assert_eq!(code, ZCN_SUCCESS);
        // SAFETY: it ends with a NUL.
        let written = unsafe { CStr::from_ptr(room.as_ptr()) };
        assert_eq!(written.to_str().unwrap(), shown);
        // Room for all but the NUL is too little.
        // SAFETY: as above.
        let code = unsafe { zcn_address_format(&raw const parsed, room.as_mut_ptr(), shown.len()) };
        assert_eq!(code, ZCN_ERROR_INVALID_ARGUMENT);
    }
    let none = ZCN_Address::default();
    let mut room = [0; ZCN_ADDRESS_TEXT_BYTES];
    // SAFETY: as above.
    let code = unsafe { zcn_address_format(&raw const none, room.as_mut_ptr(), room.len()) };
    assert_eq!(code, ZCN_ERROR_INVALID_ARGUMENT);
}

#[test]
fn names_and_texts_of_errors_are_there_for_every_number() {
    let text = |pointer| {
        // SAFETY: static texts that end with a NUL.
        unsafe { CStr::from_ptr(pointer) }.to_str().unwrap()
    };
    for number in [0, -1, -9, -24, -25, 1, i32::MIN, i32::MAX] {
        let mut error = std::mem::MaybeUninit::<ZCN_Error>::uninit();
        // SAFETY: the enumeration is an int in size; C may pass any.
        unsafe { error.as_mut_ptr().cast::<i32>().write(number) };
        let known = (-24..=0).contains(&number);
        assert_eq!(
            text(zcn_error_string(error)) == "unknown error code",
            !known,
            "{number}"
        );
        assert_eq!(
            text(zcn_error_name(error)) == "ZCN_ERROR_UNKNOWN",
            !known,
            "{number}"
        );
    }
    assert_eq!(zcn_version(), ZCN_VERSION);
    let packed = env!("CARGO_PKG_VERSION")
        .split('.')
        .fold(0, |packed, part| packed << 8 | part.parse::<i32>().unwrap());
    assert_eq!(ZCN_VERSION, packed << 8);
}
