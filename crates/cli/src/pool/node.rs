//! Blocks of a chain that a node follows.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use clap::Args;
use zcn::{Handle, TcpListener};
use zcn_miner::pool::node::{Node, NodeError, NodeLogin, follow};
use zcn_miner::pool::{PoolNotice, PoolServer, PoolSettings};

use super::report;
use crate::failure::Failure;

/// Above these flags in the help; of each, because a heading for the next ones would go on over the
/// flags behind them.
const HEADING: &str = "A node's chain";

/// Which node, and what for.
#[derive(Clone, Debug, Args)]
pub struct NodeArgs {
    /// Take templates from the node at this URL and hand it the blocks,
    /// by JSON-RPC: http://127.0.0.1:8332.
    #[arg(
        help_heading = HEADING,
        long = "node",
        value_name = "URL",
        requires = "payout",
        conflicts_with = "nbits"
    )]
    pub url: Option<String>,

    /// A file of user:password, such as the .cookie in the node's data
    /// folder.
    #[arg(
        help_heading = HEADING,
        long,
        value_name = "FILE",
        requires = "url",
        conflicts_with = "node_user"
    )]
    pub node_cookie: Option<PathBuf>,

    /// The user that the node knows.
    #[arg(help_heading = HEADING, long, value_name = "NAME", requires_all = ["url", "node_password"])]
    pub node_user: Option<String>,

    /// His password. Whoever lists processes can read it: a file for
    /// --node-cookie is safer.
    #[arg(help_heading = HEADING, long, value_name = "WORD", requires = "node_user")]
    pub node_password: Option<String>,

    /// The address that blocks pay to.
    #[arg(help_heading = HEADING, long, value_name = "ADDRESS", requires = "url")]
    pub payout: Option<String>,
}

/// A node and whom its blocks pay.
pub(super) struct Source {
    node: Node,
    payout: String,
}

/// Why the node was given up at the start.
pub(super) type GivenUp = Rc<RefCell<Option<Failure>>>;

impl NodeArgs {
    /// What the flags say; `None` without a node.
    pub(super) fn source(&self) -> Result<Option<Source>, Failure> {
        let (Some(url), Some(payout)) = (&self.url, &self.payout) else {
            return Ok(None);
        };
        let login = match (&self.node_cookie, &self.node_user, &self.node_password) {
            (Some(file), ..) => NodeLogin::CookieFile(file.clone()),
            (None, Some(user), Some(password)) => NodeLogin::Password {
                user: user.clone(),
                password: password.clone(),
            },
            _ => {
                return Err(Failure::new("the node asks for a user and a password").remedy(
                    "--node-cookie FILE with the .cookie in the node's data folder, or --node-user \
                     and --node-password",
                ));
            }
        };
        let node = Node::new(url, login).map_err(|error| failure(url, error))?;
        Ok(Some(Source {
            node,
            payout: payout.clone(),
        }))
    }
}

fn failure(target: &str, error: NodeError) -> Failure {
    let hint = error.hint().map(str::to_owned);
    let failure = Failure::new(format!("cannot mine for the node at {target}")).because(error);
    match hint {
        Some(hint) => failure.remedy(hint),
        None => failure,
    }
}

/// Serves on `listener` what the node hands out.
pub(super) async fn start(
    listener: TcpListener,
    settings: PoolSettings,
    source: Source,
    json: bool,
    interval: Duration,
    runtime: Handle,
) -> Result<(PoolServer, GivenUp), Failure> {
    let Source { node, payout } = source;
    let script = node.script_of(&payout).await;
    let script = script.map_err(|error| failure(node.target(), error))?;
    let blocks_to = node.clone();
    let server = PoolServer::start(listener, settings, move |notice| {
        report::pool(json, &notice);
        if let PoolNotice::Block { found, block } = notice {
            let (node, hash, block) = (blocks_to.clone(), found.hash, block.to_vec());
            zcn::spawn(async move {
                let answer = node.submit(&block).await;
                report::submitted(json, &hash, &answer);
            });
        }
    });
    let given_up = GivenUp::default();
    let (told, followed) = (given_up.clone(), server.clone());
    zcn::spawn(async move {
        let sink = |what: zcn_miner::pool::node::Followed<'_>| report::followed(json, &what);
        let Err(error) = follow(&node, &script, interval, &followed, &sink).await;
        *told.borrow_mut() = Some(failure(node.target(), error));
        runtime.stop();
    });
    Ok((server, given_up))
}
