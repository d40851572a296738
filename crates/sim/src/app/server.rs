//! Accepts, and does its part on every connection.

use std::net::SocketAddr;
use std::time::Duration;

use zcn_stack::SocketId;
use zcn_stack::event::Event;
use zcn_stack::slab::Id;
use zcn_stack::tcp::SocketOptions;

use super::conversation::{Conversation, Plan, Progress};
use super::ledger::Ledger;
use crate::application::{Application, Context};
use crate::violation::Invariant;

/// A server on one address. It is done while it has no connection.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    backlog: usize,
    plan: Plan,
    options: SocketOptions,
    ledger: Ledger,
    listener: Option<Id>,
    open: Vec<Conversation>,
}

impl Server {
    /// A server that does `plan` on each connection, and keeps `ledger`.
    pub fn new(
        address: SocketAddr,
        backlog: usize,
        plan: Plan,
        options: SocketOptions,
        ledger: &Ledger,
    ) -> Self {
        Self {
            address,
            backlog,
            plan,
            options,
            ledger: ledger.clone(),
            listener: None,
            open: Vec::new(),
        }
    }

    /// Whether the connection was here before: an old segment whose SYN cookie is still good
    /// opens it again (RFC 4987 section 3.6), and nobody is at the other end.
    fn is_ghost(&self, context: &Context<'_>, id: Id) -> bool {
        let Some((local, remote)) = context.stack.tcp_addresses(id) else {
            return false;
        };
        let stream = self.ledger.from(remote, local);
        stream.is_some_and(|stream| !self.ledger.serve(stream))
    }

    fn accept(&mut self, context: &mut Context<'_>, listener: Id) {
        while let Ok((id, _)) = context.stack.tcp_accept(context.now, listener) {
            if self.is_ghost(context, id) {
                // It may be over already.
                let _ = context.stack.tcp_abort(context.now, id);
                continue;
            }
            let Some(mut conversation) =
                Conversation::new(context, id, self.plan, &self.ledger, true)
            else {
                continue;
            };
            if conversation.work(context) == Progress::Open {
                self.open.push(conversation);
            }
        }
    }
}

impl Application for Server {
    fn start(&mut self, context: &mut Context<'_>) {
        self.open.clear();
        let listening = context
            .stack
            .tcp_listen(self.address, self.backlog, self.options.clone());
        match listening {
            Ok(listener) => self.listener = Some(listener),
            Err(error) => context.violations.report(
                context.time,
                Invariant::Failure,
                format!("n{} cannot listen: {error}", context.node.0),
            ),
        }
    }

    fn handle_event(&mut self, context: &mut Context<'_>, event: Event) {
        match event.socket {
            SocketId::TcpListener(id) if self.listener == Some(id) => self.accept(context, id),
            SocketId::Tcp(id) => {
                let found = self.open.iter().position(|open| open.id == id);
                if let Some(index) = found
                    && self.open[index].handle(context, event.readiness) != Progress::Open
                {
                    self.open.remove(index);
                }
            }
            _ => {}
        }
    }

    fn poll_timeout(&self) -> Option<Duration> {
        let rests = self.open.iter().filter_map(Conversation::poll_timeout);
        rests.min()
    }

    fn handle_timeout(&mut self, context: &mut Context<'_>) {
        self.open.retain_mut(|conversation| {
            let due = conversation.poll_timeout();
            due.is_none_or(|at| at > context.time) || conversation.work(context) == Progress::Open
        });
    }

    fn is_done(&self) -> bool {
        self.open.is_empty()
    }

    fn stop(&mut self, context: &mut Context<'_>) {
        if let Some(listener) = self.listener.take() {
            // There was one, and nobody else closes it.
            let _ = context.stack.tcp_close_listener(context.now, listener);
        }
        for conversation in self.open.drain(..) {
            // The run is over, and it need not be.
            let _ = context.stack.tcp_close(context.now, conversation.id);
        }
    }

    fn describe(&self) -> String {
        let open: Vec<String> = self.open.iter().map(Conversation::describe).collect();
        format!("server at {}, {}", self.address, open.join("; "))
    }
}
