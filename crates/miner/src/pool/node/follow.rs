//! A pool that follows its node: new templates as blocks and transactions come.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use zcn_stratum::hash::Hash;

use super::error::NodeError;
use super::{Node, NodeTemplate};
use crate::pool::PoolServer;
use crate::pool::template::Template;

/// How often a node without long polling is asked for its best block.
const POLL_EVERY: Duration = Duration::from_secs(1);
/// The first and the longest wait after a failure.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));

/// What happens while a pool follows a node.
#[derive(Debug)]
#[non_exhaustive]
pub enum Followed<'a> {
    /// Miners work on this from now on.
    Template {
        /// What it is.
        template: &'a Template,
        /// It follows another block than the one before.
        new_block: bool,
    },
    /// The node cannot be asked; miners keep the work they have.
    Trouble(&'a NodeError),
}

/// Keeps `server` at work on what `node` says, paid to the script `payout`: at once when a
/// block comes (long polling, or asking every second where a node has none), and every `refresh`
/// for new transactions and the time. Zero leaves that out.
///
/// It ends only by being dropped, or by an error at the very first template that waiting does not
/// mend; everything later is told to `sink` and tried again.
///
/// # Errors
/// The node refuses, or is none.
pub async fn follow(
    node: &Node,
    payout: &[u8],
    refresh: Duration,
    server: &PoolServer,
    sink: &dyn Fn(Followed<'_>),
) -> Result<std::convert::Infallible, NodeError> {
    let follower = Follower {
        node,
        payout,
        server,
        sink,
        prev_hash: Cell::new(None),
        handed_out: Cell::new(0),
    };
    let first = follower.first().await?;
    let next = follower.hand_out(first);
    let (mut blocks, mut refreshes) =
        (pin!(follower.blocks(next)), pin!(follower.refresh(refresh)));
    poll_fn(|context| {
        if let Poll::Ready(never) = blocks.as_mut().poll(context) {
            return Poll::Ready(Ok(never));
        }
        refreshes.as_mut().poll(context).map(Ok)
    })
    .await
}

struct Follower<'a> {
    node: &'a Node,
    payout: &'a [u8],
    server: &'a PoolServer,
    sink: &'a dyn Fn(Followed<'_>),
    prev_hash: Cell<Option<Hash>>,
    /// Templates handed out: whoever asked before the last of them has an older one.
    handed_out: Cell<u64>,
}

/// Waits that double.
struct Backoff(Duration);

impl Backoff {
    async fn wait(&mut self) {
        zcn::sleep(self.0).await;
        self.0 = (self.0 * 2).min(RETRY.1);
    }
}

impl Follower<'_> {
    /// Hands a template out to the miners; gives back how to wait for the next.
    fn hand_out(&self, next: NodeTemplate) -> Option<String> {
        let template = next.template;
        let new_block = self.prev_hash.get() != Some(template.prev_hash);
        match self.server.set_template(template.clone(), new_block) {
            Ok(()) => {
                self.prev_hash.set(Some(template.prev_hash));
                self.handed_out.set(self.handed_out.get() + 1);
                let template = &template;
                (self.sink)(Followed::Template {
                    template,
                    new_block,
                });
            }
            Err(error) => tracing::error!(%error, "the node's template makes no job"),
        }
        next.long_poll_id
    }

    async fn first(&self) -> Result<NodeTemplate, NodeError> {
        let mut backoff = Backoff(RETRY.0);
        loop {
            match self.node.template(self.payout).await {
                Err(error) if error.is_transient() => {
                    (self.sink)(Followed::Trouble(&error));
                    backoff.wait().await;
                }
                answered => return answered,
            }
        }
    }

    /// Waits for blocks.
    async fn blocks(&self, mut long_poll_id: Option<String>) -> std::convert::Infallible {
        let mut backoff = Backoff(RETRY.0);
        loop {
            let next = match &long_poll_id {
                Some(id) => self.node.template_after(id, self.payout).await,
                None => self.polled().await,
            };
            match next {
                Ok(next) => {
                    backoff = Backoff(RETRY.0);
                    long_poll_id = self.hand_out(next);
                }
                Err(error) => {
                    (self.sink)(Followed::Trouble(&error));
                    backoff.wait().await;
                    // The name of the last template may mean nothing to a node that was
                    // started again.
                    if let Ok(next) = self.node.template(self.payout).await {
                        long_poll_id = self.hand_out(next);
                    }
                }
            }
        }
    }

    /// The first template behind another block, from a node without long polling.
    async fn polled(&self) -> Result<NodeTemplate, NodeError> {
        loop {
            zcn::sleep(POLL_EVERY).await;
            if Some(self.node.best_block().await?) != self.prev_hash.get() {
                return self.node.template(self.payout).await;
            }
        }
    }

    /// Brings in transactions and the time.
    async fn refresh(&self, every: Duration) -> std::convert::Infallible {
        if every.is_zero() {
            std::future::pending::<()>().await;
        }
        loop {
            zcn::sleep(every).await;
            let before = self.handed_out.get();
            // Trouble is told by the wait for blocks.
            if let Ok(next) = self.node.template(self.payout).await
                && before == self.handed_out.get()
            {
                self.hand_out(next);
            }
        }
    }
}
