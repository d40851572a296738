//! What the features of the ring mean for zcn.

use std::io;

use super::ring::RingFeatures;
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
                features.bundles(),
                "6.10",
                "one receive fills several buffers",
            ),
            newer_part(
                "ring.min_wait",
                features.min_wait(),
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

fn setup_flags(features: &RingFeatures) -> Check {
    let names = |accepted: bool| -> String {
        let names: Vec<&str> = features
            .setup_flags
            .iter()
            .filter(|tried| tried.accepted == accepted)
            .map(|tried| tried.name)
            .collect();
        names.join(" ")
    };
    let mut value = names(true);
    let refused = names(false);
    if !refused.is_empty() {
        value = format!("{value}; not here: {refused}");
    }
    let lacking = DEFAULT_FLAGS.iter().any(|&flag| !features.accepts(flag));
    if lacking {
        Check::warn(
            "ring.setup_flags",
            value,
            "the ring falls back to what is there; the whole default set needs Linux 6.6",
        )
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
    if features.buffer_ring {
        Check::ok("ring.buffer_ring", "works")
    } else {
        Check::warn(
            "ring.buffer_ring",
            "cannot be registered",
            "receives take one buffer each instead of sharing a ring; needs Linux 5.19, or a \
             higher ulimit -l if memory may not be locked",
        )
    }
}

fn newer_part(name: &'static str, works: bool, since: &str, purpose: &str) -> Check {
    if works {
        Check::ok(name, format!("works: {purpose}"))
    } else {
        Check::warn(
            name,
            "not here",
            format!("optional ({purpose}); needs Linux {since} or newer"),
        )
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
                    accepted: true,
                },
                SetupFlag {
                    name: "DEFER_TASKRUN",
                    flag: setup::DEFER_TASKRUN,
                    accepted: false,
                },
            ],
            features: 0,
            opcodes: vec![true; 46],
            buffer_ring: false,
            incremental: false,
            napi: false,
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
    fn an_error_is_unknown_not_a_panic() {
        let checks = ring(Err(io::Error::from_raw_os_error(libc::ENOMEM)));
        assert_eq!(checks[0].status, Status::Unknown);
    }
}
