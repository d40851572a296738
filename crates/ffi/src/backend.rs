//! Whose TCP/IP carries what is on a loop: the kernel's, or a stack of the loop's own.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use zcn::Runtime;
use zcn::stack::{IpCidr, LinkConfig, RouteConfig, StackConfig, StackError};

use crate::error::{Failure, Result, ZCN_Error};
use crate::options::{invalid, shown, word};

/// Names of the options here, all of them texts.
pub(crate) const NAMES: &[&str] = &[
    "addresses",
    "backend",
    "capture",
    "kernel_addresses",
    "link",
    "routes",
    "stack_file",
];

/// The options that say which; those of the stack count for `backend` = `stack` only.
#[derive(Clone, Debug, Default)]
pub(crate) struct Backend {
    stack: bool,
    /// All of the rest, in a TOML file.
    file: Option<PathBuf>,
    link: Option<LinkConfig>,
    addresses: Vec<IpCidr>,
    routes: Vec<RouteConfig>,
    kernel_addresses: Vec<IpCidr>,
    capture: Option<PathBuf>,
}

impl Backend {
    /// Sets one of [`NAMES`].
    pub(crate) fn set(&mut self, name: &str, value: &str) -> Result<()> {
        match name {
            "backend" => self.stack = word(name, value, &[("kernel", false), ("stack", true)])?,
            "stack_file" => self.file = Some(value.into()),
            "link" => self.link = Some(link(value)?),
            "addresses" => self.addresses = list(name, value, parse)?,
            "kernel_addresses" => self.kernel_addresses = list(name, value, parse)?,
            "routes" => self.routes = list(name, value, route)?,
            // The other one of the names.
            _ => self.capture = Some(value.into()),
        }
        Ok(())
    }

    /// Brings up the stack in a new runtime, if it is to have one.
    pub(crate) fn open(&self, runtime: &Runtime) -> Result<()> {
        if !self.stack {
            return Ok(());
        }
        let config = self.config()?;
        let net = runtime
            .open_stack(&config)
            .map_err(|error| refused(&error))?;
        runtime.set_net(&net).map_err(Failure::from)
    }

    fn config(&self) -> Result<StackConfig> {
        match (&self.file, &self.link) {
            (Some(path), None) => self.file_config(path),
            (None, Some(link)) => {
                let mut link = link.clone();
                link.kernel_addresses.clone_from(&self.kernel_addresses);
                link.capture.clone_from(&self.capture);
                let mut config = StackConfig::new(link);
                config.addresses.clone_from(&self.addresses);
                config.routes.clone_from(&self.routes);
                Ok(config)
            }
            (None, None) => Err(invalid(
                "backend = \"stack\" needs a link (tap:NAME, tun:NAME, packet:INTERFACE or \
                 memory), or a stack_file that has one"
                    .to_owned(),
            )),
            (Some(_), Some(_)) => Err(both()),
        }
    }

    fn file_config(&self, path: &Path) -> Result<StackConfig> {
        let empty = self.addresses.is_empty()
            && self.routes.is_empty()
            && self.kernel_addresses.is_empty()
            && self.capture.is_none();
        match empty {
            true => StackConfig::from_file(path).map_err(|error| refused(&error)),
            false => Err(both()),
        }
    }
}

fn both() -> Failure {
    invalid(
        "stack_file says all there is to say of the stack: leave link, addresses, routes, \
         kernel_addresses and capture out, or write them into the file"
            .to_owned(),
    )
}

fn refused(error: &StackError) -> Failure {
    let (code, errno) = match error.raw_os_error() {
        None => (ZCN_Error::ZCN_ERROR_INVALID_CONFIG, 0),
        Some(libc::ENOMEM) => (ZCN_Error::ZCN_ERROR_OUT_OF_MEMORY, libc::ENOMEM),
        Some(errno) => (ZCN_Error::ZCN_ERROR_SYSTEM, errno),
    };
    Failure::new(code, error.to_string()).with_errno(errno)
}

fn link(value: &str) -> Result<LinkConfig> {
    let (kind, name) = value.split_once(':').unwrap_or((value, ""));
    match (kind, name) {
        ("memory", "") => Ok(LinkConfig::memory()),
        ("tap", _) if !name.is_empty() => Ok(LinkConfig::tap(name)),
        ("tun", _) if !name.is_empty() => Ok(LinkConfig::tun(name)),
        ("packet", _) if !name.is_empty() => Ok(LinkConfig::packet(name)),
        _ => Err(invalid(format!(
            "link = \"{}\" is none of: tap:NAME, tun:NAME, packet:INTERFACE, memory",
            shown(value)
        ))),
    }
}

/// What stands between commas; nothing in an empty text.
fn list<T>(
    name: &str,
    value: &str,
    one: impl Fn(&str) -> std::result::Result<T, String>,
) -> Result<Vec<T>> {
    let items = value.split(',').map(str::trim);
    items
        .filter(|item| !item.is_empty())
        .map(|item| one(item).map_err(|why| invalid(format!("{name}: \"{}\": {why}", shown(item)))))
        .collect()
}

fn parse<T: FromStr<Err: Display>>(text: &str) -> std::result::Result<T, String> {
    text.parse().map_err(|error: T::Err| error.to_string())
}

/// `NETWORK via ROUTER`, or a network that is on the link.
fn route(text: &str) -> std::result::Result<RouteConfig, String> {
    let (to, via) = match text.split_once(" via ") {
        Some((to, via)) => (to.trim(), Some(parse(via.trim())?)),
        None => (text, None),
    };
    Ok(RouteConfig {
        to: parse(to)?,
        via,
        metric: 0,
        mtu: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::last_message;

    fn set(pairs: &[(&str, &str)]) -> Result<StackConfig> {
        let mut backend = Backend::default();
        for (name, value) in pairs {
            backend.set(name, value)?;
        }
        backend.config()
    }

    #[test]
    fn texts_become_a_stack() {
        let config = set(&[
            ("link", "tap:zcn0"),
            ("addresses", "10.9.0.2/24, fd09::2/64"),
            ("kernel_addresses", "10.9.0.1/24"),
            ("routes", "0.0.0.0/0 via 10.9.0.1,10.10.0.0/16"),
            ("capture", "x.pcapng"),
        ])
        .unwrap();
        assert_eq!(config.link.kind.to_string(), "TAP zcn0");
        let texts: Vec<String> = config.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["10.9.0.2/24", "fd09::2/64"]);
        assert_eq!(config.link.kernel_addresses.len(), 1);
        assert_eq!(config.routes[0].via, Some([10, 9, 0, 1].into()));
        assert_eq!(config.routes[1].via, None);
        assert_eq!(config.link.capture, Some("x.pcapng".into()));
    }

    #[test]
    fn what_is_no_stack_is_refused_by_name() {
        let refused = |pairs: &[(&str, &str)], needles: &[&str]| {
            assert_eq!(
                set(pairs).unwrap_err().code(),
                ZCN_Error::ZCN_ERROR_INVALID_CONFIG
            );
            let message = last_message();
            assert!(
                needles.iter().all(|text| message.contains(text)),
                "{message}"
            );
        };
        for link in ["", "tap", "tap:", "eth0", "memory:x", "packet:"] {
            refused(&[("link", link)], &["link", "packet:INTERFACE"]);
        }
        refused(&[("addresses", "10.9.0.2/33")], &["addresses", "/33"]);
        refused(&[("routes", "0.0.0.0/0 via me")], &["routes", "via me"]);
        refused(&[("backend", "kernel")], &["needs a link", "memory"]);
        refused(
            &[("stack_file", "x"), ("link", "memory")],
            &["stack_file", "leave link"],
        );
        refused(
            &[("stack_file", "x"), ("addresses", "10.9.0.2/24")],
            &["stack_file", "addresses"],
        );
    }
}
