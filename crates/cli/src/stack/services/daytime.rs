//! RFC 867: the date and the time, for people.

use std::time::{SystemTime, UNIX_EPOCH};

/// The time in UTC with an end of line.
pub(super) fn line(time: SystemTime) -> String {
    let seconds = time
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC\r\n")
}

/// Year, month and day of a day counted from 1970-01-01 (Gregorian calendar).
fn date(mut day: u64) -> (u64, u64, u64) {
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let mut year = 1970;
    loop {
        let length = if is_leap(year) { 366 } else { 365 };
        if day < length {
            break;
        }
        day -= length;
        year += 1;
    }
    let february = if is_leap(year) { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    (year, month, day + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn known_times() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00 UTC\r\n"),
            (951_782_399, "2000-02-28 23:59:59 UTC\r\n"),
            (951_782_400, "2000-02-29 00:00:00 UTC\r\n"),
            (1_735_689_599, "2024-12-31 23:59:59 UTC\r\n"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC\r\n"),
        ] {
            assert_eq!(line(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
    }
}
