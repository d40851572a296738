//! What a pool prints.

use serde_json::json;
use zcn_miner::pool::PoolNotice;
use zcn_miner::pool::node::{Followed, NodeError};
use zcn_stratum::hash::Hash;
use zcn_stratum::hex;
use zcn_stratum::target::hash_difficulty;

use super::say;

/// A hash as people write it.
fn digits(hash: &Hash) -> String {
    let mut hash = *hash;
    hash.reverse();
    hex::encode(&hash)
}

/// What happens among the miners.
pub(super) fn pool(json: bool, notice: &PoolNotice<'_>) {
    match notice {
        PoolNotice::Subscribed {
            peer,
            protocol,
            agent,
        } => say(
            json,
            || {
                json!({
                    "event": "subscribed",
                    "peer": peer.to_string(),
                    "protocol": protocol,
                    "agent": agent,
                })
            },
            || format!("{peer} subscribed by Stratum {protocol}: {agent}"),
        ),
        PoolNotice::Share { peer, found } => {
            let reached = hash_difficulty(&found.hash);
            say(
                json,
                || {
                    json!({
                        "event": "share",
                        "peer": peer.to_string(),
                        "user": found.user,
                        "difficulty": found.difficulty,
                        "reached": reached,
                    })
                },
                || {
                    let (user, asked) = (&found.user, found.difficulty);
                    format!("{peer} {user}: share of {reached:.4} where {asked:.4} was asked")
                },
            );
        }
        PoolNotice::Refused { peer, reason } => say(
            json,
            || json!({"event": "refused", "peer": peer.to_string(), "reason": reason.to_string()}),
            || format!("{peer}: share refused: {reason}"),
        ),
        PoolNotice::Block { found, .. } => {
            let hash = digits(&found.hash);
            say(
                json,
                || json!({"event": "block", "user": found.user, "hash": hash}),
                || format!("block {hash} by {}", found.user),
            );
        }
        PoolNotice::Left { peer, cause } => {
            let cause = cause.map(ToString::to_string);
            say(
                json,
                || json!({"event": "left", "peer": peer.to_string(), "cause": cause}),
                || match &cause {
                    Some(cause) => format!("{peer} is sent away: {cause}"),
                    None => format!("{peer} left"),
                },
            );
        }
        _ => {}
    }
}

/// What the node says.
pub(super) fn followed(json: bool, what: &Followed<'_>) {
    match what {
        Followed::Template {
            template,
            new_block,
        } => {
            let (height, transactions) = (template.height, template.transactions.len());
            say(
                json,
                || {
                    json!({
                        "event": "template",
                        "height": height,
                        "transactions": transactions,
                        "value": template.value,
                        "new_block": new_block,
                    })
                },
                || format!("block {height} with {transactions} transactions"),
            );
        }
        Followed::Trouble(error) => {
            let words = chain(error);
            say(
                json,
                || json!({"event": "trouble", "with": "node", "cause": words}),
                || format!("trouble with the node: {words}"),
            );
        }
        _ => {}
    }
}

/// What became of a block.
pub(super) fn submitted(json: bool, hash: &Hash, answer: &Result<Option<String>, NodeError>) {
    let hash = digits(hash);
    let refusal = match answer {
        Ok(refusal) => refusal.clone(),
        Err(error) => Some(chain(error)),
    };
    say(
        json,
        || {
            json!({
                "event": "submitted",
                "hash": hash,
                "accepted": refusal.is_none(),
                "reason": refusal,
            })
        },
        || match &refusal {
            None => format!("the node took block {hash}"),
            Some(why) => format!("the node did not take block {hash}: {why}"),
        },
    );
}

/// An error and what caused it.
fn chain(error: &NodeError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
