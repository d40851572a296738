//! Figures as a table for people.

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, CellAlignment, Table};

use crate::row::{Row, Target};

const HEADINGS: [&str; 8] = [
    "case", "metric", "value", "unit", "ratio", "versus", "target", "",
];

/// Lays `rows` out as a table, one figure a line. Blank cells repeat the case above.
pub fn table(rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(HEADINGS);
    let mut above = "";
    for row in rows {
        let case = if row.case == above { "" } else { &row.case };
        above = &row.case;
        table.add_row([
            Cell::new(case),
            Cell::new(&row.metric),
            Cell::new(value_text(row)).set_alignment(CellAlignment::Right),
            Cell::new(&row.unit),
            Cell::new(
                row.ratio
                    .map(|ratio| format!("{ratio:.2}"))
                    .unwrap_or_default(),
            )
            .set_alignment(CellAlignment::Right),
            Cell::new(row.versus.as_deref().unwrap_or_default()),
            Cell::new(row.target.map(target_text).unwrap_or_default()),
            Cell::new(match row.met {
                Some(true) => "met",
                Some(false) => "not met",
                None => "",
            }),
        ]);
    }
    table.trim_fmt()
}

fn value_text(row: &Row) -> String {
    match row.spread {
        Some(spread) => format!("{} ±{:.0}%", number(row.value), spread * 50.0),
        None => number(row.value),
    }
}

fn target_text(target: Target) -> String {
    match target {
        Target::ValueAtLeast(least) => format!("≥ {}", number(least)),
        Target::ValueAtMost(most) => format!("≤ {}", number(most)),
        Target::RatioAtLeast(least) => format!("≥ {least:.2}×"),
        Target::RatioAtMost(most) => format!("≤ {most:.2}×"),
    }
}

/// `value` with about four digits that count, thousands set apart by a space.
pub fn number(value: f64) -> String {
    let size = value.abs();
    let decimals = match size {
        _ if size == 0.0 || size >= 1000.0 || size.fract() == 0.0 => 0,
        _ if size >= 100.0 => 1,
        _ if size >= 10.0 => 2,
        _ => 3,
    };
    let plain = format!("{value:.decimals$}");
    let (whole, fraction) = plain.split_at(plain.find('.').unwrap_or(plain.len()));
    let (sign, digits) = whole.split_at(usize::from(whole.starts_with('-')));
    let mut grouped = String::from(sign);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    grouped + fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_grouped() {
        assert_eq!(number(1_234_567.8), "1 234 568");
        assert_eq!(number(-1234.0), "-1 234");
        assert_eq!(number(123.45), "123.5");
        assert_eq!(number(12.345), "12.35");
        assert_eq!(number(0.0123), "0.012");
        assert_eq!(number(0.0), "0");
        assert_eq!(number(64.0), "64");
    }

    #[test]
    fn a_row_shows_figure_peer_and_verdict() {
        let row = Row::new("echo", "64 zcn", "requests", 200_000.0, "1/s")
            .versus("epoll", 1.2)
            .target(Target::RatioAtLeast(1.05));
        let text = table(&[row]);
        for part in ["64 zcn", "200 000", "1.20", "epoll", "≥ 1.05×", "met"] {
            assert!(text.contains(part), "{part} missing in\n{text}");
        }
    }
}
