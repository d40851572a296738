//! Transfers by sockets of the stack in user space.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use zcn::SharedBuf;
use zcn::stack::{
    Driver, Event, Instant, IpCidr, LinkConfig, SocketId, Stack, StackConfig, StackHandler,
    StackLoop,
};
use zcn_stack::slab::Id;
use zcn_stack::tcp::{RecvError, SendError, SocketOptions};

use super::transfer::{Check, Plan, Progress, Source, port};
use crate::failure::Failure;
use crate::stack::failure;

/// How often the loop looks whether to stop.
const LOOK: Duration = Duration::from_millis(20);
/// Most bytes taken from a connection at a time.
const RECEIVE_MAX: usize = 64 * 1024;

/// Which way data flows.
#[derive(Clone, Copy, Debug)]
pub(super) enum Role {
    /// From us to this address.
    Sender(IpAddr),
    /// To us.
    Receiver,
}

/// Brings a stack up on `link`, with this address, on a thread that does its part of a
/// transfer until it is asked to stop.
///
/// # Errors
/// The thread or the stack cannot be had.
pub(super) fn start(
    link: Box<dyn Driver>,
    address: IpCidr,
    role: Role,
    plan: Plan,
    progress: &Arc<Progress>,
) -> Result<JoinHandle<()>, Failure> {
    let mut config = StackConfig::new(LinkConfig::memory());
    config.addresses.push(address);
    // Nobody else is on the link.
    config.protocols.dad_transmits = 0;
    let progress = progress.clone();
    let (ready, is_ready) = std::sync::mpsc::channel();
    let thread = thread::Builder::new()
        .name("stack".to_owned())
        .spawn(move || {
            let begun = Party::begin(&config, link, role, plan, progress.clone());
            let (mut stack, mut party) = match begun {
                Ok(begun) => begun,
                Err(failure) => {
                    let _ = ready.send(Err(failure));
                    return;
                }
            };
            let _ = ready.send(Ok(()));
            while !progress.is_stopped() {
                let went = match stack.turn(&mut party) {
                    Ok(true) => Ok(()),
                    Ok(false) => stack.wait(Some(LOOK)),
                    Err(error) => Err(error),
                };
                if let Err(error) = went {
                    progress.fail(format!("the stack had to stop: {error}"));
                    break;
                }
            }
        })
        .map_err(|error| Failure::new("cannot start a thread").because(error))?;
    is_ready
        .recv()
        .unwrap_or_else(|_| Err(Failure::new("the thread of the stack has ended")))?;
    Ok(thread)
}

enum Flow {
    Sends {
        source: Source,
        /// Filled, and not taken yet.
        unsent: Option<SharedBuf>,
        /// All is sent, and the receiver's end is waited for.
        finished: bool,
    },
    Receives(Check),
}

struct Party {
    plan: Plan,
    progress: Arc<Progress>,
    listeners: HashMap<Id, u16>,
    flows: HashMap<Id, Flow>,
}

impl Party {
    fn begin(
        config: &StackConfig,
        link: Box<dyn Driver>,
        role: Role,
        plan: Plan,
        progress: Arc<Progress>,
    ) -> Result<(StackLoop, Self), Failure> {
        let mut stack = StackLoop::with_driver(config, link).map_err(failure)?;
        let mut party = Self {
            plan,
            progress,
            listeners: HashMap::new(),
            flows: HashMap::new(),
        };
        let now = stack.now();
        let mut options = SocketOptions::default();
        options.congestion = plan.congestion;
        for flow in 0..plan.flows {
            let port = port(flow);
            match role {
                Role::Receiver => {
                    // `::` takes IPv4, too.
                    let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
                    let listener =
                        stack
                            .stack()
                            .tcp_listen(any, 1, options.clone())
                            .map_err(|error| {
                                Failure::new(format!("cannot listen on port {port}")).because(error)
                            })?;
                    party.listeners.insert(listener, flow);
                }
                Role::Sender(to) => {
                    let remote = SocketAddr::from((to, port));
                    let id = stack
                        .stack()
                        .tcp_connect(now, remote, None, options.clone())
                        .map_err(|error| {
                            Failure::new(format!("cannot connect to {remote}")).because(error)
                        })?;
                    let flow = Flow::Sends {
                        source: Source::new(flow, &plan),
                        unsent: None,
                        finished: false,
                    };
                    party.flows.insert(id, flow);
                }
            }
        }
        Ok((stack, party))
    }

    fn drive(&mut self, stack: &mut Stack, now: Instant, id: Id) {
        let Some(flow) = self.flows.get_mut(&id) else {
            return;
        };
        let over = match flow {
            Flow::Receives(check) => loop {
                match stack.tcp_recv_buf(now, id, RECEIVE_MAX) {
                    Ok(data) if data.is_empty() => {
                        check.end(&self.plan, &self.progress);
                        break true;
                    }
                    Ok(data) => check.take(&data, &self.progress),
                    Err(RecvError::WouldBlock) => break false,
                    Err(error) => {
                        self.progress.fail(format!("zcn receiving: {error}"));
                        break true;
                    }
                }
            },
            Flow::Sends {
                source,
                unsent,
                finished,
            } => {
                let sent = send(stack, now, id, source, unsent, finished);
                if let Err(error) = &sent {
                    self.progress.fail(format!("zcn sending: {error}"));
                }
                sent.unwrap_or(true)
            }
        };
        if over {
            // One that is gone already is just as well.
            let _ = stack.tcp_close(now, id);
            self.flows.remove(&id);
        }
    }
}

/// Sends until there is no room. Answers whether the connection is over.
fn send(
    stack: &mut Stack,
    now: Instant,
    id: Id,
    source: &mut Source,
    unsent: &mut Option<SharedBuf>,
    finished: &mut bool,
) -> Result<bool, String> {
    while !*finished {
        let piece = unsent.take().unwrap_or_else(|| {
            let mut piece = vec![0; Source::PIECE];
            let len = source.fill(&mut piece);
            piece.truncate(len);
            SharedBuf::from(Bytes::from(piece))
        });
        if piece.is_empty() {
            stack
                .tcp_shutdown_write(now, id)
                .map_err(|error| error.to_string())?;
            *finished = true;
            break;
        }
        match stack.tcp_send_buf(now, id, piece, true) {
            Ok(()) => {}
            Err(refused) if refused.error == SendError::WouldBlock => {
                *unsent = Some(refused.bytes);
                return Ok(false);
            }
            Err(refused) => return Err(refused.error.to_string()),
        }
    }
    match stack.tcp_recv_buf(now, id, RECEIVE_MAX) {
        Ok(data) if data.is_empty() => Ok(true),
        Ok(_) => Err("the receiver sent something".to_owned()),
        Err(RecvError::WouldBlock) => Ok(false),
        Err(error) => Err(error.to_string()),
    }
}

impl StackHandler for Party {
    fn on_event(&mut self, stack: &mut Stack, now: Instant, event: Event) {
        match event.socket {
            SocketId::TcpListener(listener) => {
                while let Ok((id, _)) = stack.tcp_accept(now, listener) {
                    if let Some(&flow) = self.listeners.get(&listener) {
                        self.flows.insert(id, Flow::Receives(Check::new(flow)));
                        // What came with the handshake was told to nobody.
                        self.drive(stack, now, id);
                    }
                }
            }
            SocketId::Tcp(id) => self.drive(stack, now, id),
            SocketId::Udp(_) | SocketId::Echo(_) => {}
        }
    }
}
