//! Connects, again and again.

use std::net::SocketAddr;
use std::time::Duration;

use zcn_stack::SocketId;
use zcn_stack::event::Event;
use zcn_stack::tcp::SocketOptions;

use super::conversation::{Conversation, Plan, Progress};
use super::ledger::Ledger;
use crate::application::{Application, Context};
use crate::violation::Invariant;

/// What a client does.
#[derive(Clone, Debug)]
pub struct ClientPlan {
    /// To whom it connects.
    pub remote: SocketAddr,
    /// From where, if that is not left to the stack. With a port there can be one
    /// connection at a time.
    pub local: Option<SocketAddr>,
    /// What is done on each connection.
    pub plan: Plan,
    /// Connections in all.
    pub connections: u64,
    /// After so many connects in a row that failed the client gives up.
    pub attempts: u64,
    /// Connections at a time.
    pub parallel: usize,
    /// When it begins.
    pub start: Duration,
    /// Options of its sockets.
    pub options: SocketOptions,
}

/// How long a client waits after a connect that failed.
const AGAIN: Duration = Duration::from_secs(1);

/// A client. A connect that fails is tried again, an established connection that fails
/// is told to the ledger and counts as done.
#[derive(Debug)]
pub struct Client {
    plan: ClientPlan,
    ledger: Ledger,
    open: Vec<Conversation>,
    done: u64,
    /// Connects that failed since one did not.
    refused: u64,
    next_start: Option<Duration>,
}

impl Client {
    /// A client that keeps `ledger`, as its server does.
    pub fn new(plan: ClientPlan, ledger: &Ledger) -> Self {
        Self {
            next_start: Some(plan.start),
            plan,
            ledger: ledger.clone(),
            open: Vec::new(),
            done: 0,
            refused: 0,
        }
    }

    /// Opens connections until there are as many as there may be.
    fn fill(&mut self, context: &mut Context<'_>) {
        if self.is_done() || self.next_start.is_some_and(|at| at > context.time) {
            return;
        }
        self.next_start = None;
        let wanted = |client: &Self| {
            client.open.len() < client.plan.parallel.max(1)
                && client.done + (client.open.len() as u64) < client.plan.connections
        };
        while wanted(self) {
            let connected = context.stack.tcp_connect(
                context.now,
                self.plan.remote,
                self.plan.local,
                self.plan.options.clone(),
            );
            let opened = connected
                .ok()
                .and_then(|id| Conversation::new(context, id, self.plan.plan, &self.ledger, false));
            let Some(mut conversation) = opened else {
                self.refuse(context);
                return;
            };
            // Data may be queued before the connection is established.
            let progress = conversation.work(context);
            self.open.push(conversation);
            self.settle(context, self.open.len() - 1, progress);
        }
    }

    /// Sees to a conversation that came to something.
    fn settle(&mut self, context: &Context<'_>, index: usize, progress: Progress) {
        match progress {
            Progress::Open => return,
            Progress::Done | Progress::Failed(_, true) => {
                self.done += 1;
                self.refused = 0;
            }
            Progress::Failed(_, false) => self.refuse(context),
        }
        self.open.remove(index);
    }

    /// A connect failed: it is tried again, but not for ever.
    fn refuse(&mut self, context: &Context<'_>) {
        self.refused += 1;
        if self.refused >= self.plan.attempts {
            self.done = self.plan.connections;
        } else {
            self.next_start = Some(context.time + AGAIN);
        }
    }
}

impl Application for Client {
    fn start(&mut self, context: &mut Context<'_>) {
        self.done += self.open.len() as u64;
        self.open.clear();
        self.next_start = Some(self.plan.start.max(context.time));
        self.fill(context);
    }

    fn handle_event(&mut self, context: &mut Context<'_>, event: Event) {
        let SocketId::Tcp(id) = event.socket else {
            return;
        };
        let Some(index) = self.open.iter().position(|open| open.id == id) else {
            return;
        };
        let progress = self.open[index].handle(context, event.readiness);
        self.settle(context, index, progress);
        self.fill(context);
    }

    fn poll_timeout(&self) -> Option<Duration> {
        let rests = self.open.iter().filter_map(Conversation::poll_timeout);
        let next_start = self.next_start.filter(|_| !self.is_done());
        rests.chain(next_start).min()
    }

    fn handle_timeout(&mut self, context: &mut Context<'_>) {
        for index in (0..self.open.len()).rev() {
            let due = self.open[index].poll_timeout();
            if due.is_some_and(|at| at <= context.time) {
                let progress = self.open[index].work(context);
                self.settle(context, index, progress);
            }
        }
        self.fill(context);
    }

    fn is_done(&self) -> bool {
        self.done >= self.plan.connections
    }

    fn stop(&mut self, context: &mut Context<'_>) {
        for conversation in self.open.drain(..) {
            if context
                .stack
                .tcp_close(context.now, conversation.id)
                .is_err()
            {
                let fault = format!("n{}: a socket of a client is gone", context.node.0);
                context
                    .violations
                    .report(context.time, Invariant::Failure, fault);
            }
        }
        self.next_start = None;
        self.done = self.plan.connections;
    }

    fn describe(&self) -> String {
        let open: Vec<String> = self.open.iter().map(Conversation::describe).collect();
        let of = self.plan.connections;
        format!("client, {} of {of} done, {}", self.done, open.join("; "))
    }
}
