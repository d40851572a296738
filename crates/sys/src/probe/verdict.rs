//! What the features of the ring mean for zcn.

use std::io;

use super::ring::{Answer, RingFeatures};
use super::uapi::setup;
use crate::check::Check;

/// The flags of the default ring, in the order of the ladder.
const DEFAULT_FLAGS: &[u32] = &[
    setup::SINGLE_ISSUER,
    setup::DEFER_TASKRUN,
    setup::TASKRUN_FLAG,
    setup::SUBMIT_ALL,
    setup::CLAMP,
    setup::NO_SQARRAY,
];

/// Rings and what is registered with them count against the limit of every
/// process of this user together.
const MEMLOCK: &str = "the memory of rings is limited: see memory.memlock";

/// One line for each part of the ring that zcn makes use of.
pub(super) fn ring(features: io::Result<RingFeatures>) -> Vec<Check> {
    match features {
        Ok(features) => vec![
            setup_flags(&features),
            operations(&features),
            buffer_ring(&features),
            newer_part(
                "ring.incremental",
                features.incremental,
                "6.12",
                "small messages share buffers",
            ),
            newer_part(
                "ring.bundles",
                announced(features.bundles()),
                "6.10",
                "one receive fills several buffers",
            ),
            newer_part(
                "ring.min_wait",
                announced(features.min_wait()),
                "6.12",
                "a wait gathers a batch first",
            ),
            newer_part(
                "ring.napi",
                features.napi,
                "6.9",
                "the ring busy-polls the network device",
            ),
            Check::ok("ring.features", features.feature_names().join(" ")),
        ],
        Err(error) => vec![Check::unknown("ring.setup_flags", error.to_string())],
    }
}

/// A part that the kernel announces is certain either way.
fn announced(there: bool) -> Answer {
    if there { Answer::Yes } else { Answer::No }
}

fn setup_flags(features: &RingFeatures) -> Check {
    let names = |wanted: fn(Answer) -> bool| -> String {
        let names: Vec<&str> = features
            .setup_flags
            .iter()
            .filter(|tried| wanted(tried.accepted))
            .map(|tried| tried.name)
            .collect();
        names.join(" ")
    };
    let mut value = match names(Answer::is_yes) {
        accepted if accepted.is_empty() => "none".to_owned(),
        accepted => accepted,
    };
    let refused = names(|answer| answer == Answer::No);
    let unclear = names(|answer| matches!(answer, Answer::Unknown(_)));
    for (heading, names) in [("not here", &refused), ("could not be tried", &unclear)] {
        if !names.is_empty() {
            value = format!("{value}; {heading}: {names}");
        }
    }
    let lacking = features
        .setup_flags
        .iter()
        .any(|tried| tried.accepted == Answer::No && DEFAULT_FLAGS.contains(&tried.flag));
    if lacking {
        Check::warn(
            "ring.setup_flags",
            value,
            "the ring falls back to what is there; the whole default set needs Linux 6.6",
        )
    } else if !unclear.is_empty() {
        Check::warn("ring.setup_flags", value, MEMLOCK)
    } else {
        Check::ok("ring.setup_flags", value)
    }
}

fn operations(features: &RingFeatures) -> Check {
    let supported = features.opcodes.iter().filter(|known| **known).count();
    let missing = features.missing_opcodes();
    if missing.is_empty() {
        return Check::ok(
            "ring.operations",
            format!("{supported} known, all that zcn uses among them"),
        );
    }
    Check::warn(
        "ring.operations",
        format!("{supported} known; missing: {}", missing.join(" ")),
        "zcn does without them where it can; Linux 6.15 has them all",
    )
}

fn buffer_ring(features: &RingFeatures) -> Check {
    let name = "ring.buffer_ring";
    match features.buffer_ring {
        Answer::Yes => Check::ok(name, "works"),
        Answer::No => Check::warn(
            name,
            "not here",
            "receives take one buffer each instead of sharing a ring; needs Linux 5.19",
        ),
        Answer::Unknown(errno) => untried(name, errno),
    }
}

fn newer_part(name: &'static str, works: Answer, since: &str, purpose: &str) -> Check {
    match works {
        Answer::Yes => Check::ok(name, format!("works: {purpose}")),
        Answer::No => Check::warn(
            name,
            "not here",
            format!("optional ({purpose}); needs Linux {since} or newer"),
        ),
        Answer::Unknown(errno) => untried(name, errno),
    }
}

fn untried(name: &'static str, errno: i32) -> Check {
    let error = io::Error::from_raw_os_error(errno);
    if errno == libc::ENOMEM {
        Check::warn(name, format!("could not be tried: {error}"), MEMLOCK)
    } else {
        Check::unknown(name, format!("could not be tried: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Status;
    use crate::probe::ring::SetupFlag;

    fn old_kernel() -> RingFeatures {
        RingFeatures {
            setup_flags: vec![
                SetupFlag {
                    name: "CLAMP",
                    flag: setup::CLAMP,
                    accepted: Answer::Yes,
                },
                SetupFlag {
                    name: "DEFER_TASKRUN",
                    flag: setup::DEFER_TASKRUN,
                    accepted: Answer::No,
                },
            ],
            features: 0,
            opcodes: vec![true; 46],
            buffer_ring: Answer::No,
            incremental: Answer::No,
            napi: Answer::No,
        }
    }

    #[test]
    fn an_old_kernel_gets_a_remedy_for_each_missing_part() {
        let checks = ring(Ok(old_kernel()));
        for check in &checks {
            let expected = match check.name {
                "ring.features" => Status::Ok,
                _ => Status::Warn,
            };
            assert_eq!(check.status, expected, "{check:?}");
        }
        assert!(checks[0].value.contains("not here: DEFER_TASKRUN"));
        assert!(checks[1].value.contains("SEND_ZC"));
    }

    #[test]
    fn want_of_memory_points_to_the_limit_and_blames_no_kernel() {
        let mut features = old_kernel();
        features.setup_flags.truncate(1);
        features.setup_flags[0].accepted = Answer::Unknown(libc::ENOMEM);
        features.buffer_ring = Answer::Unknown(libc::ENOMEM);
        let checks = ring(Ok(features));
        for name in ["ring.setup_flags", "ring.buffer_ring"] {
            let check = checks.iter().find(|check| check.name == name);
            let check = check.expect("the check is there");
            assert!(check.value.contains("could not be tried"), "{check:?}");
            let remedy = check.remedy.as_deref().expect("a remedy");
            assert!(
                remedy.contains("memlock") && !remedy.contains("Linux"),
                "{remedy}"
            );
        }
    }

    #[test]
    fn an_error_is_unknown_not_a_panic() {
        let checks = ring(Err(io::Error::from_raw_os_error(libc::ENOMEM)));
        assert_eq!(checks[0].status, Status::Unknown);
    }
}
