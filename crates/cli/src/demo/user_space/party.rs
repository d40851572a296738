//! Who serves: the kernel's stack in another namespace, or ours in this one.

use std::env;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::thread::gettid;

use super::services;
use crate::failure::Failure;
use crate::network::{DEVICE, Host};

/// The server, whoever it is; its clients are at the address before it.
pub(super) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
const CLIENTS: &str = "10.77.0.1/24";
/// How long a stack may take to come up.
const HANG: Duration = Duration::from_secs(20);

enum Kind {
    /// The kernel in a namespace of its own, across a veth pair.
    Kernel { _servers: Host },
    /// `zcn stack up` in the namespace of the clients, on a TAP device.
    Ours,
}

/// A server and the namespace of its clients.
pub(super) struct Party {
    pub(super) name: &'static str,
    kind: Kind,
    clients: Host,
}

impl Party {
    /// Those that can be had here: ours, and before it the kernel if `ip` is installed to
    /// make a veth pair with.
    ///
    /// # Errors
    /// Namespaces or TAP devices are refused.
    pub(super) fn all() -> Result<Vec<Self>, Failure> {
        // TAP devices are tried first, as nothing works without.
        drop(Host::with_tap(&[], 1500)?);
        let ours = Self {
            name: "zcn in user space, TAP",
            kind: Kind::Ours,
            clients: Host::new()?,
        };
        let mut all = vec![ours];
        if has_program("ip") {
            all.insert(0, Self::kernel()?);
        }
        Ok(all)
    }

    fn kernel() -> Result<Self, Failure> {
        let (clients, servers) = (Host::new()?, Host::new()?);
        let tid = servers.enter(|| gettid().as_raw_nonzero())?;
        let far = format!("link add {DEVICE} type veth peer name {DEVICE} netns {tid}");
        for (host, settings) in [
            (&clients, far.as_str()),
            (&clients, "address add 10.77.0.1/24 dev zcn0"),
            (&clients, "link set zcn0 up"),
            (&servers, "address add 10.77.0.2/24 dev zcn0"),
            (&servers, "link set zcn0 up"),
        ] {
            ip(host, settings)?;
        }
        servers
            .enter(services::start)?
            .map_err(|error| Failure::new("cannot serve in a namespace").because(error))?;
        Ok(Self {
            name: "the kernel, veth",
            kind: Kind::Kernel { _servers: servers },
            clients,
        })
    }

    pub(super) const fn is_ours(&self) -> bool {
        matches!(self.kind, Kind::Ours)
    }

    /// Where clients belong.
    pub(super) const fn clients(&self) -> &Host {
        &self.clients
    }

    /// Sees to it that it serves.
    ///
    /// # Errors
    /// It does not come up.
    pub(super) fn start(&self, capture: Option<&Path>) -> Result<Serving, Failure> {
        let mut serving = Serving { program: None };
        if self.is_ours() {
            serving.program = Some(start_program(&self.clients, capture)?);
        }
        let begun = Instant::now();
        loop {
            let address = SocketAddr::from((SERVER, services::ECHO));
            let tried = self
                .clients
                .enter(move || TcpStream::connect_timeout(&address, Duration::from_secs(1)))?;
            match tried {
                Ok(_) => return Ok(serving),
                Err(_) if begun.elapsed() < HANG => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(error) => {
                    return Err(
                        Failure::new(format!("{} cannot be reached", self.name)).because(error)
                    );
                }
            }
        }
    }
}

/// Starts `zcn stack up` in a namespace, and waits until it says that it is up.
fn start_program(
    host: &Host,
    capture: Option<&Path>,
) -> Result<(Child, BufReader<ChildStdout>), Failure> {
    let failed = |error| Failure::new("cannot start `zcn stack up`").because(error);
    let program = env::current_exe().map_err(failed)?;
    let capture: Option<PathBuf> = capture.map(Path::to_owned);
    let started = host.enter(move || {
        let mut command = Command::new(program);
        command
            .args(["stack", "up", "--json", "--tap", DEVICE])
            .args(["--kernel-address", CLIENTS, "--address"])
            .arg(format!("{SERVER}/24"))
            // What it would warn of, such as epoll, the demonstration says itself.
            .env("ZCN_LOG", "error")
            .stdout(Stdio::piped());
        if let Some(path) = capture {
            command.arg("--capture").arg(path);
        }
        command.spawn()
    })?;
    let mut child = started.map_err(failed)?;
    let Some(out) = child.stdout.take() else {
        return Err(Failure::new("`zcn stack up` has no output"));
    };
    let mut out = BufReader::new(out);
    let mut line = String::new();
    out.read_line(&mut line).map_err(failed)?;
    if line.contains("\"up\"") {
        return Ok((child, out));
    }
    // Its reason is on standard error already.
    let _ = child.wait();
    Err(Failure::new("`zcn stack up` did not come up"))
}

fn ip(host: &Host, arguments: &str) -> Result<(), Failure> {
    let failed = || Failure::new(format!("cannot set up a network: ip {arguments}"));
    let owned = arguments.to_owned();
    let output = host
        .enter(move || Command::new("ip").args(owned.split_whitespace()).output())?
        .map_err(|error| failed().because(error))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(failed().because(String::from_utf8_lossy(&output.stderr).trim())),
    }
}

/// Whether a program is installed.
pub(super) fn has_program(name: &str) -> bool {
    env::var_os("PATH")
        .is_some_and(|path| env::split_paths(&path).any(|dir| dir.join(name).is_file()))
}

/// A party that serves.
pub(super) struct Serving {
    program: Option<(Child, BufReader<ChildStdout>)>,
}

impl Serving {
    /// Ends it.
    ///
    /// # Errors
    /// It failed meanwhile.
    pub(super) fn stop(mut self) -> Result<(), Failure> {
        let Some((mut child, mut out)) = self.program.take() else {
            return Ok(());
        };
        let failed = |error| Failure::new("cannot end `zcn stack up`").because(error);
        if let Some(pid) = rustix::process::Pid::from_raw(child.id().cast_signed()) {
            rustix::process::kill_process(pid, rustix::process::Signal::TERM)
                .map_err(|errno| failed(errno.into()))?;
        }
        let mut rest = String::new();
        out.read_to_string(&mut rest).map_err(failed)?;
        match child.wait().map_err(failed)?.success() {
            true => Ok(()),
            false => Err(Failure::new("`zcn stack up` failed")),
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if let Some((child, _)) = &mut self.program {
            // After a failure: nothing is left to be asked of it.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
