//! A miner of Stratum V2, served.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use zcn_stratum::v2::AuthoritySecret;
use zcn_stratum::v2::server::{FoundShare, ServerConfig, ServerError, ServerEvent, ServerSession};
use zcn_stratum::{Job, Target};

use super::notice::{Find, MinerFault, PoolNotice};
use super::server::{EXTRANONCE_2, PATIENCE, Shared};
use crate::machine::{random, unix_s};
use crate::wire::{Wire, Woken};

/// Serves until the miner goes, or is sent away.
pub(super) async fn serve(
    shared: &Shared,
    secret: AuthoritySecret,
    wire: &Wire,
    peer: SocketAddr,
) -> Result<(), MinerFault> {
    let seed = match random() {
        Ok(seed) => seed,
        Err(error) => {
            tracing::warn!(%error, "no random bytes for a miner's connection");
            return Ok(());
        }
    };
    let (_, prefix) = shared.draw_extranonce();
    // The settings of a pool have a difficulty that is one.
    let target = Target::from_difficulty(shared.settings.difficulty).unwrap_or(Target::MAX);
    let mut config = ServerConfig::new(secret, prefix, target);
    config.extranonce_len = EXTRANONCE_2;
    config.vardiff = shared.settings.vardiff;
    config.version_mask = shared.settings.version_mask;
    let mut session = ServerSession::new(config, Instant::now(), unix_s(), seed);
    Ok(converse(shared, wire, peer, &mut session).await?)
}

async fn converse(
    shared: &Shared,
    wire: &Wire,
    peer: SocketAddr,
    session: &mut ServerSession,
) -> Result<(), ServerError> {
    let mut heard = 0;
    let mut given: Option<Arc<Job>> = None;
    let mut user = String::new();
    loop {
        if shared.is_stopped() {
            return Ok(());
        }
        if let Some(job) = shared.job()
            && given.as_ref().is_none_or(|given| !Arc::ptr_eq(given, &job))
        {
            let hardest = Target::from_difficulty(shared.max_difficulty(&job));
            session.set_hardest_target(hardest.unwrap_or(Target::MIN))?;
            session.announce(Instant::now(), &job)?;
            given = Some(job);
        }
        let count = session.output().len();
        if wire.send(session.output(), PATIENCE).await.is_err() {
            return Ok(());
        }
        session.consume_output(count);
        let deadline = session.poll_timeout();
        match wire.wait(&shared.signal, &mut heard, deadline).await {
            Ok(Woken::Bytes(bytes)) => {
                // A connection that has passed jobs over holds older ones than the pool.
                session.retain_jobs(|id| shared.template(id).is_some());
                let handled = session.handle_bytes(Instant::now(), &bytes);
                // What came before the fault counts.
                tell(shared, peer, session, &mut user);
                if handled.is_err() {
                    // It may be told why.
                    let _ = wire.send(session.output(), PATIENCE).await;
                }
                handled?;
            }
            Ok(Woken::Signal) => {}
            Ok(Woken::Time) => session.handle_timeout(Instant::now())?,
            Ok(Woken::End) | Err(_) => return Ok(()),
        }
    }
}

/// Tells what the session has told.
fn tell(shared: &Shared, peer: SocketAddr, session: &mut ServerSession, user: &mut String) {
    while let Some(event) = session.poll_event() {
        match event {
            ServerEvent::Opened {
                agent, user: name, ..
            } => {
                *user = name;
                shared.tell(PoolNotice::Subscribed {
                    peer,
                    protocol: "v2",
                    agent: &agent,
                });
            }
            ServerEvent::Share(found) => shared.found(peer, &find(*found, user)),
            ServerEvent::Refused { reason, .. } => shared.refused(peer, reason),
            _ => {}
        }
    }
}

fn find(found: FoundShare, user: &str) -> Find {
    Find {
        user: user.to_owned(),
        job: found.job,
        extranonce: found.extranonce,
        header: found.header,
        hash: found.hash,
        difficulty: found.target.difficulty(),
        is_block: found.is_block,
    }
}
