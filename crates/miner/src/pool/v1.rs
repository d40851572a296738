//! A miner of Stratum V1, served.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use zcn_stratum::Job;
use zcn_stratum::inline::Extranonce;
use zcn_stratum::message::Subscribed;
use zcn_stratum::server::{FoundShare, ServerConfig, ServerError, ServerEvent, ServerSession};

use super::notice::{Find, MinerFault, PoolNotice};
use super::server::{EXTRANONCE_2, PATIENCE, Shared};
use crate::wire::{Wire, Woken};

/// Serves until the miner goes, or is sent away.
pub(super) async fn serve(
    shared: &Shared,
    wire: &Wire,
    peer: SocketAddr,
) -> Result<(), MinerFault> {
    let mut session = session(shared);
    let done = converse(shared, wire, peer, &mut session).await;
    shared.park(session);
    Ok(done?)
}

fn session(shared: &Shared) -> ServerSession {
    let (number, extranonce_1) = shared.draw_extranonce();
    let extranonces = Subscribed {
        extranonce_1,
        extranonce_2_len: EXTRANONCE_2,
    };
    let mut config = ServerConfig::new(format!("{number:08x}"), extranonces);
    config.difficulty = shared.settings.difficulty;
    config.vardiff = shared.settings.vardiff;
    config.version_mask = shared.settings.version_mask;
    ServerSession::new(config, Instant::now())
}

async fn converse(
    shared: &Shared,
    wire: &Wire,
    peer: SocketAddr,
    session: &mut ServerSession,
) -> Result<(), ServerError> {
    let mut heard = 0;
    let mut given: Option<Arc<Job>> = None;
    loop {
        tell(shared, peer, session);
        if shared.is_stopped() {
            return Ok(());
        }
        if let Some(job) = shared.job()
            && given.as_ref().is_none_or(|given| !Arc::ptr_eq(given, &job))
        {
            session.set_max_difficulty(shared.max_difficulty(&job));
            session.announce(Instant::now(), &job);
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
                tell(shared, peer, session);
                handled?;
            }
            Ok(Woken::Signal) => {}
            Ok(Woken::Time) => session.handle_timeout(Instant::now())?,
            Ok(Woken::End) | Err(_) => return Ok(()),
        }
    }
}

/// Tells what the session has told, and answers what it asks.
fn tell(shared: &Shared, peer: SocketAddr, session: &mut ServerSession) {
    while let Some(event) = session.poll_event() {
        match event {
            ServerEvent::Subscribed { agent } => {
                let agent = &*agent;
                shared.tell(PoolNotice::Subscribed {
                    peer,
                    protocol: "v1",
                    agent,
                });
            }
            ServerEvent::Resume { session: name } => {
                let parked = shared.parked.borrow_mut().remove(&name);
                shared.count(|stats| stats.resumed += u64::from(parked.is_some()));
                let parked = parked.map(|(_, parked)| (name, parked));
                session.resume(Instant::now(), parked);
            }
            // A pool of one's own lets everybody in.
            ServerEvent::Authorize { id, .. } => session.authorize(Instant::now(), id, true),
            ServerEvent::Share(found) => shared.found(peer, &find(*found, session)),
            ServerEvent::Refused { reason, .. } => shared.refused(peer, reason),
            _ => {}
        }
    }
}

fn find(found: FoundShare, session: &ServerSession) -> Find {
    let extranonce_1 = session.extranonces().extranonce_1;
    let whole = [extranonce_1.as_bytes(), found.share.extranonce_2.as_bytes()].concat();
    Find {
        user: found.user,
        job: found.share.job_id,
        // Both together have eight bytes.
        extranonce: Extranonce::new(&whole).unwrap_or(Extranonce::EMPTY),
        header: found.header,
        hash: found.hash,
        difficulty: found.difficulty,
        is_block: found.is_block,
    }
}
