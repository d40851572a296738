//! Which link a stack of our own is on, and as whom: arguments of every subcommand that
//! brings one up.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use zcn::stack::{IpCidr, LinkConfig, RouteConfig, StackConfig};
use zcn_stack::tcp::Ecn;

use super::failure;
use crate::endpoint;
use crate::failure::Failure;
use crate::quantity;

/// A link, addresses and routes.
#[derive(Clone, Debug, Default, Args)]
pub struct LinkArgs {
    /// TAP device to be on, made if there is none; the kernel's stack is on its other end.
    #[arg(long, value_name = "NAME", group = "link")]
    pub tap: Option<String>,

    /// TUN device to be on: as --tap, but IP packets without Ethernet.
    #[arg(long, value_name = "NAME", group = "link")]
    pub tun: Option<String>,

    /// Interface to be on with a packet socket: one end of a veth pair, or any other. The
    /// stack has an Ethernet address of its own there.
    #[arg(long, value_name = "NAME", group = "link")]
    pub veth: Option<String>,

    /// Be on a link through memory, on which there is nobody else: to try settings without
    /// privilege.
    #[arg(long, group = "link")]
    pub mem: bool,

    /// Read link, addresses, routes and sizes from a TOML file.
    #[arg(long, value_name = "FILE", group = "link")]
    pub config: Option<PathBuf>,

    /// Address of the stack with its network, as in 10.9.0.2/24; may be repeated.
    #[arg(long, value_name = "CIDR", value_parser = cidr)]
    pub address: Vec<IpCidr>,

    /// Address for the kernel's end of a TAP or TUN device; may be repeated.
    #[arg(long, value_name = "CIDR", value_parser = cidr)]
    pub kernel_address: Vec<IpCidr>,

    /// Router for everything that is not on the link; one for each of IPv4 and IPv6.
    #[arg(long, value_name = "ADDR", value_parser = endpoint::ip)]
    pub gateway: Vec<IpAddr>,

    /// Largest IP packet in bytes.
    #[arg(long, value_name = "BYTES", value_parser = quantity::whole(0_u32..))]
    pub mtu: Option<u32>,

    /// Send and receive single packets with complete checksums, not super-frames.
    #[arg(long)]
    pub no_offload: bool,

    /// Write every frame, with nanoseconds, to this pcapng file.
    #[arg(long, value_name = "FILE")]
    pub capture: Option<PathBuf>,

    /// Explicit congestion notification of TCP: never, accept (what peers offer, the default),
    /// offer, accurate (RFC 9768), accept-accurate, accept-accurate-offer-classic.
    #[arg(long, value_name = "KIND")]
    pub ecn: Option<Ecn>,

    /// Look for frames this many microseconds before sleeping.
    #[arg(long, value_name = "US", value_parser = quantity::whole(0_u64..=1_000_000))]
    pub spin: Option<u64>,
}

/// Without its prefix an address would be alone on its link, which is hardly what is meant.
fn cidr(text: &str) -> Result<IpCidr, String> {
    let parsed = text.contains('/').then(|| text.parse().ok()).flatten();
    parsed.ok_or_else(|| {
        format!("{text:?} is no address with prefix length; write 10.9.0.2/24 or fd09::2/64")
    })
}

impl LinkArgs {
    /// Whether a stack of our own is asked for: by its link, or by what only that has.
    pub(crate) const fn is_given(&self) -> bool {
        self.tap.is_some()
            || self.tun.is_some()
            || self.veth.is_some()
            || self.mem
            || self.config.is_some()
            || !self.address.is_empty()
            || self.capture.is_some()
    }

    /// The settings of a stack.
    ///
    /// # Errors
    /// Without a link or an address, and for a file that is not understood.
    pub(crate) fn settings(&self) -> Result<StackConfig, Failure> {
        let link = match (&self.tap, &self.tun, &self.veth, &self.config) {
            (Some(name), ..) => LinkConfig::tap(name),
            (_, Some(name), ..) => LinkConfig::tun(name),
            (_, _, Some(name), _) => LinkConfig::packet(name),
            (.., Some(path)) => return self.add_to(StackConfig::from_file(path).map_err(failure)?),
            _ if self.mem => LinkConfig::memory(),
            _ => {
                return Err(Failure::new("no link was named").remedy(
                    "--tap zcn0 (as root), --veth NAME, --mem (without privilege), or --config FILE",
                ));
            }
        };
        self.add_to(StackConfig::new(link))
    }

    fn add_to(&self, mut config: StackConfig) -> Result<StackConfig, Failure> {
        config.addresses.extend(&self.address);
        config.link.kernel_addresses.extend(&self.kernel_address);
        config.link.mtu = self.mtu.or(config.link.mtu);
        config.link.offload &= !self.no_offload;
        if let Some(path) = &self.capture {
            config.link.capture = Some(path.clone());
        }
        for &gateway in &self.gateway {
            let to = if gateway.is_ipv4() {
                "0.0.0.0/0"
            } else {
                "::/0"
            };
            config.routes.push(RouteConfig {
                to: cidr(to).map_err(Failure::new)?,
                via: Some(gateway),
                metric: 0,
                mtu: None,
            });
        }
        if let Some(ecn) = self.ecn {
            config.protocols.tcp.ecn = ecn;
        }
        if let Some(micros) = self.spin {
            config.spin = Duration::from_micros(micros);
        }
        if config.addresses.is_empty() {
            return Err(Failure::new("the stack has no address")
                .remedy("--address 10.9.0.2/24, in the network of its neighbours"));
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        on: LinkArgs,
    }

    fn parse(arguments: &[&str]) -> Result<LinkArgs, clap::Error> {
        Line::try_parse_from([&["on"], arguments].concat()).map(|line| line.on)
    }

    #[test]
    fn arguments_become_settings() {
        let config = parse(&[
            "--tap",
            "zcn0",
            "--address",
            "10.9.0.2/24",
            "--address",
            "fd09::2/64",
            "--kernel-address",
            "10.9.0.1/24",
            "--gateway",
            "10.9.0.1",
            "--mtu",
            "1400",
            "--spin",
            "20",
            "--ecn",
            "accurate",
            "--no-offload",
        ])
        .expect("parses")
        .settings()
        .expect("makes sense");
        assert_eq!(config.link.kind.to_string(), "TAP zcn0");
        assert_eq!((config.link.mtu, config.link.offload), (Some(1400), false));
        assert_eq!(config.addresses.len(), 2);
        assert_eq!(config.routes[0].to.to_string(), "0.0.0.0/0");
        assert_eq!(config.spin, Duration::from_micros(20));
        assert_eq!(config.protocols.tcp.ecn, Ecn::Accurate);
    }

    #[test]
    fn one_link_and_an_address_are_needed() {
        let error = parse(&["--tap", "a", "--veth", "b"]).expect_err("two links");
        assert_eq!(error.kind(), clap::error::ErrorKind::ArgumentConflict);
        let error = parse(&["--address", "10.9.0.2/24"])
            .expect("parses")
            .settings()
            .expect_err("no link");
        assert!(error.to_string().contains("--tap"), "{error}");
        let error = parse(&["--mem"])
            .expect("parses")
            .settings()
            .expect_err("no address");
        assert!(error.to_string().contains("--address"), "{error}");
        for nonsense in ["10.9.0.2", "10.9.0.2/33", "nowhere/8"] {
            let error = parse(&["--mem", "--address", nonsense]).expect_err(nonsense);
            assert!(error.to_string().contains("write 10.9.0.2/24"), "{error}");
        }
    }
}
