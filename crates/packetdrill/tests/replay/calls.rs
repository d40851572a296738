//! The calls of scripts as calls on sockets.

use std::io::Write;

use super::driver::Answer;
use super::judge::{PEER_PORTS, PORT, compare, pattern};
use super::plan::{self, Setting};
use super::player::{Player, Socket};
use super::probe;

const SIOCINQ: u64 = 0x541b;
const SIOCOUTQ: u64 = 0x5411;

const LOCAL_V4: &str = "192.168.0.1";
const REMOTE_V4: &str = "192.0.2.1";
const LOCAL_V6: &str = "[fd3d:a0b:17d6::1]";
const REMOTE_V6: &str = "[fd3d:fa7b:d17d::1]";

/// An error's name in scripts.
fn name(errno: i32) -> String {
    match errno {
        libc::EAGAIN => "wouldblock".into(),
        libc::EPIPE => "closed".into(),
        libc::ECONNREFUSED => "refused".into(),
        libc::ECONNRESET => "reset".into(),
        libc::ETIMEDOUT => "timedout".into(),
        libc::EHOSTUNREACH => "unreachable".into(),
        libc::ECONNABORTED => "aborted".into(),
        other => std::io::Error::from_raw_os_error(other).to_string(),
    }
}

fn said<T: ToString>(answer: Answer<T>) -> String {
    answer.map_or_else(name, |value| value.to_string())
}

fn done<T>(answer: Answer<T>) -> String {
    said(answer.map(|_| "ok"))
}

impl Player<'_> {
    fn socket(&self, number: usize) -> Result<&Socket, String> {
        let socket = self.sockets.get(number - 1);
        socket.ok_or_else(|| format!("there is no socket {number}"))
    }

    fn set(&self, fd: i32, setting: &Setting) -> Answer<i32> {
        self.tool
            .set(fd, setting.level, setting.name, &setting.value)
    }

    /// The state of a socket that is not closed.
    pub(crate) fn state(&self, socket: &Socket) -> Option<&'static str> {
        if !socket.open {
            return None;
        }
        let info = self
            .tool
            .option(socket.fd, libc::IPPROTO_TCP, libc::TCP_INFO, 1);
        info.ok().map(|info| probe::state(info[0]))
    }

    /// A socket at our port, with all options that a socket of its role has.
    fn make(&self, listens: bool) -> Result<i32, String> {
        let fd = self.tool.socket(self.plan.ipv6);
        self.tool.nonblocking(fd);
        let reuse = plan::Setting {
            level: libc::SOL_SOCKET,
            name: libc::SO_REUSEADDR,
            value: 1_i32.to_ne_bytes().to_vec(),
        };
        let only = if listens {
            libc::TCP_FASTOPEN_CONNECT
        } else {
            libc::TCP_FASTOPEN
        };
        for setting in self.plan.options.iter().chain([&reuse]) {
            if (setting.level, setting.name) == (libc::IPPROTO_TCP, only) {
                continue;
            }
            self.set(fd, setting)
                .map_err(|errno| format!("option {}: {}", setting.name, name(errno)))?;
        }
        let local = if self.plan.ipv6 { LOCAL_V6 } else { LOCAL_V4 };
        let bound = self.tool.bind(fd, &format!("{local}:{PORT}"));
        bound.map_err(|errno| format!("bind: {}", name(errno)))?;
        Ok(fd)
    }

    fn add(&mut self, fd: i32) {
        self.sockets.push(Socket {
            fd,
            open: true,
            sent: 0,
            read: 0,
        });
    }

    pub(crate) fn call(
        &mut self,
        verb: &str,
        number: usize,
        arguments: &[String],
        result: Option<&str>,
    ) -> Result<(), String> {
        let argument = |at: usize| {
            let word = arguments.get(at).map(String::as_str);
            word.ok_or(format!("{verb} needs more words"))
        };
        let count = |at: usize| {
            let number = argument(at)?.parse::<usize>();
            number.map_err(|_| format!("{verb} needs a number"))
        };
        let compares = || -> Result<(&str, &str, &str), String> {
            Ok((argument(0)?, argument(1)?, argument(2)?))
        };
        let got = match verb {
            "listen" => {
                let backlog = if arguments.is_empty() {
                    self.plan.half_open.unwrap_or(16)
                } else {
                    count(1)? as i32
                };
                let fd = self.make(true)?;
                self.listener = Some(fd);
                done(self.tool.listen_for(fd, backlog))
            }
            "unlisten" => {
                let fd = self.listener.take().ok_or("no listener")?;
                done(self.tool.close(fd))
            }
            "accept" => {
                let listener = self.listener.ok_or("no listener")?;
                let answer = self.tool.accept(listener);
                if let Ok(fd) = answer {
                    self.tool.nonblocking(fd);
                    self.add(fd);
                }
                done(answer)
            }
            "connect" => self.connect(arguments)?,
            "send" | "sendbuf" => self.send(number, arguments, result)?,
            "recv" => self.receive(number, count(0)?, result)?,
            "close" | "abort" => {
                let fd = self.socket(number)?.fd;
                if verb == "abort" {
                    let linger = plan::option("linger", "0")?;
                    self.set(fd, &linger).map_err(name)?;
                }
                self.sockets[number - 1].open = false;
                done(self.tool.close(fd))
            }
            "shutdown" => done(self.tool.shutdown(self.socket(number)?.fd, libc::SHUT_WR)),
            "shutread" => done(self.tool.shutdown(self.socket(number)?.fd, libc::SHUT_RD)),
            "set" => {
                let setting = plan::option(argument(0)?, argument(1)?)?;
                done(self.set(self.socket(number)?.fd, &setting))
            }
            "writable" => {
                let fd = self.socket(number)?.fd;
                match self.tool.poll(fd, libc::POLLOUT, 0) & libc::POLLOUT {
                    0 => "no".into(),
                    _ => "yes".into(),
                }
            }
            "icmp" => return self.icmp(number, arguments),
            "error" => {
                let fd = self.socket(number)?.fd;
                let (level, option) = (libc::SOL_SOCKET, libc::SO_ERROR);
                let error = self.tool.option(fd, level, option, 4).map_err(name)?;
                let error = error
                    .first_chunk()
                    .map_or(0, |int| i32::from_ne_bytes(*int));
                match error {
                    0 => "none".into(),
                    libc::EPIPE => "pipe".into(),
                    error => name(error),
                }
            }
            "state" => match self.state(self.socket(number)?) {
                // Its descriptor is closed: there is nothing to ask.
                None => return Ok(()),
                Some(state) => state.into(),
            },
            "readable" => said(self.tool.ioctl(self.socket(number)?.fd, SIOCINQ)),
            "queued" => said(self.tool.ioctl(self.socket(number)?.fd, SIOCOUTQ)),
            "info" => {
                let fd = self.socket(number)?.fd;
                let (level, option) = (libc::IPPROTO_TCP, libc::TCP_INFO);
                let info = self.tool.option(fd, level, option, 280).map_err(name)?;
                return arguments.chunks(3).try_for_each(|words| match words {
                    [name, operator, wanted] => {
                        compare(name, probe::field(&info, name, self.ecn)?, operator, wanted)
                    }
                    _ => Err("info needs a field, an operator and a value".into()),
                });
            }
            "show" => {
                let fd = self.socket(number)?.fd;
                let (level, option) = (libc::IPPROTO_TCP, libc::TCP_INFO);
                let info = self.tool.option(fd, level, option, 280).map_err(name)?;
                let fields = arguments.iter().map(|field| {
                    Ok(format!(
                        " {field} {}",
                        probe::field(&info, field, self.ecn)?
                    ))
                });
                let text: String = fields.collect::<Result<_, String>>()?;
                let _ = writeln!(std::io::stdout(), "socket {number}:{text}");
                return Ok(());
            }
            "stat" => {
                let (counter, operator, wanted) = compares()?;
                if !self.clock.real || probe::LACKING.contains(&counter) {
                    return Ok(());
                }
                let mut value = probe::counter(counter)?;
                if counter == "tcpOutRsts" {
                    value -= u64::from(self.fences);
                }
                return compare(counter, value, operator, wanted);
            }
            "count" => {
                let kind = argument(0)?;
                // The kernel keeps half-open connections in its own way.
                if !self.clock.real || kind == "half-open" {
                    return Ok(());
                }
                probe::count(kind)?.to_string()
            }
            // What only the stack's own interface tells.
            "drop" | "woken" => return Ok(()),
            "mtu" => return Err("skip: the route's MTU changes".into()),
            _ => return Err(format!("unknown verb {verb}")),
        };
        let wanted = match result {
            Some(wanted) => wanted.to_owned(),
            None if matches!(verb, "send" | "sendbuf" | "recv") => argument(0)?.to_owned(),
            None => "ok".into(),
        };
        if got == wanted {
            return Ok(());
        }
        Err(format!("{verb} answered {got}, expected {wanted}"))
    }

    fn connect(&mut self, arguments: &[String]) -> Result<String, String> {
        let number = |word: &String| word.parse::<u16>().map_err(|error| error.to_string());
        let (flow, data) = match arguments {
            [flow @ .., data, len] if data == "data" => (flow.first(), Some(number(len)?)),
            _ => (arguments.first(), None),
        };
        let flow = match flow {
            Some(flow) => number(flow)?,
            None => self.sockets.len() as u16 + 1,
        };
        let fd = self.make(false)?;
        let remote = if self.plan.ipv6 { REMOTE_V6 } else { REMOTE_V4 };
        let answer = self
            .tool
            .connect(fd, &format!("{remote}:{}", PEER_PORTS + flow));
        self.add(fd);
        if let Err(errno) = answer
            && errno != libc::EINPROGRESS
        {
            return Ok(name(errno));
        }
        if let Some(data) = data {
            let bytes: Vec<u8> = (0..u64::from(data)).map(pattern).collect();
            let sent = self.tool.write(fd, &bytes).map_err(name)?;
            self.sockets.last_mut().expect("the one").sent = sent as u64;
        }
        Ok("ok".into())
    }

    fn send(
        &mut self,
        number: usize,
        arguments: &[String],
        result: Option<&str>,
    ) -> Result<String, String> {
        let socket = self.socket(number)?.clone();
        let len: u64 = arguments
            .first()
            .and_then(|len| len.parse().ok())
            .ok_or("send needs a number")?;
        let flags = arguments[1..].iter().map(|word| match word.as_str() {
            "more" => libc::MSG_MORE,
            "eor" => libc::MSG_EOR,
            "urgent" => libc::MSG_OOB,
            _ => 0,
        });
        let flags = flags.fold(libc::MSG_NOSIGNAL, |all, flag| all | flag);
        let bytes: Vec<u8> = (socket.sent..socket.sent + len).map(pattern).collect();
        let answer = self.tool.send(socket.fd, &bytes, flags);
        if let Ok(sent) = answer {
            self.sockets[number - 1].sent += sent as u64;
            if result.is_none() && sent as u64 != len {
                return Err(format!("sent {sent} of {len}"));
            }
        }
        Ok(said(answer))
    }

    fn receive(
        &mut self,
        number: usize,
        max: usize,
        result: Option<&str>,
    ) -> Result<String, String> {
        let socket = self.socket(number)?.clone();
        let answer = self.tool.read(socket.fd, max);
        let Ok(bytes) = answer else {
            return Ok(said(answer.map(|_| 0)));
        };
        if bytes.is_empty() {
            return Ok("eof".into());
        }
        let mut places = bytes.iter().zip(socket.read..);
        if !places.all(|(&byte, at)| byte == pattern(at)) {
            return Err(format!(
                "wrong bytes in {} received at {}",
                bytes.len(),
                socket.read
            ));
        }
        self.sockets[number - 1].read += bytes.len() as u64;
        if result.is_none() && bytes.len() != max {
            return Err(format!("received {} of {max}", bytes.len()));
        }
        Ok(bytes.len().to_string())
    }

    fn icmp(&mut self, number: usize, arguments: &[String]) -> Result<(), String> {
        let mut words = arguments.iter().map(String::as_str);
        let kind = words.next().ok_or("which error")?;
        let mut mtu = 0_u32;
        // Type and code of ICMP, and of ICMPv6 (RFC 792, RFC 4443).
        let (v4, v6) = match kind {
            "too-big" => {
                let word = words.next().and_then(|mtu| mtu.parse().ok());
                mtu = word.ok_or("too-big needs an mtu")?;
                ((3, 4), (2, 0))
            }
            "port-unreachable" => ((3, 3), (1, 4)),
            "host-unreachable" => ((3, 1), (1, 3)),
            "prohibited" => ((3, 13), (1, 1)),
            other => return Err(format!("unknown error {other}")),
        };
        let seq: u32 = match (words.next(), words.next()) {
            (Some("seq"), Some(seq)) => seq.parse().map_err(|_| "seq needs a number")?,
            _ => return Err("icmp quotes a seq".into()),
        };
        let flow = self.flows.get(number);
        let mut quoted = super::driver::Segment::new(super::driver::ACK, 0, 0);
        quoted.from = flow.local_port.unwrap_or(PORT);
        quoted.to = PEER_PORTS + number as u16;
        quoted.seq = (flow.our_isn.unwrap_or(zcn_wire::SeqNum(0)) + seq).0;
        let (kind, code) = if self.plan.ipv6 { v6 } else { v4 };
        let packet = quoted.icmp(self.plan.ipv6, kind, code, mtu);
        self.tool.inject(&packet);
        Ok(())
    }
}
