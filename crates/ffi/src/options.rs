//! Options by name: how everything that the frozen `ZCN_Config` has no field for is set.
#![allow(unsafe_code)]
#![allow(clippy::missing_safety_doc)]

use std::ffi::{c_char, c_int};
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use zcn::{
    ConnectOptions, HugePages, ReactorKind, Runtime, ServerOptions, Sleep, UdpOptions, ZeroCopy,
};

use crate::address::{parse, parse_ip, text};
use crate::backend::{self, Backend};
use crate::error::{Failure, Result, ZCN_Error, code, value_or};
use crate::guard::guard;
use crate::handle::{self, null};

/// Options of a loop, server, client or UDP socket to be; made by `zcn_options_new`.
///
/// An options object belongs to no thread, and what is made from it keeps nothing of it: one may
/// serve for many objects, on many threads. Options that do not concern the object are ignored.
///
/// | name | value | meaning |
/// |---|---|---|
/// | `address` | text | where a server or UDP socket is bound: numeric, or `unix:PATH` for servers ["0.0.0.0"] |
/// | `port` | 0 to 65535 | its port; 0 picks a free one [0] |
/// | `backend` | `kernel`, `stack` | whose TCP/IP carries what is on the loop: the kernel's, or one of the loop's own in user space [`kernel`] |
/// | `link` | text | where the stack's frames go: `tap:NAME`, `tun:NAME`, `packet:INTERFACE`, or `memory`, where it meets itself |
/// | `addresses` | text | the stack's addresses with their networks, by commas: "10.9.0.2/24, fd09::2/64" |
/// | `routes` | text | its further routes, by commas: "0.0.0.0/0 via 10.9.0.1" |
/// | `kernel_addresses` | text | addresses for the kernel's end of a TAP or TUN device |
/// | `capture` | path | writes every frame of the stack's link into this pcapng file |
/// | `stack_file` | path | a TOML file with the link, addresses and routes, in place of the options above |
/// | `reactor` | `auto`, `uring`, `epoll` | how the kernel is waited on [`auto`] |
/// | `ring_entries` | 1 to 32768 | submission entries of the ring [1024] |
/// | `buffers` | 2 to 16777216 | buffers to receive into, and as many to send from [1024] |
/// | `buffer_size` | bytes | size of each, rounded up to pages [16384] |
/// | `receive_buffers` | power of two below `buffers` | how many are lent to the kernel [half] |
/// | `huge_pages` | `try`, `never`, `require` | memory of the buffers [`try`] |
/// | `zero_copy` | `auto`, `always`, `never` | sends without the kernel's copy [`auto`] |
/// | `spin_us` | microseconds | look for work for this long before sleeping; 0 sleeps at once [0] |
/// | `napi_us` | microseconds | busy-poll network devices inside the wait [0] |
/// | `cpu` | number | pin the creating thread to this core [not] |
/// | `backlog` | number | peers that the kernel queues [4096] |
/// | `reuse_port` | 0, 1 | several sockets share the address [0] |
/// | `nodelay` | 0, 1 | small messages leave at once [1] |
/// | `only_v6` | 0, 1 | an IPv6 wildcard takes IPv6 only [system] |
/// | `congestion` | text | congestion control by the kernel's name [system] |
/// | `max_connections` | number | further peers wait [1048576] |
/// | `high_water`, `low_water` | bytes | a queue this long refuses sends, until it is down to the low mark [262144, 65536] |
/// | `idle_timeout_ms` | milliseconds | close silent connections; 0 never [0] |
/// | `write_timeout_ms` | milliseconds | close connections whose peer takes nothing; 0 never [60000] |
/// | `connect_timeout_ms` | milliseconds | give up connecting; 0 leaves it to the kernel [0] |
/// | `keepalive_ms` | milliseconds | probe silent peers of clients; 0 never [0] |
/// | `local_address` | text | what clients connect from [any] |
/// | `max_datagram` | 1 to 65535 | longest datagram that arrives whole [65535] |
/// | `datagram_buffers` | 1 to 32768 | buffers of a UDP socket [64] |
/// | `receive_queue`, `send_queue` | number | datagrams that may wait, each way [1024] |
/// | `gro` | 0, 1 | the kernel may deliver several datagrams at once [0] |
/// | `coalesce` | 0, 1 | equal datagrams to one peer leave as one message (GSO) [0] |
/// | `timestamps` | 0, 1 | datagrams carry the kernel's receive time [0] |
/// | `socket_receive_buffer`, `socket_send_buffer` | bytes | `SO_RCVBUF`, `SO_SNDBUF` of UDP sockets [system] |
/// | `reuse_address`, `broadcast` | 0, 1 | `SO_REUSEADDR`, `SO_BROADCAST` of UDP sockets [0] |
/// | `ttl` | 1 to 255 | of what UDP sockets send [system] |
/// | `peer_address`, `peer_port` | text, number | connects a UDP socket: sends go there, and only its datagrams arrive |
#[derive(Debug)]
#[allow(non_camel_case_types)]
pub struct ZCN_Options {
    _opaque: (),
}

/// The values, checked one by one as they are set.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    address: String,
    port: u16,
    backend: Backend,
    reactor: ReactorKind,
    ring_entries: u32,
    buffers: usize,
    buffer_size: usize,
    receive_buffers: Option<u16>,
    huge_pages: HugePages,
    zero_copy: ZeroCopy,
    spin: Duration,
    napi: Duration,
    cpu: Option<usize>,
    pub(crate) server: ServerOptions,
    pub(crate) connect: ConnectOptions,
    pub(crate) udp: UdpOptions,
    peer_address: Option<String>,
    peer_port: u16,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            address: "0.0.0.0".to_owned(),
            port: 0,
            backend: Backend::default(),
            reactor: ReactorKind::Auto,
            ring_entries: 1024,
            buffers: 1024,
            buffer_size: 16 * 1024,
            receive_buffers: None,
            huge_pages: HugePages::Try,
            zero_copy: ZeroCopy::Auto,
            spin: Duration::ZERO,
            napi: Duration::ZERO,
            cpu: None,
            server: ServerOptions::default(),
            connect: ConnectOptions::default(),
            udp: UdpOptions::default(),
            peer_address: None,
            peer_port: 0,
        }
    }
}

pub(crate) fn invalid(text: String) -> Failure {
    Failure::new(ZCN_Error::ZCN_ERROR_INVALID_CONFIG, text)
}

/// As much of a text as a message is to hold.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}

/// A whole number within bounds.
fn within<T: TryFrom<u64>>(name: &str, value: u64, low: u64, high: u64) -> Result<T> {
    let out = || invalid(format!("{name} = {value} is out of range: {low} to {high}"));
    if !(low..=high).contains(&value) {
        return Err(out());
    }
    T::try_from(value).map_err(|_| out())
}

fn flag(name: &str, value: u64) -> Result<bool> {
    within::<u8>(name, value, 0, 1).map(|value| value == 1)
}

/// One of several words.
pub(crate) fn word<T: Copy>(name: &str, value: &str, words: &[(&str, T)]) -> Result<T> {
    let found = words.iter().find(|(word, _)| *word == value);
    found.map(|(_, meaning)| *meaning).ok_or_else(|| {
        let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        invalid(format!(
            "{name} = \"{}\" is none of: {}",
            shown(value),
            words.join(", ")
        ))
    })
}

fn millis(value: u64) -> Option<Duration> {
    (value > 0).then(|| Duration::from_millis(value))
}

impl Options {
    /// A set of options from the fields of the origin's configuration.
    pub(crate) fn from_config(
        address: &str,
        port: u16,
        ring_entries: u32,
        buffers: u32,
        buffer_size: u32,
    ) -> Result<Self> {
        let mut options = Self::default();
        options.set_text("address", address)?;
        options.port = port;
        // 0 asks for the default, as in a configuration that was zeroed.
        for (name, value) in [
            ("ring_entries", ring_entries),
            ("buffers", buffers),
            ("buffer_size", buffer_size),
        ] {
            if value > 0 {
                options.set_number(name, value.into())?;
            }
        }
        Ok(options)
    }

    fn set_text(&mut self, name: &str, value: &str) -> Result<()> {
        match name {
            "address" => {
                parse(value, 0)?;
                value.clone_into(&mut self.address);
            }
            _ if backend::NAMES.contains(&name) => self.backend.set(name, value)?,
            "reactor" => {
                self.reactor = word(
                    name,
                    value,
                    &[
                        ("auto", ReactorKind::Auto),
                        ("uring", ReactorKind::Uring),
                        ("epoll", ReactorKind::Epoll),
                    ],
                )?;
            }
            "huge_pages" => {
                self.huge_pages = word(
                    name,
                    value,
                    &[
                        ("try", HugePages::Try),
                        ("never", HugePages::Never),
                        ("require", HugePages::Require),
                    ],
                )?;
            }
            "zero_copy" => {
                self.zero_copy = word(
                    name,
                    value,
                    &[
                        ("auto", ZeroCopy::Auto),
                        ("always", ZeroCopy::Always),
                        ("never", ZeroCopy::Never),
                    ],
                )?;
            }
            "congestion" => {
                self.server.listen.congestion = Some(value.to_owned());
                self.connect.congestion = Some(value.to_owned());
            }
            "local_address" => self.connect.local = Some(parse_ip(value, 0)?),
            "peer_address" => {
                parse_ip(value, 0)?;
                self.peer_address = Some(value.to_owned());
            }
            // A number as text, as it comes from a configuration file.
            _ => match value.parse() {
                Ok(number) => return self.set_number(name, number),
                Err(_) if NUMBERS.contains(&name) => {
                    let shown = shown(value);
                    return Err(invalid(format!("{name} = \"{shown}\" is no whole number")));
                }
                Err(_) => return Err(unknown(name)),
            },
        }
        Ok(())
    }

    fn set_number(&mut self, name: &str, value: u64) -> Result<()> {
        let most = u64::from(u32::MAX);
        match name {
            "port" => self.port = within(name, value, 0, 65_535)?,
            "ring_entries" => self.ring_entries = within(name, value, 1, 32_768)?,
            "buffers" => self.buffers = within(name, value, 2, 1 << 24)?,
            "buffer_size" => self.buffer_size = within(name, value, 1, 1 << 30)?,
            "receive_buffers" => self.receive_buffers = Some(within(name, value, 1, 32_768)?),
            "spin_us" => self.spin = Duration::from_micros(within(name, value, 0, most)?),
            "napi_us" => self.napi = Duration::from_micros(within(name, value, 0, most)?),
            "cpu" => self.cpu = Some(within(name, value, 0, 65_535)?),
            "backlog" => self.server.listen.backlog = within(name, value, 1, i32::MAX as u64)?,
            "reuse_port" => {
                self.server.listen.reuse_port = flag(name, value)?;
                self.udp.reuse_port = self.server.listen.reuse_port;
            }
            "nodelay" => {
                self.server.listen.nodelay = flag(name, value)?;
                self.connect.nodelay = self.server.listen.nodelay;
            }
            "only_v6" => {
                self.server.listen.only_v6 = Some(flag(name, value)?);
                self.udp.only_v6 = self.server.listen.only_v6;
            }
            "max_connections" => self.server.max_connections = within(name, value, 1, 1 << 20)?,
            "high_water" => {
                self.server.marks.high = within(name, value, 1, most)?;
                self.server.marks.low = self.server.marks.low.min(self.server.marks.high);
            }
            "low_water" => self.server.marks.low = within(name, value, 0, most)?,
            "idle_timeout_ms" => {
                self.server.idle_timeout = millis(within(name, value, 0, most)?);
            }
            "write_timeout_ms" => {
                self.server.write_timeout = millis(within(name, value, 0, most)?);
            }
            "connect_timeout_ms" => self.connect.timeout = millis(within(name, value, 0, most)?),
            "keepalive_ms" => self.connect.keepalive = millis(within(name, value, 0, most)?),
            "max_datagram" => self.udp.max_datagram = within(name, value, 1, 65_535)?,
            "datagram_buffers" => self.udp.buffers = within(name, value, 1, 32_768)?,
            "receive_queue" => self.udp.receive_queue = within(name, value, 1, most)?,
            "send_queue" => self.udp.send_queue = within(name, value, 1, most)?,
            "gro" => self.udp.gro = flag(name, value)?,
            "coalesce" => self.udp.coalesce = flag(name, value)?,
            "timestamps" => self.udp.timestamps = flag(name, value)?,
            "socket_receive_buffer" => {
                self.udp.receive_buffer = Some(within(name, value, 1, i32::MAX as u64)?);
            }
            "socket_send_buffer" => {
                self.udp.send_buffer = Some(within(name, value, 1, i32::MAX as u64)?);
            }
            "reuse_address" => self.udp.reuse_address = flag(name, value)?,
            "broadcast" => self.udp.broadcast = flag(name, value)?,
            "ttl" => self.udp.ttl = Some(within(name, value, 1, 255)?),
            "peer_port" => self.peer_port = within(name, value, 1, 65_535)?,
            _ if TEXTS.contains(&name) || backend::NAMES.contains(&name) => {
                return Err(invalid(format!(
                    "{name} is a text: set it with zcn_options_set_str"
                )));
            }
            _ => return Err(unknown(name)),
        }
        Ok(())
    }

    pub(crate) fn runtime(&self) -> Result<Runtime> {
        let receive_buffers = self.receive_buffers.unwrap_or_else(|| {
            let half = (self.buffers / 2).clamp(1, 32_768);
            // The power of two at or below half.
            1 << (usize::BITS - 1 - half.leading_zeros())
        });
        let page = rustix::param::page_size();
        let mut builder = Runtime::builder()
            .reactor(self.reactor)
            .ring_entries(self.ring_entries)
            .buffers(self.buffers)
            .buffer_size(self.buffer_size.next_multiple_of(page))
            .receive_buffers(receive_buffers)
            .huge_pages(self.huge_pages)
            .zero_copy(self.zero_copy);
        if !self.spin.is_zero() {
            builder = builder.sleep(Sleep::Spin(self.spin));
        }
        if !self.napi.is_zero() {
            builder = builder.napi_busy_poll(self.napi);
        }
        if let Some(core) = self.cpu {
            builder = builder.cpu(core);
        }
        let runtime = builder.build().map_err(|error| {
            let code = match error.raw_os_error() {
                None => ZCN_Error::ZCN_ERROR_INVALID_CONFIG,
                Some(libc::ENOMEM) => ZCN_Error::ZCN_ERROR_OUT_OF_MEMORY,
                Some(_) => ZCN_Error::ZCN_ERROR_IO_URING_INIT,
            };
            Failure::of(code, &error)
        })?;
        self.backend.open(&runtime)?;
        Ok(runtime)
    }

    /// Where a server listens.
    pub(crate) fn listen_address(&self) -> Result<zcn::Address> {
        parse(&self.address, self.port)
    }

    /// Where a UDP socket is bound.
    pub(crate) fn udp_address(&self) -> Result<std::net::SocketAddr> {
        parse_ip(&self.address, self.port)
    }

    /// The peer of a UDP socket, if it is to be connected.
    pub(crate) fn udp_peer(&self) -> Result<Option<std::net::SocketAddr>> {
        match (&self.peer_address, self.peer_port) {
            (None, 0) => Ok(None),
            (None, _) => Err(invalid(
                "peer_port is set, but peer_address is not".to_owned(),
            )),
            (Some(_), 0) => Err(invalid(
                "peer_address is set, but peer_port is not".to_owned(),
            )),
            (Some(address), port) => parse_ip(address, port).map(Some),
        }
    }
}

/// Names whose value is a text.
const TEXTS: &[&str] = &[
    "address",
    "congestion",
    "huge_pages",
    "local_address",
    "peer_address",
    "reactor",
    "zero_copy",
];

/// Names whose value is a number.
const NUMBERS: &[&str] = &[
    "backlog",
    "broadcast",
    "buffer_size",
    "buffers",
    "coalesce",
    "connect_timeout_ms",
    "cpu",
    "datagram_buffers",
    "gro",
    "high_water",
    "idle_timeout_ms",
    "keepalive_ms",
    "low_water",
    "max_connections",
    "max_datagram",
    "napi_us",
    "nodelay",
    "only_v6",
    "peer_port",
    "port",
    "receive_buffers",
    "receive_queue",
    "reuse_address",
    "reuse_port",
    "ring_entries",
    "send_queue",
    "socket_receive_buffer",
    "socket_send_buffer",
    "spin_us",
    "timestamps",
    "ttl",
    "write_timeout_ms",
];

#[cold]
fn unknown(name: &str) -> Failure {
    let shown = shown(name);
    let near = TEXTS
        .iter()
        .chain(backend::NAMES)
        .chain(NUMBERS)
        .find(|known| known.contains(name) || name.contains(*known))
        .filter(|_| name.len() > 2);
    let hint = near.map_or(String::new(), |known| format!("; is \"{known}\" meant?"));
    Failure::new(
        ZCN_Error::ZCN_ERROR_UNKNOWN_OPTION,
        format!("no option is named \"{shown}\"{hint}"),
    )
}

fn locked(options: &std::sync::Mutex<Options>) -> MutexGuard<'_, Options> {
    // A value is set in one step.
    options.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A copy of the options behind a handle; NULL stands for the defaults.
pub(crate) fn copy(handle: *const ZCN_Options) -> Result<Options> {
    if handle.is_null() {
        return Ok(Options::default());
    }
    Ok(locked(&*handle::options(handle)?).clone())
}

/// An options object with the defaults; free it with `zcn_options_free`.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub extern "C" fn zcn_options_new() -> *mut ZCN_Options {
    let made = guard(|| Ok(handle::enter_options(Options::default()).handle()));
    value_or(made, null())
}

/// Sets an option by its name to a text, or to a number in decimal digits.
///
/// `ZCN_ERROR_UNKNOWN_OPTION` and `ZCN_ERROR_INVALID_CONFIG` name the option and, the latter, the
/// range; the option keeps its value.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zcn_options_set_str(
    options: *mut ZCN_Options,
    name: *const c_char,
    value: *const c_char,
) -> ZCN_Error {
    code(guard(|| {
        let options = handle::options(options)?;
        // SAFETY: C passes texts, or NULL.
        let (name, value) = unsafe { (text(name, "name")?, text(value, "value")?) };
        locked(&options).set_text(name, value)
    }))
}

/// Sets an option by its name to a number; switches are 0 or 1.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn zcn_options_set_u64(
    options: *mut ZCN_Options,
    name: *const c_char,
    value: u64,
) -> ZCN_Error {
    code(guard(|| {
        let options = handle::options(options)?;
        // SAFETY: C passes a text, or NULL.
        let name = unsafe { text(name, "name")? };
        locked(&options).set_number(name, value)
    }))
}

/// Frees an options object. NULL is ignored.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub extern "C" fn zcn_options_free(options: *mut ZCN_Options) -> ZCN_Error {
    if options.is_null() {
        return ZCN_Error::ZCN_SUCCESS;
    }
    code(guard(|| handle::remove_options(options)))
}

/// Version of the library: 0xMMmmpp00 for M.m.p; `ZCN_VERSION` is that of the header.
///
/// cbindgen:prefix=ZCN_EXPERIMENTAL
#[unsafe(no_mangle)]
pub extern "C" fn zcn_version() -> c_int {
    crate::ZCN_VERSION
}
