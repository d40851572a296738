//! Settings of Linux's TCP by the names that they have under `net.ipv4`.

use std::time::Duration;

use zcn_stack::StackConfig;
use zcn_stack::tcp::{AccEcnOption, Ecn, FastOpenKeys, SocketOptions, SynCookies};

/// Where the kernel shows those of the network namespace that the tool runs in.
const FOLDER: &str = "/proc/sys/net/ipv4";
/// Whose value is no number.
pub(crate) const FAST_OPEN_KEY: &str = "tcp_fastopen_key";
/// `tcp_notsent_lowat`: no limit.
const NO_LIMIT: u64 = u32::MAX as u64;

/// A setting that the stack has, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Setting {
    Ecn,
    AccEcnOption,
    AccEcnBeacon,
    EcnFallback,
    Timestamps,
    Sack,
    WindowScaling,
    SynRetries,
    SynLinearTimeouts,
    SynAckRetries,
    Retries2,
    OrphanRetries,
    KeepAliveTime,
    KeepAliveInterval,
    KeepAliveProbes,
    FinTimeout,
    Rfc1337,
    AbortOnOverflow,
    SynCookies,
    UnsentLowWater,
    SlowStartAfterIdle,
    EarlyRetransmit,
    RtoMin,
    SackCompression,
    InvalidRateLimit,
    FastOpen,
}

/// Name, and the value that a kernel begins with.
const ALL: [(&str, u64, Setting); 26] = [
    ("tcp_ecn", 2, Setting::Ecn),
    ("tcp_ecn_option", 2, Setting::AccEcnOption),
    ("tcp_ecn_option_beacon", 3, Setting::AccEcnBeacon),
    ("tcp_ecn_fallback", 1, Setting::EcnFallback),
    ("tcp_timestamps", 1, Setting::Timestamps),
    ("tcp_sack", 1, Setting::Sack),
    ("tcp_window_scaling", 1, Setting::WindowScaling),
    ("tcp_syn_retries", 6, Setting::SynRetries),
    ("tcp_syn_linear_timeouts", 4, Setting::SynLinearTimeouts),
    ("tcp_synack_retries", 5, Setting::SynAckRetries),
    ("tcp_retries2", 15, Setting::Retries2),
    ("tcp_orphan_retries", 0, Setting::OrphanRetries),
    ("tcp_keepalive_time", 7_200, Setting::KeepAliveTime),
    ("tcp_keepalive_intvl", 75, Setting::KeepAliveInterval),
    ("tcp_keepalive_probes", 9, Setting::KeepAliveProbes),
    ("tcp_fin_timeout", 60, Setting::FinTimeout),
    ("tcp_rfc1337", 0, Setting::Rfc1337),
    ("tcp_abort_on_overflow", 0, Setting::AbortOnOverflow),
    ("tcp_syncookies", 1, Setting::SynCookies),
    ("tcp_notsent_lowat", NO_LIMIT, Setting::UnsentLowWater),
    ("tcp_slow_start_after_idle", 1, Setting::SlowStartAfterIdle),
    ("tcp_early_retrans", 3, Setting::EarlyRetransmit),
    ("tcp_rto_min_us", 200_000, Setting::RtoMin),
    ("tcp_comp_sack_nr", 44, Setting::SackCompression),
    ("tcp_invalid_ratelimit", 500, Setting::InvalidRateLimit),
    ("tcp_fastopen", 1, Setting::FastOpen),
];

/// Bits of `tcp_fastopen`: clients may use it, and listeners that were told to; clients need no
/// cookie, and listeners none; all listeners were told to.
const FAST_OPEN_CLIENT: u64 = 1;
const FAST_OPEN_SERVER: u64 = 2;
const FAST_OPEN_CLIENT_BARE: u64 = 4;
const FAST_OPEN_SERVER_BARE: u64 = 0x200;
const FAST_OPEN_LISTENERS: u64 = 0x400;

/// What `tcp_fastopen` allows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FastOpen(u64);

impl FastOpen {
    pub(crate) fn client(self) -> bool {
        self.0 & FAST_OPEN_CLIENT != 0
    }

    /// Data goes with a SYN without a cookie.
    pub(crate) fn client_bare(self) -> bool {
        self.0 & FAST_OPEN_CLIENT_BARE != 0
    }

    pub(crate) fn server(self) -> bool {
        self.0 & FAST_OPEN_SERVER != 0
    }

    /// Data is taken with a SYN without a cookie.
    pub(crate) fn server_bare(self) -> bool {
        self.0 & FAST_OPEN_SERVER_BARE != 0
    }

    /// Listeners need not be told.
    pub(crate) fn every_listener(self) -> bool {
        self.server() && self.0 & FAST_OPEN_LISTENERS != 0
    }
}

/// What was set, other than a kernel begins with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sysctls {
    values: Vec<(Setting, u64)>,
    /// `tcp_fastopen_key`.
    pub(crate) fast_open_keys: Option<FastOpenKeys>,
}

/// A key as the sysctl has it: four hexadecimal words of four bytes, the last one of each first.
fn key(text: &str) -> Option<[u8; 16]> {
    let mut key = [0; 16];
    let mut words = text.split('-');
    for bytes in key.as_chunks_mut().0 {
        *bytes = u32::from_str_radix(words.next()?, 16).ok()?.to_le_bytes();
    }
    words.next().is_none().then_some(key)
}

impl Sysctls {
    /// The names that there are.
    pub(crate) fn names() -> impl Iterator<Item = &'static str> {
        ALL.iter().map(|(name, _, _)| *name)
    }

    /// Sets one by its name; false if there is none.
    pub(crate) fn set(&mut self, name: &str, value: u64) -> bool {
        let Some((_, _, setting)) = ALL.iter().find(|(known, _, _)| *known == name) else {
            return false;
        };
        self.values.retain(|(other, _)| other != setting);
        self.values.push((*setting, value));
        true
    }

    /// Sets `tcp_fastopen_key`, one key or two with a comma between them; false if it is none.
    pub(crate) fn set_fast_open_key(&mut self, text: &str) -> bool {
        let (first, second) = match text.split_once(',') {
            Some((first, second)) => (first, Some(second)),
            None => (text, None),
        };
        let second = second.map(key);
        let (Some(first), false) = (key(first), second == Some(None)) else {
            return false;
        };
        let second = second.flatten();
        self.fast_open_keys = Some(FastOpenKeys { first, second });
        true
    }

    /// What was set.
    fn value(&self, setting: Setting) -> Option<u64> {
        let found = self.values.iter().find(|(other, _)| *other == setting);
        found.map(|(_, value)| *value)
    }

    /// Takes in what the namespace has and a kernel does not begin with. What was set before
    /// stays.
    pub(crate) fn read(&mut self) {
        for (name, default, setting) in ALL {
            let text = std::fs::read_to_string(format!("{FOLDER}/{name}"));
            let value = text.ok().and_then(|text| text.trim().parse().ok());
            let known = self.value(setting).is_some();
            if let Some(value) = value.filter(|value| *value != default && !known) {
                self.values.push((setting, value));
            }
        }
        // A kernel makes up a key when it needs one: it counts where fast open was set, too.
        if self.fast_open_keys.is_none() && self.value(Setting::FastOpen).is_some() {
            let text = std::fs::read_to_string(format!("{FOLDER}/{FAST_OPEN_KEY}"));
            let text = text.unwrap_or_default();
            // Without one there are zeros.
            if text.contains(|digit| matches!(digit, '1'..='9' | 'a'..='f')) {
                self.set_fast_open_key(text.trim());
            }
        }
    }

    /// Sets whether listeners take data in SYNs without being asked to.
    pub(crate) fn set_fast_open(&mut self, on: bool) {
        let listeners = if on { FAST_OPEN_LISTENERS } else { 0 };
        let both = FAST_OPEN_CLIENT | FAST_OPEN_SERVER;
        self.set("tcp_fastopen", both | listeners);
    }

    /// What `tcp_fastopen` allows: clients and all listeners to use it, as scripts for Linux count
    /// on, unless something else was set.
    pub(crate) fn fast_open(&self) -> FastOpen {
        let all = FAST_OPEN_CLIENT | FAST_OPEN_SERVER | FAST_OPEN_LISTENERS;
        FastOpen(self.value(Setting::FastOpen).unwrap_or(all))
    }

    /// What the stack is to do.
    pub(crate) fn configure(&self, config: &mut StackConfig) {
        let tcp = &mut config.tcp;
        for &(setting, value) in &self.values {
            let on = value != 0;
            let small = u8::try_from(value).unwrap_or(u8::MAX);
            match setting {
                Setting::Ecn => {
                    tcp.ecn = match value {
                        0 => Ecn::Never,
                        1 => Ecn::Offer,
                        3 => Ecn::Accurate,
                        4 => Ecn::AcceptAccurateOfferClassic,
                        5 => Ecn::AcceptAccurate,
                        _ => Ecn::Accept,
                    }
                }
                Setting::AccEcnOption => {
                    tcp.acc_ecn_option = match value {
                        0 => AccEcnOption::Never,
                        1 => AccEcnOption::Sparingly,
                        2 => AccEcnOption::Always,
                        _ => AccEcnOption::Persistently,
                    }
                }
                Setting::AccEcnBeacon => tcp.acc_ecn_beacon = small,
                Setting::EcnFallback => tcp.ecn_fallback = on,
                Setting::Timestamps => tcp.timestamps = on,
                Setting::Sack => tcp.sack = on,
                Setting::WindowScaling => tcp.window_scaling = on,
                Setting::SynRetries => tcp.syn_retries = small,
                Setting::SynLinearTimeouts => tcp.syn_linear_timeouts = small,
                Setting::SynAckRetries => tcp.syn_ack_retries = small,
                Setting::Retries2 => tcp.retries = small,
                // 0 stands for 8.
                Setting::OrphanRetries => tcp.orphan_retries = if on { small } else { 8 },
                Setting::FinTimeout => tcp.fin_timeout = Duration::from_secs(value),
                Setting::Rfc1337 => tcp.rfc1337 = on,
                Setting::AbortOnOverflow => tcp.abort_on_overflow = on,
                Setting::SynCookies => {
                    tcp.syn_cookies = match value {
                        0 => SynCookies::Never,
                        1 => SynCookies::WhenFull,
                        _ => SynCookies::Always,
                    }
                }
                Setting::SlowStartAfterIdle => tcp.slow_start_after_idle = on,
                Setting::EarlyRetransmit => tcp.loss_probes = on,
                Setting::RtoMin => tcp.rto_min = Duration::from_micros(value),
                Setting::SackCompression => tcp.sack_compression = on,
                Setting::InvalidRateLimit => tcp.invalid_interval = Duration::from_millis(value),
                Setting::KeepAliveTime
                | Setting::KeepAliveInterval
                | Setting::KeepAliveProbes
                | Setting::UnsentLowWater
                | Setting::FastOpen => {} // of sockets
            }
        }
    }

    /// What is unsent at most of sockets that do not choose; `None` for no limit.
    pub(crate) fn unsent_low_water(&self) -> Option<u32> {
        let value = self.value(Setting::UnsentLowWater)?;
        u32::try_from(value).ok().filter(|low| *low > 0)
    }

    /// What a new socket begins with.
    pub(crate) fn prepare(&self, options: &mut SocketOptions) {
        options.unsent_low_water = self.unsent_low_water();
        for &(setting, value) in &self.values {
            match setting {
                Setting::KeepAliveTime => options.keepalive_idle = Duration::from_secs(value),
                Setting::KeepAliveInterval => {
                    options.keepalive_interval = Duration::from_secs(value);
                }
                Setting::KeepAliveProbes => {
                    options.keepalive_count = u8::try_from(value).unwrap_or(u8::MAX);
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_have_the_meaning_that_linux_gives_them() {
        let mut sysctls = Sysctls::default();
        for (name, value) in [
            ("tcp_ecn", 1),
            ("tcp_timestamps", 0),
            ("tcp_keepalive_time", 30),
            ("tcp_notsent_lowat", 4_000),
            ("tcp_fastopen", 0x403),
            ("tcp_ecn_option", 1),
            ("tcp_ecn_option_beacon", 0),
            ("tcp_ecn_fallback", 0),
            ("tcp_ecn", 3),
        ] {
            assert!(sysctls.set(name, value), "{name}");
        }
        assert!(!sysctls.set("tcp_colour", 1));
        let mut config = StackConfig::default();
        sysctls.configure(&mut config);
        assert_eq!(config.tcp.ecn, Ecn::Accurate);
        assert_eq!(config.tcp.acc_ecn_option, AccEcnOption::Sparingly);
        assert_eq!(
            (config.tcp.acc_ecn_beacon, config.tcp.ecn_fallback),
            (0, false)
        );
        assert!(!config.tcp.timestamps && config.tcp.sack);
        let mut options = SocketOptions::default();
        sysctls.prepare(&mut options);
        assert_eq!(options.keepalive_idle, Duration::from_secs(30));
        assert_eq!(options.unsent_low_water, Some(4_000));
        let fast_open = sysctls.fast_open();
        assert!(fast_open.client() && fast_open.every_listener());
        assert!(!fast_open.client_bare() && !fast_open.server_bare());
    }

    #[test]
    fn keys_are_read_as_the_kernel_writes_them() {
        let mut sysctls = Sysctls::default();
        let text = "03020100-07060504-0b0a0908-0f0e0d0c";
        for bad in [
            "",
            "1-2-3",
            "1-2-3-4-5",
            "1-2-3-g",
            "1-2-3-4,",
            "123456789-2-3-4",
        ] {
            assert!(!sysctls.set_fast_open_key(bad), "{bad}");
        }
        let first = std::array::from_fn(|at| at as u8);
        for second in [None, Some([0xa1; 16])] {
            let other = second.map_or("", |_| ",a1a1a1a1-a1a1a1a1-a1a1a1a1-a1a1a1a1");
            assert!(sysctls.set_fast_open_key(&format!("{text}{other}")));
            assert_eq!(sysctls.fast_open_keys, Some(FastOpenKeys { first, second }));
        }
    }

    #[test]
    fn what_was_said_is_not_overruled_by_the_namespace() {
        let mut sysctls = Sysctls::default();
        for name in Sysctls::names() {
            assert!(sysctls.set(name, 7));
        }
        assert!(sysctls.set_fast_open_key("1-2-3-4"));
        let said = sysctls.clone();
        sysctls.read();
        assert_eq!(sysctls, said);
    }
}
