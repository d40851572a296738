//! The user-space half, told.

use std::fmt::Write as _;
use std::io::{self, Write};

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use serde_json::json;
use zcn_measure::table::number;

use super::{Ground, Track, UserSpace, middle};

/// Headings of the table; the second line holds the units.
pub(in crate::demo) const HEADINGS: [(&str, &str); 4] = [
    ("server", ""),
    ("RTT p50", "µs"),
    ("to server", "Gbit/s"),
    ("from server", "Gbit/s"),
];

/// Cells of one server, in the order of [`HEADINGS`].
pub(in crate::demo) fn cells(track: &Track) -> [String; HEADINGS.len()] {
    let cell = |values: &[f64]| {
        middle(values).map_or_else(|| "-".to_owned(), |value| format!("{value:.1}"))
    };
    [
        track.name.to_owned(),
        cell(&track.rtt_us),
        cell(&track.to_server),
        cell(&track.from_server),
    ]
}

/// What this is, in a sentence.
pub(in crate::demo) fn about(story: &UserSpace) -> String {
    match &story.ground {
        Ground::Namespaces => "The user-space half: the kernel's own clients in a namespace of \
                               their own, one connection at a time, with a server on the \
                               kernel's stack and on zcn's."
            .to_owned(),
        Ground::Memory(reason) => format!(
            "The user-space half, two stacks of zcn through memory, as the kernel's cannot be \
             met here: {reason}."
        ),
    }
}

/// What programs said, what was compared, and where the capture is.
pub(in crate::demo) fn remarks(story: &UserSpace) -> Vec<String> {
    let mut lines = story.programs.clone();
    lines.push(format!(
        "{} MB received by the clients, every byte checked, none wrong",
        number((story.bytes as f64 / 1e6).round())
    ));
    if let Some((path, bytes)) = &story.capture {
        lines.push(format!(
            "capture written to {} ({bytes} bytes): open it with Wireshark or `tshark -r`",
            path.display()
        ));
    }
    lines
}

/// For people.
pub(in crate::demo) fn text(story: &UserSpace) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(HEADINGS.map(|(heading, _)| heading));
    table.add_row(HEADINGS.map(|(_, unit)| unit));
    for column in 1..HEADINGS.len() {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for track in &story.tracks {
        table.add_row(cells(track));
    }
    let mut text = String::from("\n");
    super::super::table::wrap(&mut text, &about(story));
    let _ = writeln!(text, "\n{}\n", table.trim_fmt());
    for line in remarks(story) {
        let _ = writeln!(text, "{line}");
    }
    text
}

/// For programs: a line for each server, and one for the rest.
pub(in crate::demo) fn lines(story: &UserSpace, out: &mut impl Write) -> io::Result<()> {
    for track in &story.tracks {
        let line = json!({
            "kind": "user_space_figure",
            "case": track.name,
            "rtt_p50_us": middle(&track.rtt_us),
            "to_server_gbit_s": middle(&track.to_server),
            "from_server_gbit_s": middle(&track.from_server),
        });
        writeln!(out, "{line}")?;
    }
    let (ground, refused) = match &story.ground {
        Ground::Namespaces => ("namespaces", None),
        Ground::Memory(reason) => ("memory", Some(reason)),
    };
    let line = json!({
        "kind": "user_space",
        "ground": ground,
        "refused": refused,
        "programs": story.programs,
        "bytes_checked": story.bytes,
        "errors": 0,
        "capture": story.capture.as_ref().map(|(path, _)| path),
        "capture_bytes": story.capture.as_ref().map(|(_, bytes)| bytes),
    });
    writeln!(out, "{line}")
}
