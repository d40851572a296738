//! Carries a script out.

use std::collections::VecDeque;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};

use zcn_frame::Chain;
use zcn_pool::{BufferPool, SharedBuf};
use zcn_stack::error::{NetworkError, RouteError};
use zcn_stack::event::Readiness;
use zcn_stack::id::InterfaceId;
use zcn_stack::slab::Id;
use zcn_stack::tcp::{
    AcceptError, IcmpError, Path, Paths, RecvError, SegmentIn, SegmentOut, SendError,
    SocketOptions, Tcp, TcpConfig, TcpError, TcpInfo,
};
use zcn_stack::time::Instant;
use zcn_wire::SeqNum;

use super::action::{Action, Line, Script, Segment};
use super::judge::{Flows, Left, PEER_PORTS, PORT, compare, pattern, take};
use super::settings::{self, World};

/// No script lasts longer.
const MAX_STEPS: usize = 200_000;

fn time(nanos: u64) -> Instant {
    Instant::from_nanos(nanos)
}

struct Route(World);

impl Paths for Route {
    fn path(&mut self, _: Instant, local: Option<IpAddr>, _: IpAddr) -> Result<Path, RouteError> {
        Ok(Path {
            local: local.unwrap_or(addresses(self.0.ipv6).0),
            interface: InterfaceId(0),
            mtu: self.0.mtu,
            initial_window: self.0.initial_window,
            gso_max_size: self.0.gso.max(self.0.mtu),
        })
    }
}

fn addresses(ipv6: bool) -> (IpAddr, IpAddr) {
    if ipv6 {
        (
            "fd00::1".parse().expect("an address"),
            "fd00:1::2".parse().expect("an address"),
        )
    } else {
        ([192, 168, 0, 1].into(), [192, 0, 2, 1].into())
    }
}

pub(crate) struct Runner {
    tcp: Tcp,
    pool: BufferPool,
    route: Route,
    now: Instant,
    local: IpAddr,
    remote: IpAddr,
    flows: Flows,
    options: SocketOptions,
    listener: Option<Id>,
    sockets: Vec<Id>,
    /// Bytes sent and received by the application, by socket.
    sent: Vec<u64>,
    read: Vec<u64>,
    /// A socket was said to be writable since the last question.
    woken: bool,
    /// What has left and was not expected yet.
    out: VecDeque<Left>,
}

impl Runner {
    pub(crate) fn new(script: &Script) -> Result<Self, String> {
        let mut config = TcpConfig::default();
        config.window_scale = Some(8);
        let mut world = World::default();
        for (line, name, value) in &script.config {
            settings::configure(&mut config, &mut world, name, value)
                .map_err(|error| format!("{line}: {error}"))?;
        }
        let mut options = SocketOptions::default();
        for (line, name, value) in &script.options {
            settings::set(&mut options, name, value).map_err(|error| format!("{line}: {error}"))?;
        }
        let pool = BufferPool::builder()
            .buffer_size(4096)
            .count(world.pool_buffers)
            .build()
            .map_err(|error| error.to_string())?;
        let now = Instant::from_secs(1000);
        let (local, remote) = addresses(world.ipv6);
        let flows = Flows::new(world.peer_isn);
        Ok(Self {
            tcp: Tcp::new(config, pool.local(), &[42; 32], now),
            pool,
            route: Route(world),
            now,
            local,
            remote,
            flows,
            options,
            listener: None,
            sockets: Vec::new(),
            sent: Vec::new(),
            read: Vec::new(),
            woken: false,
            out: VecDeque::new(),
        })
    }

    pub(crate) fn run(mut self, script: &Script) -> Result<(), String> {
        let mut last = self.now;
        for line in &script.lines {
            let from = Instant::from_nanos(last.as_nanos() + line.time.0);
            let to = Instant::from_nanos(last.as_nanos() + line.time.1);
            last = self
                .step(line, from, to)
                .map_err(|error| format!("{}: {error}", line.number))?;
        }
        if let Some(segment) = self.out.pop_front() {
            let (at, text) = (time(segment.at), self.flows.describe(&segment));
            return Err(format!("at the end, unexpected at {at}: {text}"));
        }
        drop(self.tcp);
        let in_use = self.pool.stats().in_use;
        if in_use > 0 {
            return Err(format!("{in_use} buffers were not given back"));
        }
        Ok(())
    }

    fn step(&mut self, line: &Line, from: Instant, to: Instant) -> Result<Instant, String> {
        match &line.action {
            Action::Out(segment) => return self.expect(segment, from, to),
            Action::Silence => {
                self.advance(from)?;
                if let Some(segment) = self.out.front() {
                    return Err(format!(
                        "expected silence, at {} left: {}",
                        time(segment.at),
                        self.flows.describe(segment)
                    ));
                }
            }
            Action::In(segment) => {
                self.advance(from)?;
                self.inject(segment)?;
            }
            Action::Call(verb, socket, arguments, result) => {
                self.advance(from)?;
                self.call(verb, *socket, arguments, result.as_deref())?;
            }
        }
        self.collect();
        Ok(from)
    }

    /// Lets time pass up to `to`.
    fn advance(&mut self, to: Instant) -> Result<(), String> {
        for _ in 0..MAX_STEPS {
            let next = self.tcp.poll_timeout().filter(|&at| at <= to);
            let Some(at) = next else {
                self.now = to;
                return Ok(());
            };
            self.now = self.now.max(at);
            self.tcp.handle_timeout(self.now);
            self.collect();
        }
        Err("timers strike without end".into())
    }

    /// Takes everything that wants to leave.
    fn collect(&mut self) {
        let mut segment = SegmentOut::default();
        while self
            .tcp
            .poll_segment(self.now, &mut self.route, &mut segment)
        {
            let segment = std::mem::take(&mut segment);
            self.out.push_back(Left {
                at: self.now.as_nanos(),
                tcp: segment.tcp,
                payload: segment.payload.to_vec(),
                traffic_class: segment.traffic_class,
            });
        }
        while let Some(event) = self.tcp.poll_event() {
            self.woken |= event.readiness.contains(Readiness::WRITABLE);
        }
    }

    fn expect(&mut self, wanted: &Segment, from: Instant, to: Instant) -> Result<Instant, String> {
        let tolerance = self.route.0.tolerance;
        let latest = Instant::from_nanos(to.as_nanos() + tolerance);
        while self.out.is_empty() {
            let next = self.tcp.poll_timeout().filter(|&at| at <= latest);
            let Some(at) = next else {
                let state = self.sockets.first().and_then(|&id| self.tcp.state(id));
                return Err(format!(
                    "expected a segment until {latest}, nothing left (state {state:?})"
                ));
            };
            self.now = self.now.max(at);
            self.tcp.handle_timeout(self.now);
            self.collect();
        }
        let got = take(&mut self.out, wanted.len).ok_or("nothing left")?;
        self.flows.compare(wanted, &got)?;
        let early = Instant::from_nanos(from.as_nanos().saturating_sub(tolerance));
        let at = time(got.at);
        if at < early || at > latest {
            return Err(format!(
                "left at {at}, expected between {from} and {to}: {}",
                self.flows.describe(&got)
            ));
        }
        Ok(from.max(at.min(to)))
    }

    fn inject(&mut self, segment: &Segment) -> Result<(), String> {
        let (tcp, bytes) = self.flows.segment(segment);
        let mut segment = SegmentIn {
            remote: SocketAddr::new(self.remote, tcp.src_port),
            local: SocketAddr::new(self.local, tcp.dst_port),
            interface: InterfaceId(0),
            ecn: segment.ecn,
            psh_seen: tcp.flags.psh(),
            tcp,
            payload: Chain::from(SharedBuf::from(zcn_bytes(bytes))),
            segments: segment.segments,
        };
        self.tcp
            .handle_segment(self.now, &mut segment, &mut self.route);
        Ok(())
    }

    fn socket(&self, number: usize) -> Result<Id, String> {
        self.sockets
            .get(number - 1)
            .copied()
            .ok_or_else(|| format!("there is no socket {number}"))
    }

    fn call(
        &mut self,
        verb: &str,
        number: usize,
        arguments: &[String],
        result: Option<&str>,
    ) -> Result<(), String> {
        let argument = |at: usize| {
            arguments
                .get(at)
                .map(String::as_str)
                .ok_or(format!("{verb} needs more words"))
        };
        let count = |at: usize| {
            argument(at)?
                .parse::<usize>()
                .map_err(|_| format!("{verb} needs a number"))
        };
        let now = self.now;
        let got = match verb {
            "listen" => {
                let backlog = if arguments.is_empty() { 16 } else { count(1)? };
                let local = SocketAddr::new(self.local, PORT);
                match self.tcp.listen(local, backlog, self.options.clone()) {
                    Ok(id) => {
                        self.listener = Some(id);
                        "ok".into()
                    }
                    Err(error) => error.to_string(),
                }
            }
            "unlisten" => {
                let id = self.listener.take().ok_or("no listener")?;
                outcome(self.tcp.close_listener(now, id))
            }
            "accept" => {
                let id = self.listener.ok_or("no listener")?;
                match self.tcp.accept(now, id) {
                    Ok((id, _)) => {
                        self.add_socket(id);
                        "ok".into()
                    }
                    Err(AcceptError::WouldBlock) => "wouldblock".into(),
                    Err(error) => error.to_string(),
                }
            }
            "connect" => {
                let port = PEER_PORTS + self.sockets.len() as u16 + 1;
                let (flow, data) = match arguments {
                    [flow @ .., data, len] if data == "data" => (
                        flow.first(),
                        Some(len.parse::<u64>().map_err(|e| e.to_string())?),
                    ),
                    _ => (arguments.first(), None),
                };
                let port = match flow {
                    Some(flow) => PEER_PORTS + flow.parse::<u16>().map_err(|e| e.to_string())?,
                    None => port,
                };
                let remote = SocketAddr::new(self.remote, port);
                let local = SocketAddr::new(self.local, PORT);
                let options = self.options.clone();
                match self
                    .tcp
                    .connect(now, remote, Some(local), options, &mut self.route)
                {
                    Ok(id) => {
                        self.add_socket(id);
                        if let Some(len) = data {
                            let bytes: Vec<u8> = (0..len).map(pattern).collect();
                            let sent = self.tcp.send(now, id, &bytes, false);
                            let sent = sent.map_err(|error| error.to_string())? as u64;
                            if let Some(count) = self.sent.last_mut() {
                                *count += sent;
                            }
                        }
                        "ok".into()
                    }
                    Err(error) => error.to_string(),
                }
            }
            "send" | "sendbuf" => {
                let id = self.socket(number)?;
                let start = self.sent[number - 1];
                let len = count(0)?;
                let flag = |flag: &str| arguments[1..].iter().any(|word| word == flag);
                let more = flag("more");
                let bytes: Vec<u8> = (0..len as u64).map(|at| pattern(start + at)).collect();
                let sent = if verb == "send" {
                    self.tcp.send(now, id, &bytes, more)
                } else {
                    self.tcp
                        .send_buf(now, id, zcn_bytes(bytes).into(), more)
                        .map(|()| len)
                        .map_err(|error| error.error)
                };
                if sent.is_ok() && flag("eor") {
                    self.tcp.end_record(id).map_err(|e| e.to_string())?;
                }
                if sent.is_ok() && flag("urgent") {
                    self.tcp.mark_urgent(now, id).map_err(|e| e.to_string())?;
                }
                match sent {
                    Ok(sent) => {
                        self.sent[number - 1] += sent as u64;
                        if result.is_none() && sent != len {
                            return Err(format!("sent {sent} of {len}"));
                        }
                        sent.to_string()
                    }
                    Err(SendError::WouldBlock) => "wouldblock".into(),
                    Err(SendError::Closed) => "closed".into(),
                    Err(SendError::Connection(error)) => name(error).into(),
                    Err(error) => error.to_string(),
                }
            }
            "recv" => {
                let id = self.socket(number)?;
                let mut bytes = vec![0; count(0)?];
                let start = self.read[number - 1];
                match self.tcp.recv(now, id, &mut bytes) {
                    Ok(0) => "eof".into(),
                    Ok(read) => {
                        self.read[number - 1] += read as u64;
                        let good = bytes[..read]
                            .iter()
                            .zip(start..)
                            .all(|(&byte, at)| byte == pattern(at));
                        if !good {
                            return Err(format!("wrong bytes in {read} received at {start}"));
                        }
                        if result.is_none() && read != bytes.len() {
                            return Err(format!("received {read} of {}", bytes.len()));
                        }
                        read.to_string()
                    }
                    Err(RecvError::WouldBlock) => "wouldblock".into(),
                    Err(RecvError::Connection(error)) => name(error).into(),
                    Err(error) => error.to_string(),
                }
            }
            "close" => outcome(self.tcp.close(now, self.socket(number)?)),
            "abort" => outcome(self.tcp.abort(now, self.socket(number)?)),
            "shutdown" => outcome(self.tcp.shutdown_write(now, self.socket(number)?)),
            "shutread" => outcome(self.tcp.shutdown_read(now, self.socket(number)?)),
            "set" => {
                let option = settings::option(argument(0)?, argument(1)?)?;
                match self.tcp.set_option(now, self.socket(number)?, option) {
                    Ok(()) => "ok".into(),
                    Err(error) => error.to_string(),
                }
            }
            "woken" => match std::mem::take(&mut self.woken) {
                true => "yes".into(),
                false => "no".into(),
            },
            "writable" => match self.tcp.poll_writable(self.socket(number)?) {
                true => "yes".into(),
                false => "no".into(),
            },
            "icmp" => return self.icmp(number, arguments),
            "error" => match self.tcp.take_error(self.socket(number)?) {
                Some(error) => name(error).into(),
                None => "none".into(),
            },
            "state" => match self.tcp.state(self.socket(number)?) {
                Some(state) => state.name().into(),
                None => "gone".into(),
            },
            "readable" => self.tcp.readable(self.socket(number)?).to_string(),
            "queued" => self.tcp.unacknowledged(self.socket(number)?).to_string(),
            "mtu" => {
                self.route.0.mtu = count(0)? as u32;
                "ok".into()
            }
            "show" => {
                let info = self.tcp.info(now, self.socket(number)?);
                let info = info.ok_or("no such connection")?;
                for name in arguments {
                    let value = field(&info, name)?;
                    let _ = writeln!(std::io::stdout(), "socket {number}: {name} {value}");
                }
                return Ok(());
            }
            "info" => {
                let info = self
                    .tcp
                    .info(now, self.socket(number)?)
                    .ok_or("no such connection")?;
                return arguments.chunks(3).try_for_each(|words| match words {
                    [name, operator, wanted] => {
                        compare(name, field(&info, name)?, operator, wanted)
                    }
                    _ => Err("info needs a field, an operator and a value".into()),
                });
            }
            "stat" => {
                let wanted = argument(0)?;
                let value = self
                    .tcp
                    .stats()
                    .iter()
                    .find(|(name, _)| *name == wanted)
                    .ok_or(format!("no counter {wanted}"))?
                    .1;
                return compare(wanted, value, argument(1)?, argument(2)?);
            }
            "drop" => {
                let wanted = argument(0)?;
                let value = self
                    .tcp
                    .drops()
                    .iter()
                    .find(|(reason, _)| reason.name() == wanted)
                    .ok_or(format!("no reason {wanted}"))?
                    .1;
                return compare(wanted, value, argument(1)?, argument(2)?);
            }
            "count" => {
                let value = match argument(0)? {
                    "connections" => self.tcp.connections(),
                    "half-open" => self.tcp.half_open(),
                    "time-waits" => self.tcp.time_waits(),
                    other => return Err(format!("no count of {other}")),
                };
                value.to_string()
            }
            _ => return Err(format!("unknown verb {verb}")),
        };
        let wanted = match result {
            Some(wanted) => wanted,
            None if matches!(verb, "send" | "sendbuf" | "recv") => {
                let expected = count(0)?.to_string();
                if got == expected {
                    return Ok(());
                }
                return Err(format!("{verb} answered {got}, expected {expected}"));
            }
            None => "ok",
        };
        if got == wanted {
            Ok(())
        } else {
            Err(format!("{verb} answered {got}, expected {wanted}"))
        }
    }

    fn add_socket(&mut self, id: Id) {
        self.sockets.push(id);
        self.sent.push(0);
        self.read.push(0);
    }

    fn icmp(&mut self, number: usize, arguments: &[String]) -> Result<(), String> {
        let mut words = arguments.iter().map(String::as_str);
        let kind = match words.next().ok_or("which error")? {
            "too-big" => NetworkError::TooBig {
                mtu: words
                    .next()
                    .and_then(|mtu| mtu.parse().ok())
                    .ok_or("too-big needs an mtu")?,
            },
            "port-unreachable" => NetworkError::PortUnreachable,
            "host-unreachable" => NetworkError::HostUnreachable,
            "prohibited" => NetworkError::Prohibited,
            other => return Err(format!("unknown error {other}")),
        };
        let seq: u32 = match (words.next(), words.next()) {
            (Some("seq"), Some(seq)) => seq.parse().map_err(|_| "seq needs a number")?,
            _ => return Err("icmp quotes a seq".into()),
        };
        let flow = self.flows.get(number);
        let error = IcmpError {
            local: SocketAddr::new(self.local, flow.local_port.unwrap_or(PORT)),
            remote: SocketAddr::new(self.remote, PEER_PORTS + number as u16),
            seq: flow.our_isn.unwrap_or(SeqNum(0)) + seq,
            kind,
        };
        self.tcp.handle_icmp(self.now, &error);
        Ok(())
    }
}

fn zcn_bytes(bytes: Vec<u8>) -> bytes::Bytes {
    bytes.into()
}

fn outcome<E: std::fmt::Display>(result: Result<(), E>) -> String {
    match result {
        Ok(()) => "ok".into(),
        Err(error) => error.to_string(),
    }
}

fn name(error: TcpError) -> &'static str {
    match error {
        TcpError::Refused => "refused",
        TcpError::Reset => "reset",
        TcpError::TimedOut => "timedout",
        TcpError::HostUnreachable => "unreachable",
        TcpError::Aborted => "aborted",
        TcpError::BrokenPipe => "pipe",
        _ => "unknown",
    }
}

/// A field of TCP_INFO by its name, out of its debugging form.
fn field(info: &TcpInfo, name: &str) -> Result<u64, String> {
    if name == "tcpi_state" {
        return Ok(info.tcpi_state as u64);
    }
    let text = format!("{info:?}");
    let start = text
        .find(&format!("{name}: "))
        .ok_or(format!("no field {name}"))?
        + name.len()
        + 2;
    let digits: String = text[start..]
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    digits.parse().map_err(|_| format!("{name} is no number"))
}
