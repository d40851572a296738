//! The settings in a TOML file.
//!
//! ```toml
//! addresses = ["10.9.0.2/24", "fd09::2/64"]
//! spin_us = 20
//! ecn = "accurate"             # never, accept (the default), offer, accurate, ...
//!
//! [link]
//! kind = "tap"                 # tap, tun, packet, memory
//! name = "zcn0"
//! mtu = 1500
//! kernel_addresses = ["10.9.0.1/24"]
//!
//! [[routes]]
//! to = "0.0.0.0/0"
//! via = "10.9.0.1"
//! ```

use std::fmt::Display;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use zcn_stack::tcp::Ecn;
use zcn_wire::{EthernetAddress, IpCidr};

use super::config::{LinkConfig, LinkKind, RouteConfig, StackConfig};
use super::error::StackError;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    link: Link,
    #[serde(default)]
    addresses: Vec<Text<IpCidr>>,
    #[serde(default)]
    routes: Vec<Route>,
    spin_us: Option<u64>,
    batch: Option<usize>,
    buffers: Option<usize>,
    ecn: Option<Text<Ecn>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Link {
    kind: Kind,
    name: Option<String>,
    mtu: Option<u32>,
    address: Option<Text<EthernetAddress>>,
    offload: Option<bool>,
    small_buffers: Option<usize>,
    large_buffers: Option<usize>,
    #[serde(default)]
    kernel_addresses: Vec<Text<IpCidr>>,
    capture: Option<PathBuf>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Tap,
    Tun,
    Packet,
    Memory,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Route {
    to: Text<IpCidr>,
    via: Option<IpAddr>,
    #[serde(default)]
    metric: u32,
    mtu: Option<u32>,
}

/// A value that is read as the program reads it on its command line.
struct Text<T>(T);

impl<'de, T: FromStr<Err: Display>> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse()
            .map(Self)
            .map_err(|error| serde::de::Error::custom(format!("{text:?}: {error}")))
    }
}

fn plain<T>(texts: Vec<Text<T>>) -> Vec<T> {
    texts.into_iter().map(|Text(value)| value).collect()
}

impl StackConfig {
    /// Reads the settings from a TOML file. What is not there has its default; what is not
    /// known is an error.
    ///
    /// # Errors
    /// If the file cannot be read or is not understood, with line and column.
    pub fn from_file(path: &Path) -> Result<Self, StackError> {
        let name = path.display().to_string();
        match fs::read_to_string(path) {
            Ok(text) => Self::from_toml(&text, &name),
            Err(source) => Err(StackError::Read { path: name, source }),
        }
    }

    /// As [`from_file`](Self::from_file), from text; `name` stands for it in errors.
    ///
    /// # Errors
    /// If the text is not understood, with line and column.
    pub fn from_toml(text: &str, name: &str) -> Result<Self, StackError> {
        let wrong = |message: String| StackError::File {
            path: name.to_owned(),
            message,
        };
        let file: File =
            toml::from_str(text).map_err(|error| wrong(error.to_string().trim_end().to_owned()))?;
        let mut config = Self::new(file.link.settings().map_err(wrong)?);
        config.addresses = plain(file.addresses);
        config.routes = file
            .routes
            .into_iter()
            .map(|route| RouteConfig {
                to: route.to.0,
                via: route.via,
                metric: route.metric,
                mtu: route.mtu,
            })
            .collect();
        if let Some(micros) = file.spin_us {
            config.spin = Duration::from_micros(micros);
        }
        config.batch = file.batch.unwrap_or(config.batch);
        config.buffers = file.buffers.unwrap_or(config.buffers);
        if let Some(Text(ecn)) = file.ecn {
            config.protocols.tcp.ecn = ecn;
        }
        Ok(config)
    }
}

impl Link {
    fn settings(self) -> Result<LinkConfig, String> {
        let name = || {
            self.name
                .clone()
                .ok_or_else(|| "`name` is missing in [link]".to_owned())
        };
        let mut link = match self.kind {
            Kind::Tap => LinkConfig::tap(name()?),
            Kind::Tun => LinkConfig::tun(name()?),
            Kind::Packet => LinkConfig::packet(name()?),
            Kind::Memory => LinkConfig::memory(),
        };
        if link.kind == LinkKind::Memory && self.name.is_some() {
            return Err("a link through memory has no `name`".to_owned());
        }
        link.mtu = self.mtu;
        link.address = self.address.map(|Text(address)| address);
        link.offload = self.offload.unwrap_or(link.offload);
        link.small_buffers = self.small_buffers.unwrap_or(link.small_buffers);
        link.large_buffers = self.large_buffers.unwrap_or(link.large_buffers);
        link.kernel_addresses = plain(self.kernel_addresses);
        link.capture = self.capture;
        Ok(link)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_is_read() {
        let config = StackConfig::from_toml(
            r#"
            addresses = ["10.9.0.2/24", "fd09::2/64"]
            spin_us = 20
            batch = 16
            buffers = 100
            ecn = "accurate"

            [link]
            kind = "tap"
            name = "zcn0"
            mtu = 9000
            address = "02:00:00:00:00:07"
            offload = false
            small_buffers = 10
            large_buffers = 20
            kernel_addresses = ["10.9.0.1/24"]
            capture = "zcn0.pcapng"

            [[routes]]
            to = "0.0.0.0/0"
            via = "10.9.0.1"
            metric = 5
            mtu = 1400
            "#,
            "a file",
        )
        .expect("understood");
        assert_eq!(config.link.kind, LinkKind::Tap("zcn0".to_owned()));
        assert_eq!(config.link.mtu, Some(9000));
        assert_eq!(
            config.link.address,
            Some(EthernetAddress([2, 0, 0, 0, 0, 7]))
        );
        assert!(!config.link.offload);
        assert_eq!(
            (config.link.small_buffers, config.link.large_buffers),
            (10, 20)
        );
        assert_eq!(config.addresses.len(), 2);
        assert_eq!(config.spin, Duration::from_micros(20));
        assert_eq!((config.batch, config.buffers), (16, 100));
        assert_eq!(config.protocols.tcp.ecn, Ecn::Accurate);
        assert_eq!(config.link.kernel_addresses[0].to_string(), "10.9.0.1/24");
        assert_eq!(config.link.capture, Some(PathBuf::from("zcn0.pcapng")));
        let route = config.routes[0];
        assert_eq!(route.via, Some([10, 9, 0, 1].into()));
        assert_eq!((route.metric, route.mtu), (5, Some(1400)));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, part) in [
            ("", "link"),
            ("[link]\nkind = \"carrier pigeon\"", "carrier pigeon"),
            ("[link]\nkind = \"tap\"", "`name` is missing"),
            ("[link]\nkind = \"memory\"\nname = \"x\"", "no `name`"),
            (
                "addresses = [\"10.0.0.1/33\"]\n[link]\nkind = \"memory\"",
                "10.0.0.1/33",
            ),
            (
                "ecn = \"exact\"\n[link]\nkind = \"memory\"",
                "accept-accurate",
            ),
            ("adresses = []\n[link]\nkind = \"memory\"", "adresses"),
        ] {
            let error = StackConfig::from_toml(text, "zcn.toml").expect_err(text);
            let message = error.to_string();
            assert!(
                message.starts_with("zcn.toml is not understood"),
                "{message}"
            );
            assert!(message.contains(part), "{message}");
        }
    }
}
