//! What the tests share: the exported functions as C calls them, with the unsafety in one place.
#![allow(unsafe_code)]
// Each test file uses a part of it.
#![allow(dead_code, unreachable_pub)]

use std::ffi::{CStr, CString, c_int, c_void};
use std::io::Read;
use std::net::{Ipv4Addr, TcpStream};
use std::ptr::null_mut;
use std::time::{Duration, Instant};

use zero_copy_net::*;

pub use ZCN_Error::*;

/// The message of the last error.
pub fn last_message() -> String {
    // SAFETY: the message is never NULL and ends with a NUL.
    let text = unsafe { CStr::from_ptr(zcn_last_error_message()) };
    text.to_str().expect("UTF-8").to_owned()
}

/// Options made of pairs; numbers go as text, as from a configuration file.
pub fn options(pairs: &[(&str, &str)]) -> *mut ZCN_Options {
    let options = zcn_options_new();
    for (name, value) in pairs {
        assert_eq!(set(options, name, value), ZCN_SUCCESS, "{}", last_message());
    }
    options
}

pub fn set(options: *mut ZCN_Options, name: &str, value: &str) -> ZCN_Error {
    let (name, value) = (CString::new(name).unwrap(), CString::new(value).unwrap());
    // SAFETY: both are texts that end with a NUL.
    unsafe { zcn_options_set_str(options, name.as_ptr(), value.as_ptr()) }
}

pub fn set_number(options: *mut ZCN_Options, name: &str, value: u64) -> ZCN_Error {
    let name = CString::new(name).unwrap();
    // SAFETY: a text that ends with a NUL.
    unsafe { zcn_options_set_u64(options, name.as_ptr(), value) }
}

/// A server on loopback, not started.
pub fn server_with(pairs: &[(&str, &str)]) -> *mut ZCN_Server {
    let mut all = vec![("address", "127.0.0.1"), ("buffers", "64")];
    all.extend(pairs);
    let options = options(&all);
    let mut error = ZCN_ERROR_PANIC;
    // SAFETY: `error` may be written to.
    let server = unsafe { zcn_server_create_opts(options, &raw mut error) };
    assert_eq!(error, ZCN_SUCCESS, "{}", last_message());
    assert!(!server.is_null());
    assert_eq!(zcn_options_free(options), ZCN_SUCCESS);
    server
}

pub fn server() -> *mut ZCN_Server {
    server_with(&[])
}

pub fn server_on(of: *mut ZCN_Loop, pairs: &[(&str, &str)]) -> *mut ZCN_Server {
    let mut all = vec![("address", "127.0.0.1")];
    all.extend(pairs);
    let options = options(&all);
    // SAFETY: the error may be NULL.
    let server = unsafe { zcn_server_create_on(of, options, null_mut()) };
    assert!(!server.is_null(), "{}", last_message());
    zcn_options_free(options);
    server
}

pub fn client_on(of: *mut ZCN_Loop, pairs: &[(&str, &str)]) -> *mut ZCN_Client {
    let options = options(pairs);
    // SAFETY: the error may be NULL.
    let client = unsafe { zcn_client_create_on(of, options, null_mut()) };
    assert!(!client.is_null(), "{}", last_message());
    zcn_options_free(options);
    client
}

pub fn udp_on(of: *mut ZCN_Loop, pairs: &[(&str, &str)]) -> *mut ZCN_Udp {
    let mut all = vec![("address", "127.0.0.1"), ("datagram_buffers", "16")];
    all.extend(pairs);
    let options = options(&all);
    // SAFETY: the error may be NULL.
    let udp = unsafe { zcn_udp_create_on(of, options, null_mut()) };
    assert!(!udp.is_null(), "{}", last_message());
    zcn_options_free(options);
    udp
}

pub fn event_loop(pairs: &[(&str, &str)]) -> *mut ZCN_Loop {
    let mut all = vec![("buffers", "64")];
    all.extend(pairs);
    let options = options(&all);
    // SAFETY: the error may be NULL.
    let made = unsafe { zcn_loop_create(options, null_mut()) };
    assert!(!made.is_null(), "{}", last_message());
    zcn_options_free(options);
    made
}

pub fn connect(client: *mut ZCN_Client, host: &str, port: u16) -> c_int {
    let host = CString::new(host).unwrap();
    // SAFETY: a text that ends with a NUL.
    unsafe { zcn_client_connect(client, host.as_ptr(), port) }
}

pub fn send(server: *mut ZCN_Server, fd: c_int, data: &[u8]) -> ZCN_Error {
    // SAFETY: the bytes are there.
    unsafe { zcn_server_send(server, fd, data.as_ptr(), data.len()) }
}

pub fn conn_send(of: *mut ZCN_Loop, fd: c_int, data: &[u8]) -> ZCN_Error {
    // SAFETY: the bytes are there.
    unsafe { zcn_conn_send(of, fd, data.as_ptr(), data.len()) }
}

pub fn address(text: &str, port: u16) -> ZCN_Address {
    let text = CString::new(text).unwrap();
    let mut out = ZCN_Address::default();
    // SAFETY: a text that ends with a NUL, and a place.
    let code = unsafe { zcn_address_parse(text.as_ptr(), port, &raw mut out) };
    assert_eq!(code, ZCN_SUCCESS, "{}", last_message());
    out
}

pub fn udp_address(udp: *mut ZCN_Udp) -> ZCN_Address {
    let mut out = ZCN_Address::default();
    // SAFETY: a place for an address.
    assert_eq!(unsafe { zcn_udp_address(udp, &raw mut out) }, ZCN_SUCCESS);
    out
}

pub fn empty_buf() -> ZCN_Buf {
    // SAFETY: all fields are numbers or a pointer, for which zeroes are values.
    unsafe { std::mem::zeroed() }
}

pub fn acquire(of: *mut ZCN_Loop) -> ZCN_Buf {
    let mut buf = empty_buf();
    // SAFETY: a place for a buffer.
    let code = unsafe { zcn_buf_acquire(of, &raw mut buf) };
    assert_eq!(code, ZCN_SUCCESS, "{}", last_message());
    buf
}

/// A lease that holds these bytes.
pub fn filled(of: *mut ZCN_Loop, data: &[u8]) -> ZCN_Buf {
    let mut buf = acquire(of);
    assert!(data.len() <= buf.capacity);
    // SAFETY: the lease has room for them.
    unsafe { buf.data.copy_from_nonoverlapping(data.as_ptr(), data.len()) };
    assert_eq!(commit(&mut buf, data.len()), ZCN_SUCCESS);
    buf
}

pub fn commit(buf: &mut ZCN_Buf, len: usize) -> ZCN_Error {
    // SAFETY: a lease.
    unsafe { zcn_buf_commit(buf, len) }
}

pub fn advance(buf: &mut ZCN_Buf, count: usize) -> ZCN_Error {
    // SAFETY: a lease.
    unsafe { zcn_buf_advance(buf, count) }
}

pub fn release(buf: &mut ZCN_Buf) -> ZCN_Error {
    // SAFETY: a lease.
    unsafe { zcn_buf_release(buf) }
}

pub fn retain(of: *mut ZCN_Loop, buf: &mut ZCN_Buf) -> ZCN_Error {
    // SAFETY: a place for a buffer.
    unsafe { zcn_buf_retain(of, buf) }
}

pub fn send_buf(of: *mut ZCN_Loop, fd: c_int, buf: &mut ZCN_Buf) -> ZCN_Error {
    // SAFETY: a lease.
    unsafe { zcn_conn_send_buf(of, fd, buf) }
}

pub fn bytes_of(buf: &ZCN_Buf) -> Vec<u8> {
    // SAFETY: the lease holds `len` bytes.
    unsafe { std::slice::from_raw_parts(buf.data, buf.len) }.to_vec()
}

/// What a test keeps behind `user_data`: its log and what its callbacks need.
pub struct Log {
    pub events: Vec<String>,
    pub data: Vec<u8>,
    pub server: *mut ZCN_Server,
    pub of: *mut ZCN_Loop,
    pub fd: c_int,
    pub count: usize,
    pub buf: ZCN_Buf,
}

impl Log {
    pub fn new() -> Box<Self> {
        Box::new(Self {
            events: Vec::new(),
            data: Vec::new(),
            server: null_mut(),
            of: null_mut(),
            fd: 0,
            count: 0,
            buf: empty_buf(),
        })
    }

    pub fn for_server(server: *mut ZCN_Server) -> Box<Self> {
        let mut log = Self::new();
        log.server = server;
        log.of = zcn_server_loop(server);
        assert!(!log.of.is_null());
        log
    }

    pub fn user_data(&mut self) -> *mut c_void {
        std::ptr::from_mut(self).cast()
    }
}

/// The log behind `user_data`.
///
/// # Safety
/// `user_data` is of [`Log::user_data`], and the test holds no reference meanwhile.
pub unsafe fn log<'a>(user_data: *mut c_void) -> &'a mut Log {
    // SAFETY: the caller's promise.
    unsafe { &mut *user_data.cast::<Log>() }
}

/// # Safety
/// As the callback's type says.
pub unsafe fn slice<'a>(data: *const u8, len: usize) -> &'a [u8] {
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(data, len) }
}

pub unsafe extern "C-unwind" fn note_accept(user_data: *mut c_void, fd: c_int) {
    // SAFETY: registered with a log.
    let log = unsafe { log(user_data) };
    log.fd = fd;
    log.events.push("accept".into());
}

pub unsafe extern "C-unwind" fn note_data(
    user_data: *mut c_void,
    fd: c_int,
    data: *const u8,
    len: usize,
) {
    // SAFETY: registered with a log, and called with bytes.
    let (log, data) = unsafe { (log(user_data), slice(data, len)) };
    log.fd = fd;
    log.count += 1;
    log.data.extend_from_slice(data);
}

pub unsafe extern "C-unwind" fn note_close(user_data: *mut c_void, _: c_int) {
    // SAFETY: registered with a log.
    unsafe { log(user_data) }.events.push("close".into());
}

pub unsafe extern "C-unwind" fn note_connect(user_data: *mut c_void, fd: c_int, error: ZCN_Error) {
    // SAFETY: registered with a log.
    let log = unsafe { log(user_data) };
    log.fd = fd;
    log.events.push(format!("connect {error:?}"));
}

pub unsafe extern "C-unwind" fn note_end(user_data: *mut c_void, _: c_int) {
    // SAFETY: registered with a log.
    unsafe { log(user_data) }.events.push("end".into());
}

pub unsafe extern "C-unwind" fn note_writable(user_data: *mut c_void, _: c_int) {
    // SAFETY: registered with a log.
    unsafe { log(user_data) }.events.push("writable".into());
}

pub unsafe extern "C-unwind" fn note_sent(user_data: *mut c_void, _: c_int, unsent: usize) {
    // SAFETY: registered with a log.
    unsafe { log(user_data) }
        .events
        .push(format!("sent {unsent}"));
}

/// Sends back what arrives.
pub unsafe extern "C-unwind" fn echo(
    user_data: *mut c_void,
    fd: c_int,
    data: *const u8,
    len: usize,
) {
    // SAFETY: registered with a log, and called with bytes.
    let (log, data) = unsafe { (log(user_data), slice(data, len)) };
    assert_eq!(
        send(log.server, fd, data),
        ZCN_SUCCESS,
        "{}",
        last_message()
    );
}

/// Starts a server with callbacks that only note.
pub fn start_noting(server: *mut ZCN_Server, log: &mut Log) -> u16 {
    zcn_server_set_callbacks(
        server,
        log.user_data(),
        Some(note_accept),
        Some(note_data),
        Some(note_close),
    );
    assert_eq!(zcn_server_start(server), ZCN_SUCCESS, "{}", last_message());
    zcn_server_port(server)
}

pub fn peer(port: u16) -> TcpStream {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("the server listens");
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

pub fn read_exactly(stream: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut data = vec![0; count];
    stream.read_exact(&mut data).expect("the peer sends");
    data
}

/// Polls until `done`, with a limit that only a failure reaches.
pub fn poll_until(of: *mut ZCN_Loop, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < deadline, "it did not happen");
        let count = zcn_loop_poll(of, 20, 0);
        assert!(count >= 0, "{}", last_message());
    }
}

/// Whether this is a process of this test's own, where nobody else opens descriptors; runs the test
/// in one if it is not.
pub fn alone(test: &str) -> bool {
    const ALONE: &str = "ZCN_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .env(ALONE, "1")
        .status()
        .unwrap();
    assert!(status.success());
    false
}

/// Descriptors that this process has open.
pub fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("procfs").count()
}
