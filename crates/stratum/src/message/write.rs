//! Messages written: each function appends one line, its end included.
//!
//! Numbers of requests are ours; answers repeat the `id` as the other side wrote it.

use std::fmt::Display;
use std::io::Write as _;

use crate::hex;
use crate::job::{Job, swap_words};
use crate::json::write_text;
use crate::reject::RejectReason;
use crate::share::Share;

use super::{Configure, Configured, Subscribed};

/// Appends what can be displayed; a vector takes everything.
fn put(out: &mut Vec<u8>, what: impl Display) {
    let _ = write!(out, "{what}");
}

fn put_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    hex::encode_onto(bytes, out);
    out.push(b'"');
}

fn request(out: &mut Vec<u8>, id: u64, method: &str) {
    put(
        out,
        format_args!("{{\"id\":{id},\"method\":\"{method}\",\"params\":["),
    );
}

fn notification(out: &mut Vec<u8>, method: &str) {
    put(
        out,
        format_args!("{{\"id\":null,\"method\":\"{method}\",\"params\":["),
    );
}

const END: &[u8] = b"]}\n";

/// `mining.configure` with the extensions of `configure`.
pub fn configure(out: &mut Vec<u8>, id: u64, configure: &Configure) {
    request(out, id, "mining.configure");
    out.push(b'[');
    let names = [
        ("version-rolling", configure.version_rolling.is_some()),
        ("minimum-difficulty", configure.minimum_difficulty.is_some()),
        ("subscribe-extranonce", configure.subscribe_extranonce),
    ];
    let mut names = names.iter().filter(|(_, there)| *there).peekable();
    while let Some((name, _)) = names.next() {
        write_text(out, name);
        if names.peek().is_some() {
            out.push(b',');
        }
    }
    out.extend_from_slice(b"],{");
    if let Some((mask, bits)) = configure.version_rolling {
        put(
            out,
            format_args!(
                "\"version-rolling.mask\":\"{mask:08x}\",\"version-rolling.min-bit-count\":{bits}"
            ),
        );
    }
    if let Some(difficulty) = configure.minimum_difficulty {
        if configure.version_rolling.is_some() {
            out.push(b',');
        }
        put(
            out,
            format_args!("\"minimum-difficulty.value\":{difficulty}"),
        );
    }
    out.push(b'}');
    out.extend_from_slice(END);
}

/// `mining.subscribe`, with the session to be resumed if there is one.
pub fn subscribe(out: &mut Vec<u8>, id: u64, agent: &str, session: Option<&str>) {
    request(out, id, "mining.subscribe");
    write_text(out, agent);
    if let Some(session) = session {
        out.push(b',');
        write_text(out, session);
    }
    out.extend_from_slice(END);
}

/// `mining.authorize`.
pub fn authorize(out: &mut Vec<u8>, id: u64, user: &str, password: &str) {
    request(out, id, "mining.authorize");
    write_text(out, user);
    out.push(b',');
    write_text(out, password);
    out.extend_from_slice(END);
}

/// `mining.submit`.
pub fn submit(out: &mut Vec<u8>, id: u64, user: &str, share: &Share) {
    request(out, id, "mining.submit");
    write_text(out, user);
    out.push(b',');
    write_text(out, &String::from_utf8_lossy(share.job_id.as_bytes()));
    out.push(b',');
    put_hex(out, share.extranonce_2.as_bytes());
    put(
        out,
        format_args!(",\"{:08x}\",\"{:08x}\"", share.ntime, share.nonce),
    );
    if let Some(bits) = share.version_bits {
        put(out, format_args!(",\"{bits:08x}\""));
    }
    out.extend_from_slice(END);
}

/// `mining.suggest_difficulty`.
pub fn suggest_difficulty(out: &mut Vec<u8>, id: u64, difficulty: f64) {
    request(out, id, "mining.suggest_difficulty");
    put(out, difficulty);
    out.extend_from_slice(END);
}

/// `mining.extranonce.subscribe`.
pub fn extranonce_subscribe(out: &mut Vec<u8>, id: u64) {
    request(out, id, "mining.extranonce.subscribe");
    out.extend_from_slice(END);
}

/// `mining.ping`, of either side.
pub fn ping(out: &mut Vec<u8>, id: u64) {
    request(out, id, "mining.ping");
    out.extend_from_slice(END);
}

/// `mining.notify`.
pub fn notify(out: &mut Vec<u8>, job: &Job) {
    notify_as(out, job, job.clean);
}

/// `mining.notify` of a job that is clean for whoever reads it, or not.
pub(crate) fn notify_as(out: &mut Vec<u8>, job: &Job, clean: bool) {
    notification(out, "mining.notify");
    write_text(out, &String::from_utf8_lossy(job.id.as_bytes()));
    for bytes in [
        &swap_words(job.prev_hash)[..],
        &job.coinbase_1,
        &job.coinbase_2,
    ] {
        out.push(b',');
        put_hex(out, bytes);
    }
    out.extend_from_slice(b",[");
    for (index, branch) in job.branches.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        put_hex(out, branch);
    }
    put(
        out,
        format_args!(
            "],\"{:08x}\",\"{:08x}\",\"{:08x}\",{}",
            job.version, job.nbits, job.ntime, clean
        ),
    );
    out.extend_from_slice(END);
}

/// `mining.set_difficulty`.
pub fn set_difficulty(out: &mut Vec<u8>, difficulty: f64) {
    notification(out, "mining.set_difficulty");
    put(out, difficulty);
    out.extend_from_slice(END);
}

/// `mining.set_extranonce`.
pub fn set_extranonce(out: &mut Vec<u8>, subscribed: &Subscribed) {
    notification(out, "mining.set_extranonce");
    put_hex(out, subscribed.extranonce_1.as_bytes());
    put(out, format_args!(",{}", subscribed.extranonce_2_len));
    out.extend_from_slice(END);
}

/// `mining.set_version_mask`.
pub fn set_version_mask(out: &mut Vec<u8>, mask: u32) {
    notification(out, "mining.set_version_mask");
    put(out, format_args!("\"{mask:08x}\""));
    out.extend_from_slice(END);
}

/// `client.reconnect`, to somewhere else or to the same place.
pub fn reconnect(out: &mut Vec<u8>, to: Option<(&str, u16)>, wait_s: u32) {
    notification(out, "client.reconnect");
    if let Some((host, port)) = to {
        write_text(out, host);
        put(out, format_args!(",{port},{wait_s}"));
    }
    out.extend_from_slice(END);
}

/// `client.show_message`.
pub fn show_message(out: &mut Vec<u8>, text: &str) {
    notification(out, "client.show_message");
    write_text(out, text);
    out.extend_from_slice(END);
}

/// `client.get_version`.
pub fn get_version(out: &mut Vec<u8>, id: u64) {
    request(out, id, "client.get_version");
    out.extend_from_slice(END);
}

fn reply(out: &mut Vec<u8>, raw_id: &[u8], result: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(b"{\"id\":");
    out.extend_from_slice(raw_id);
    out.extend_from_slice(b",\"result\":");
    result(out);
    out.extend_from_slice(b",\"error\":null}\n");
}

/// Answers yes or no.
pub fn reply_bool(out: &mut Vec<u8>, raw_id: &[u8], truth: bool) {
    reply(out, raw_id, |out| put(out, truth));
}

/// Answers with words.
pub fn reply_text(out: &mut Vec<u8>, raw_id: &[u8], text: &str) {
    reply(out, raw_id, |out| write_text(out, text));
}

/// Answers with a refusal: code and words, in the classic form.
pub fn reply_error(out: &mut Vec<u8>, raw_id: &[u8], reason: RejectReason, text: &str) {
    out.extend_from_slice(b"{\"id\":");
    out.extend_from_slice(raw_id);
    put(
        out,
        format_args!(",\"result\":null,\"error\":[{},", reason.code()),
    );
    write_text(out, text);
    out.extend_from_slice(b",null]}\n");
}

/// Answers `mining.subscribe`.
pub fn reply_subscribed(out: &mut Vec<u8>, raw_id: &[u8], session: &str, subscribed: &Subscribed) {
    reply(out, raw_id, |out| {
        out.extend_from_slice(b"[[[\"mining.set_difficulty\",");
        write_text(out, session);
        out.extend_from_slice(b"],[\"mining.notify\",");
        write_text(out, session);
        out.extend_from_slice(b"]],");
        put_hex(out, subscribed.extranonce_1.as_bytes());
        put(out, format_args!(",{}]", subscribed.extranonce_2_len));
    });
}

/// Answers `mining.configure`, as far as `asked` asked.
pub fn reply_configured(
    out: &mut Vec<u8>,
    raw_id: &[u8],
    asked: &Configure,
    configured: &Configured,
) {
    let mut members = Vec::new();
    let mut member = |name: &str, value: &dyn Display| members.push(format!("\"{name}\":{value}"));
    if asked.version_rolling.is_some() {
        member("version-rolling", &configured.version_mask.is_some());
        if let Some(mask) = configured.version_mask {
            member("version-rolling.mask", &format_args!("\"{mask:08x}\""));
        }
    }
    if asked.minimum_difficulty.is_some() {
        member("minimum-difficulty", &configured.minimum_difficulty);
    }
    if asked.subscribe_extranonce {
        member("subscribe-extranonce", &configured.subscribe_extranonce);
    }
    if asked.info {
        member("info", &true);
    }
    reply(out, raw_id, |out| {
        put(out, format_args!("{{{}}}", members.join(",")));
    });
}
