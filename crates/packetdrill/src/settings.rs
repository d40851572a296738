//! What the tool's `--so_flags` choose.

use zcn_frame::{Capabilities, ChecksumOffload, GsoKinds, Medium};
use zcn_stack::tcp::PushAck;
use zcn_stack::tcp::congestion::Algorithm;
use zcn_stack::{InterfaceConfig, StackConfig};
use zcn_wire::{IpCidr, OptionLayout};

use crate::sysctl::{self, Sysctls};

/// Smallest MTU of a link with IPv6 (RFC 8200 section 5); below, there is IPv4 only.
const IPV6_MTU_MIN: u32 = 1280;
/// Smallest MTU of a link with IPv4 (RFC 791).
const IPV4_MTU_MIN: u32 = 68;

/// `a1a1a1a1-b2b2b2b2-c3c3c3c3-d4d4d4d4`: the `tcp_fastopen_key` with which cookies in scripts
/// for Linux are made.
const DEFAULT_KEY: [u8; 16] = [
    0xa1, 0xa1, 0xa1, 0xa1, 0xb2, 0xb2, 0xb2, 0xb2, 0xc3, 0xc3, 0xc3, 0xc3, 0xd4, 0xd4, 0xd4, 0xd4,
];

/// What a script can ask of the stack: words with commas or spaces between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `linux` (the default) or `freebsd`: the order of TCP's options; FreeBSD's brings
    /// its window scale of 6.
    pub layout: OptionLayout,
    /// `window-scale=N`: 8 unless said otherwise.
    pub window_scale: u8,
    /// `no-quick-ack`: acknowledgements are delayed from the first segment on.
    pub quick_ack: bool,
    /// `mtu=N`: 1500 unless said otherwise; below 1280 there is no IPv6.
    pub mtu: u32,
    /// `congestion=NAME`: `cubic` or `reno`, of sockets that do not choose.
    pub congestion: Algorithm,
    /// `tcp_NAME=N`: as the sysctl `net.ipv4.tcp_NAME`. `fast-open` and `no-fast-open`: as
    /// `tcp_fastopen`; without a word listeners take data in SYNs unasked.
    pub sysctls: Sysctls,
    /// `no-sysctl`: those of the network namespace do not count.
    pub read_sysctls: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            layout: OptionLayout::Linux,
            window_scale: 8,
            quick_ack: true,
            mtu: 1500,
            congestion: Algorithm::default(),
            sysctls: Sysctls::default(),
            read_sysctls: true,
        }
    }
}

/// What is wrong with the flags.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// No flag has the name.
    #[error(
        "unknown flag {0:?}; there are linux, freebsd, quick-ack, no-quick-ack, fast-open, \
         no-fast-open, window-scale=N, mtu=N, congestion=NAME, no-sysctl, tcp_fastopen_key=KEY, and as NAME=N {names}",
        names = Sysctls::names().collect::<Vec<_>>().join(", ")
    )]
    Unknown(String),
    /// The flag has no such value.
    #[error("{name}={value} is not possible; choose {possible}")]
    Value {
        /// The flag.
        name: &'static str,
        /// What was said.
        value: String,
        /// What can be said.
        possible: &'static str,
    },
}

impl Settings {
    /// Reads the text of `--so_flags`.
    ///
    /// # Errors
    /// If a word is no flag, or its value out of range.
    pub fn parse(text: &str) -> Result<Self, SettingsError> {
        let mut settings = Self::default();
        let words = text
            .split(|c: char| c == ',' || c.is_whitespace())
            .filter(|word| !word.is_empty());
        for word in words {
            match word.split_once('=').unwrap_or((word, "")) {
                ("linux", "") => {
                    (settings.layout, settings.window_scale) = (OptionLayout::Linux, 8)
                }
                ("freebsd", "") => {
                    (settings.layout, settings.window_scale) = (OptionLayout::FreeBsd, 6);
                }
                ("quick-ack", "") => settings.quick_ack = true,
                ("no-quick-ack", "") => settings.quick_ack = false,
                ("fast-open", "") => settings.sysctls.set_fast_open(true),
                ("no-fast-open", "") => settings.sysctls.set_fast_open(false),
                ("window-scale", value) => {
                    settings.window_scale = value
                        .parse()
                        .ok()
                        .filter(|scale| *scale <= 14)
                        .ok_or_else(|| wrong("window-scale", value, "0 to 14"))?;
                }
                ("mtu", value) => {
                    settings.mtu = value
                        .parse()
                        .ok()
                        .filter(|mtu| (IPV4_MTU_MIN..=65_535).contains(mtu))
                        .ok_or_else(|| wrong("mtu", value, "68 to 65535"))?;
                }
                ("congestion", value) => {
                    settings.congestion = value
                        .parse()
                        .map_err(|_| wrong("congestion", value, "cubic or reno"))?;
                }
                ("no-sysctl", "") => settings.read_sysctls = false,
                (sysctl::FAST_OPEN_KEY, value) => {
                    if !settings.sysctls.set_fast_open_key(value) {
                        return Err(wrong(
                            sysctl::FAST_OPEN_KEY,
                            value,
                            "four words as a1a1a1a1-...",
                        ));
                    }
                }
                (name, value) if Sysctls::names().any(|known| known == name) => {
                    let number = value.parse().ok();
                    let number = number.ok_or_else(|| wrong("tcp_*", value, "a number"))?;
                    settings.sysctls.set(name, number);
                }
                _ => return Err(SettingsError::Unknown(word.to_owned())),
            }
        }
        Ok(settings)
    }

    /// Takes in the sysctls of the namespace, unless they do not count.
    pub(crate) fn read_sysctls(&mut self) {
        if self.read_sysctls {
            self.sysctls.read();
        }
    }

    /// The stack's configuration.
    pub(crate) fn stack(&self) -> StackConfig {
        let mut config = StackConfig::default();
        config.option_layout = self.layout;
        config.dad_transmits = 0;
        config.link_local = false;
        // Each packet of a script is judged by itself.
        config.coalesce = false;
        // What a window may grow to decides about the scale, also with SO_RCVBUF.
        config.tcp.receive_buffer_max = 65_535 << self.window_scale;
        config.tcp.quick_ack = self.quick_ack;
        config.tcp.push_ack = PushAck::UnlessInteractive;
        config.tcp.sack_compression = true;
        config.tcp.tso_autosize = true;
        config.tcp.rfc1337 = false;
        config.tcp.fast_open_key = Some(DEFAULT_KEY);
        config.tcp.syn_linear_timeouts = 4;
        self.sysctls.configure(&mut config);
        config
    }

    /// The interface, at the addresses that the tool takes for ours.
    pub(crate) fn interface(&self) -> InterfaceConfig {
        let capabilities = Capabilities {
            checksum: ChecksumOffload {
                transmit: true,
                receive: false,
            },
            gso: GsoKinds::ALL,
            gso_max_size: 65_535,
            ..Capabilities::plain(Medium::Ip, self.mtu)
        };
        let mut addresses: Vec<IpCidr> = vec![cidr("192.168.0.1/16")];
        if self.mtu >= IPV6_MTU_MIN {
            addresses.push(cidr("fd3d:a0b:17d6::1/64"));
        }
        InterfaceConfig::new(capabilities, &addresses)
    }
}

/// A network of this file.
pub(crate) fn cidr(text: &str) -> IpCidr {
    text.parse().expect("a network")
}

fn wrong(name: &'static str, value: &str, possible: &'static str) -> SettingsError {
    SettingsError::Value {
        name,
        value: value.to_owned(),
        possible,
    }
}

#[cfg(test)]
mod tests {
    use zcn_stack::tcp::Ecn;

    use super::*;

    #[test]
    fn words_are_read_in_order() {
        assert_eq!(Settings::parse(" "), Ok(Settings::default()));
        let settings = Settings::parse("freebsd,no-quick-ack mtu=9000, congestion=reno");
        assert_eq!(
            settings,
            Ok(Settings {
                layout: OptionLayout::FreeBsd,
                window_scale: 6,
                quick_ack: false,
                mtu: 9000,
                congestion: Algorithm::NewReno,
                ..Settings::default()
            })
        );
        let sysctl = Settings::parse("tcp_ecn=1 no-sysctl").expect("sound flags");
        assert_eq!(sysctl.stack().tcp.ecn, Ecn::Offer);
        assert!(!sysctl.read_sysctls);
        let scaled = Settings::parse("freebsd window-scale=9").expect("sound flags");
        assert_eq!(scaled.window_scale, 9);
    }

    #[test]
    fn what_is_no_flag_is_refused_with_a_remedy() {
        for text in [
            "fast",
            "mtu=67",
            "mtu",
            "window-scale=15",
            "congestion=bbr",
            "tcp_fastopen_key=1",
            "linux=1",
            "tcp_ecn=yes",
            "tcp_colour=1",
        ] {
            let error = Settings::parse(text).expect_err(text).to_string();
            assert!(
                error.contains("there are") || error.contains("choose"),
                "{error}"
            );
        }
    }
}
