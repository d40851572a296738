//! Numbers, sizes and lengths of time on the command line.

use std::fmt::Display;
use std::ops::{Bound, RangeBounds};
use std::str::FromStr;
use std::time::Duration;

/// What reads a whole number of `range`, whose first is in it: `20`. Its error is a sentence that
/// shows what would have been understood.
pub fn whole<T>(
    range: impl RangeBounds<T> + Clone + Send + Sync + 'static,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static
where
    T: FromStr + PartialOrd + Display,
{
    move |text| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| {
            let bounds = match (range.start_bound(), range.end_bound()) {
                (Bound::Included(least), Bound::Included(most)) => {
                    format!(" from {least} to {most}")
                }
                (Bound::Included(least), _) => format!(", {least} or more"),
                _ => String::new(),
            };
            format!("{text:?} is no such number; write a whole one{bounds}")
        })
    }
}

/// Reads a size in bytes: `512`, `64k`, `64KiB`, `8M`, `1GiB`. The units are
/// powers of 1024.
///
/// # Errors
/// A sentence that shows what would have been understood.
pub fn bytes(text: &str) -> Result<usize, String> {
    let (number, unit) = split(text);
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        _ => return Err(format!("{text:?} is no size; write 512, 64k or 8M")),
    };
    number
        .parse::<usize>()
        .ok()
        .and_then(|number| number.checked_mul(1 << shift))
        .ok_or_else(|| format!("{text:?} is no size; write 512, 64k or 8M"))
}

/// Reads a size that may not be zero; see [`bytes()`].
///
/// # Errors
/// As [`bytes()`], and for zero.
pub fn nonzero_bytes(text: &str) -> Result<usize, String> {
    match bytes(text)? {
        0 => Err("a size of at least one byte is needed".to_owned()),
        size => Ok(size),
    }
}

/// Writes a size for people: `512 B`, `1.5 KiB`, `64 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = "B";
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = larger;
    }
    match value.fract() == 0.0 {
        true => format!("{value} {unit}"),
        false => format!("{value:.1} {unit}"),
    }
}

/// Reads a length of time: `5` and `5s` (seconds), `250ms`, `100us`, `2m`.
///
/// # Errors
/// A sentence that shows what would have been understood.
pub fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text);
    let scale = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        _ => {
            return Err(format!(
                "{text:?} is no length of time; write 5s, 250ms or 2m"
            ));
        }
    };
    number
        .parse::<f64>()
        .ok()
        .and_then(|number| Duration::try_from_secs_f64(number * scale).ok())
        .ok_or_else(|| format!("{text:?} is no length of time; write 5s, 250ms or 2m"))
}

/// Reads a rate in bits per second: `500M`, `1G`, `2.5Gbit`. The units are
/// powers of 1000.
///
/// # Errors
/// A sentence that shows what would have been understood.
pub fn bits_per_second(text: &str) -> Result<f64, String> {
    let (number, unit) = split(text);
    let unit = unit.to_ascii_lowercase();
    let scale = match unit.trim_end_matches("/s").trim_end_matches("bit") {
        "" => 1.0,
        "k" => 1e3,
        "m" => 1e6,
        "g" => 1e9,
        _ => f64::NAN,
    };
    number
        .parse::<f64>()
        .ok()
        .map(|number| number * scale)
        .filter(|rate| rate.is_finite() && *rate > 0.0)
        .ok_or_else(|| format!("{text:?} is no rate; write 500M or 1G (bits per second)"))
}

fn split(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(bytes("512"), Ok(512));
        assert_eq!(bytes("64k"), Ok(65_536));
        assert_eq!(bytes("64 KiB"), Ok(65_536));
        assert_eq!(bytes("8M"), Ok(8 << 20));
        for nonsense in [
            "",
            "k",
            "1.5k",
            "-1",
            "1x",
            "99999999999999999999",
            "99999999999g",
        ] {
            assert!(bytes(nonsense).is_err(), "{nonsense:?}");
        }
        assert!(nonzero_bytes("0").is_err());
        assert_eq!(nonzero_bytes("1"), Ok(1));
    }

    #[test]
    fn whole_numbers() {
        let (ports, counts) = (whole(1_u16..=65_535), whole(1_u64..));
        assert_eq!((ports("80"), counts("80")), (Ok(80), Ok(80)));
        for nonsense in ["", "0", "-1", "x", "1.5", "65536"] {
            let error = ports(nonsense).expect_err(nonsense);
            assert!(error.ends_with("a whole one from 1 to 65535"), "{error}");
        }
        let error = counts("0").expect_err("none");
        assert!(error.ends_with("a whole one, 1 or more"), "{error}");
    }

    #[test]
    fn sizes_for_people() {
        for (bytes, text) in [
            (0, "0 B"),
            (512, "512 B"),
            (1536, "1.5 KiB"),
            (64 << 20, "64 MiB"),
            (1 << 40, "1 TiB"),
            (u64::MAX, "16777216 TiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn rates() {
        assert_eq!(bits_per_second("500M"), Ok(5e8));
        assert_eq!(bits_per_second("2.5 Gbit/s"), Ok(2.5e9));
        for nonsense in ["", "0", "fast", "1T", "-1G"] {
            assert!(bits_per_second(nonsense).is_err(), "{nonsense:?}");
        }
    }

    #[test]
    fn lengths_of_time() {
        assert_eq!(duration("5"), Ok(Duration::from_secs(5)));
        assert_eq!(duration("0.5s"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for nonsense in ["", "s", "1h", "-5s", "1e400", "5 parsecs"] {
            assert!(duration(nonsense).is_err(), "{nonsense:?}");
        }
    }
}
