//! The kernel behind the same table as the plugin: its sockets, in a network namespace of the
//! thread's own, and a TUN device in place of the link. Tests that drive either by [`Tool`] see how
//! the stack differs from Linux.
//!
//! Time is real here. What must come is awaited patiently; that something does not come is judged
//! after a [`fence`](Tool::fence).

#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::ffi::{c_int, c_long, c_longlong, c_uint, c_ulong, c_void};
use std::io::{self, Write};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use libc::{
    epoll_event, iovec, loff_t, msghdr, nfds_t, pollfd, size_t, sockaddr, socklen_t, ssize_t,
    timeval,
};
use zcn_link::{Driver, Frame, Tun};
use zcn_packetdrill::Table;
use zcn_sys::affinity::{allowed_cores, pin_current_thread};
use zcn_sys::namespace::enter_new_network;

use super::Tool;

/// The device's name, in a namespace that has no other.
pub const DEVICE: &str = "tun0";
/// How long what must leave may take.
const PATIENCE: Duration = Duration::from_secs(20);
const TCP: u8 = 6;
/// What the device takes from us, whatever its MTU.
const LARGEST: u32 = 65_535;
/// How many threads have had a namespace; they share the cores evenly.
static OPENED: AtomicUsize = AtomicUsize::new(0);

/// Settings under `/proc/sys/net` that scripts of the tool count on, and those without which
/// connections would not be independent of each other and of the machine's settings.
const SYSCTLS: [(&str, &str); 23] = [
    ("ipv4/tcp_abort_on_overflow", "0"),
    ("ipv4/tcp_challenge_ack_limit", "2147483647"),
    ("ipv4/tcp_comp_sack_nr", "44"),
    ("ipv4/tcp_early_retrans", "3"),
    ("ipv4/tcp_ecn", "2"),
    ("ipv4/tcp_fastopen", "1027"),
    (
        "ipv4/tcp_fastopen_key",
        "a1a1a1a1-b2b2b2b2-c3c3c3c3-d4d4d4d4",
    ),
    ("ipv4/tcp_fin_timeout", "60"),
    ("ipv4/tcp_invalid_ratelimit", "500"),
    ("ipv4/tcp_max_syn_backlog", "65536"),
    ("ipv4/tcp_max_tw_buckets", "65536"),
    ("ipv4/tcp_no_metrics_save", "1"),
    ("ipv4/tcp_rfc1337", "0"),
    // A window scale of 8.
    ("ipv4/tcp_rmem", "4096 131072 15728640"),
    ("ipv4/tcp_sack", "1"),
    ("ipv4/tcp_slow_start_after_idle", "1"),
    ("ipv4/tcp_syn_linear_timeouts", "4"),
    ("ipv4/tcp_syncookies", "0"),
    ("ipv4/tcp_timestamps", "1"),
    ("ipv4/tcp_window_scaling", "1"),
    ("ipv4/icmp_ratelimit", "0"),
    ("ipv6/conf/all/accept_dad", "0"),
    ("core/somaxconn", "65536"),
];

/// What a test sets of the kernel, over the tool's defaults.
#[derive(Clone, Debug)]
pub struct Settings<'a> {
    /// Of the device.
    pub mtu: u32,
    /// Of connections without a choice of their own, as `ip route` takes it.
    pub metrics: &'a str,
    /// Further settings under `/proc/sys/net`: path and value.
    pub sysctls: &'a [(&'a str, &'a str)],
}

impl Default for Settings<'_> {
    fn default() -> Self {
        Self {
            mtu: 1500,
            metrics: "congctl cubic",
            sysctls: &[],
        }
    }
}

/// Runs `test` with the kernel as its subject, on a thread in a namespace of its own. Where the
/// machine has no such thing, says so.
pub fn on_the_kernel(settings: Settings<'static>, test: impl FnOnce(&Tool) + Send + 'static) {
    let thread = std::thread::spawn(move || match open(&settings) {
        Ok(tool) => test(&tool),
        Err(reason) => {
            let _ = writeln!(io::stdout(), "SKIPPED: {reason}");
        }
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Moves the calling thread into a new namespace with a device at the tool's addresses, and answers
/// the table. Threads that it starts from then on may use the table, too.
///
/// # Errors
/// What this machine lacks.
pub fn open(settings: &Settings<'_>) -> Result<Tool, String> {
    let said = |what: &str| {
        let what = what.to_owned();
        move |error: io::Error| format!("{what}: {error}")
    };
    // Packets of one core keep their order.
    let cores = allowed_cores().map_err(said("the thread's cores"))?;
    let core = cores[OPENED.fetch_add(1, Ordering::Relaxed) % cores.len()];
    pin_current_thread(core).map_err(said("one core for the thread"))?;
    enter_new_network().map_err(said("no network namespace of our own"))?;
    for (name, value) in SYSCTLS.iter().chain(settings.sysctls) {
        let path = format!("/proc/sys/net/{name}");
        std::fs::write(&path, value).map_err(said(&format!("{path} cannot be set")))?;
    }
    let tun = Tun::tun(DEVICE).offload(false).mtu(LARGEST).open();
    let mut queues = tun.map_err(|error| format!("no TUN device: {error}"))?;
    let tun = queues.pop().ok_or("no TUN device")?;
    ip(&format!("link set dev {DEVICE} mtu {}", settings.mtu))?;
    ip("link set lo up")?;
    ip(&format!("addr add 192.168.0.1/16 dev {DEVICE}"))?;
    ip(&format!("link set {DEVICE} txqueuelen 10000"))?;
    let metrics = format!("dev {DEVICE} {}", settings.metrics);
    ip(&format!("route add default {metrics}"))?;
    if settings.mtu >= 1280 {
        ip(&format!("addr add fd3d:a0b:17d6::1/64 dev {DEVICE} nodad"))?;
        ip(&format!("-6 route add default {metrics}"))?;
    }
    Ok(Tool(table(Device {
        tun,
        frames: Vec::new(),
        left: VecDeque::new(),
    })))
}

/// Runs `ip` of iproute2 with these arguments.
pub fn ip(arguments: &str) -> Result<(), String> {
    let output = Command::new("ip")
        .args(arguments.split_whitespace())
        .output();
    let output = output.map_err(|error| format!("iproute2 is needed: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let told = String::from_utf8_lossy(&output.stderr);
    Err(format!("ip {arguments}: {}", told.trim()))
}

/// The other end of the device.
struct Device {
    tun: Tun,
    frames: Vec<Frame>,
    /// Segments in the order in which they left, and when.
    left: VecDeque<(Vec<u8>, i64)>,
}

impl Device {
    /// Takes what left without waiting, and leaves out what is not TCP.
    fn look(&mut self) -> io::Result<()> {
        while self.tun.receive(&mut self.frames, 64)? > 0 {
            let now = micros();
            let packets = self.frames.drain(..).map(|frame| frame.to_vec());
            self.left.extend(
                packets
                    .filter(|packet| is_tcp(packet))
                    .map(|packet| (packet, now)),
            );
        }
        Ok(())
    }

    fn next(&mut self) -> io::Result<Option<(Vec<u8>, i64)>> {
        let start = Instant::now();
        loop {
            self.look()?;
            let waited = start.elapsed();
            if !self.left.is_empty() || waited >= PATIENCE {
                return Ok(self.left.pop_front());
            }
            self.tun.wait(Duration::ZERO, Some(PATIENCE - waited))?;
        }
    }
}

fn is_tcp(packet: &[u8]) -> bool {
    match packet.first().map(|byte| byte >> 4) {
        Some(4) => packet.get(9) == Some(&TCP),
        Some(6) => packet.get(6) == Some(&TCP),
        _ => false,
    }
}

fn micros() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| now.as_micros() as i64)
}

/// Calls of the C library behind calls of the table.
macro_rules! library {
    ($($name:ident($($argument:ident: $kind:ty),*) -> $answer:ty;)*) => {
        mod library {
            use super::*;
            $(
                pub(super) unsafe extern "C" fn $name(
                    _: *mut c_void, $($argument: $kind),*
                ) -> $answer {
                    // SAFETY: the call of the same name, with its contract.
                    unsafe { libc::$name($($argument),*) }
                }
            )*
        }
    };
}

library! {
    socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int;
    bind(fd: c_int, address: *const sockaddr, len: socklen_t) -> c_int;
    listen(fd: c_int, backlog: c_int) -> c_int;
    accept(fd: c_int, address: *mut sockaddr, len: *mut socklen_t) -> c_int;
    connect(fd: c_int, address: *const sockaddr, len: socklen_t) -> c_int;
    read(fd: c_int, to: *mut c_void, len: size_t) -> ssize_t;
    readv(fd: c_int, parts: *const iovec, count: c_int) -> ssize_t;
    recv(fd: c_int, to: *mut c_void, len: size_t, flags: c_int) -> ssize_t;
    recvfrom(
        fd: c_int, to: *mut c_void, len: size_t, flags: c_int, from: *mut sockaddr,
        from_len: *mut socklen_t
    ) -> ssize_t;
    recvmsg(fd: c_int, message: *mut msghdr, flags: c_int) -> ssize_t;
    write(fd: c_int, from: *const c_void, len: size_t) -> ssize_t;
    writev(fd: c_int, parts: *const iovec, count: c_int) -> ssize_t;
    send(fd: c_int, from: *const c_void, len: size_t, flags: c_int) -> ssize_t;
    sendto(
        fd: c_int, from: *const c_void, len: size_t, flags: c_int, to: *const sockaddr,
        to_len: socklen_t
    ) -> ssize_t;
    sendmsg(fd: c_int, message: *const msghdr, flags: c_int) -> ssize_t;
    fcntl(fd: c_int, command: c_int, value: c_long) -> c_int;
    ioctl(fd: c_int, request: c_ulong, value: *mut c_void) -> c_int;
    close(fd: c_int) -> c_int;
    shutdown(fd: c_int, how: c_int) -> c_int;
    getsockopt(
        fd: c_int, level: c_int, name: c_int, value: *mut c_void, len: *mut socklen_t
    ) -> c_int;
    setsockopt(
        fd: c_int, level: c_int, name: c_int, value: *const c_void, len: socklen_t
    ) -> c_int;
    poll(entries: *mut pollfd, count: nfds_t, timeout: c_int) -> c_int;
    epoll_create(size: c_int) -> c_int;
    epoll_ctl(fd: c_int, what: c_int, of: c_int, event: *mut epoll_event) -> c_int;
    epoll_wait(fd: c_int, events: *mut epoll_event, count: c_int, timeout: c_int) -> c_int;
    pipe(ends: *mut c_int) -> c_int;
    splice(
        from: c_int, from_at: *mut loff_t, to: c_int, to_at: *mut loff_t, len: size_t,
        flags: c_uint
    ) -> ssize_t;
}

unsafe extern "C" fn gettimeofday(_: *mut c_void, time: *mut timeval, zone: *mut c_void) -> c_int {
    // SAFETY: the call of the same name, with its contract.
    unsafe { libc::gettimeofday(time, zone.cast()) }
}

/// Does something with the device; -1 and `errno` as a call says it.
///
/// # Safety
/// `device` is that of a table which was not freed.
unsafe fn with(device: *mut c_void, act: impl FnOnce(&mut Device) -> io::Result<()>) -> c_int {
    // SAFETY: the caller's contract.
    let device = unsafe { &*device.cast::<Mutex<Device>>() };
    let mut device = device.lock().unwrap_or_else(|error| error.into_inner());
    match act(&mut device) {
        Ok(()) => 0,
        Err(error) => {
            // SAFETY: the thread's own.
            unsafe { *libc::__errno_location() = error.raw_os_error().unwrap_or(libc::EIO) };
            -1
        }
    }
}

unsafe extern "C" fn netdev_send(device: *mut c_void, packet: *const c_void, len: size_t) -> c_int {
    // SAFETY: the table's contract: `len` bytes of a packet.
    let packet = unsafe { std::slice::from_raw_parts(packet.cast::<u8>(), len) };
    let packet = zcn_pool::SharedBuf::from(bytes::Bytes::copy_from_slice(packet));
    // SAFETY: the table's device.
    unsafe {
        with(device, |device| {
            // What left before has its place before what this draws.
            device.look()?;
            let mut frames = VecDeque::from([Frame::from(packet)]);
            match device.tun.transmit(&mut frames)? {
                0 => Err(io::Error::from_raw_os_error(libc::ENOBUFS)),
                _ => Ok(()),
            }
        })
    }
}

unsafe extern "C" fn netdev_receive(
    device: *mut c_void,
    buffer: *mut c_void,
    count: *mut size_t,
    time: *mut c_longlong,
) -> c_int {
    // SAFETY: the table's device; its contract: `*count` is the room at `buffer`.
    unsafe {
        with(device, |device| {
            let Some((packet, at)) = device.next()? else {
                return Err(io::Error::from_raw_os_error(libc::ETIMEDOUT));
            };
            let len = packet.len().min(*count);
            std::ptr::copy_nonoverlapping(packet.as_ptr(), buffer.cast(), len);
            *count = len;
            *time = at;
            Ok(())
        })
    }
}

/// Sleeps, and notes the time of what leaves meanwhile.
unsafe extern "C" fn usleep(device: *mut c_void, micros: c_uint) -> c_int {
    let end = Instant::now() + Duration::from_micros(micros.into());
    // SAFETY: the table's device.
    unsafe {
        with(device, |device| {
            loop {
                device.look()?;
                let rest = end.saturating_duration_since(Instant::now());
                if rest.is_zero() {
                    return Ok(());
                }
                device.tun.wait(Duration::ZERO, Some(rest))?;
            }
        })
    }
}

unsafe extern "C" fn free(device: *mut c_void) {
    // SAFETY: made of a box by `table`; the last call.
    drop(unsafe { Box::from_raw(device.cast::<Mutex<Device>>()) });
}

fn table(device: Device) -> Table {
    Table {
        userdata: Box::into_raw(Box::new(Mutex::new(device))).cast(),
        free: Some(free),
        socket: Some(library::socket),
        bind: Some(library::bind),
        listen: Some(library::listen),
        accept: Some(library::accept),
        connect: Some(library::connect),
        read: Some(library::read),
        readv: Some(library::readv),
        recv: Some(library::recv),
        recvfrom: Some(library::recvfrom),
        recvmsg: Some(library::recvmsg),
        write: Some(library::write),
        writev: Some(library::writev),
        send: Some(library::send),
        sendto: Some(library::sendto),
        sendmsg: Some(library::sendmsg),
        fcntl: Some(library::fcntl),
        ioctl: Some(library::ioctl),
        close: Some(library::close),
        shutdown: Some(library::shutdown),
        getsockopt: Some(library::getsockopt),
        setsockopt: Some(library::setsockopt),
        poll: Some(library::poll),
        netdev_send: Some(netdev_send),
        netdev_receive: Some(netdev_receive),
        usleep: Some(usleep),
        gettimeofday: Some(gettimeofday),
        epoll_create: Some(library::epoll_create),
        epoll_ctl: Some(library::epoll_ctl),
        epoll_wait: Some(library::epoll_wait),
        pipe: Some(library::pipe),
        splice: Some(library::splice),
    }
}
