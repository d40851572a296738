//! The demonstration as one HTML file that needs nothing else.

use std::error::Error;
use std::fmt::Write;

use zcn_measure::table::number;

use super::Story;
use super::contest::{CONNECTIONS, MESSAGE_BYTES};
use super::user_space::{middle, show};
use super::{plot, table};

const STYLE: &str = "\
:root { color-scheme: light dark; --paper: #fff; --ink: #1b1f24; --faint: #59636e; --line: #d5dae0; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #14171b; --ink: #e4e8ec; --faint: #9aa5b1; --line: #333a42; }
}
body { background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif;
  max-width: 920px; margin: 2.5rem auto; padding: 0 1.2rem; }
h1 { font-size: 1.7rem; margin: 0; }
h2 { font-size: 1.15rem; margin: 2.4rem 0 .3rem; }
p { margin: .5rem 0; }
.faint { color: var(--faint); font-size: .92rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .38rem .6rem; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
th { font-weight: 600; vertical-align: bottom; line-height: 1.25; }
th small { display: block; font-weight: 400; color: var(--faint); }
.key { display: inline-block; width: .7rem; height: .7rem; border-radius: 2px; margin-right: .5rem; }
.keys { display: flex; flex-wrap: wrap; gap: .2rem 1.4rem; font-size: .92rem; margin: .4rem 0; }
svg { display: block; width: 100%; height: auto; }
";

/// Draws the report.
pub(super) fn report(story: &Story) -> Result<String, Box<dyn Error + Send + Sync>> {
    let contest = &story.contest;
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>zcn demo</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <h1>zcn demo</h1>\n<p>Echo servers under the same load in the same run, on loopback; \
         every byte that came back was compared with what was sent.</p>\n"
    );
    paragraph(&mut page, "faint", &story.environment.to_string());
    figures(&mut page, story)?;
    for line in table::beside(story) {
        paragraph(&mut page, "", &line);
    }
    paragraph(&mut page, "", &table::account(story));

    heading(&mut page, "Round trip time");
    let about = format!(
        "One {MESSAGE_BYTES}-byte message at a time on one connection, by percentile; lower is \
         better, the scale is logarithmic."
    );
    paragraph(&mut page, "faint", &about);
    keys(&mut page, story)?;
    page.push_str(&plot::round_trips(contest)?);

    heading(&mut page, "Requests per second");
    let about = format!("{CONNECTIONS} connections, {MESSAGE_BYTES} bytes each; higher is better.");
    paragraph(&mut page, "faint", &about);
    let whole = |value: f64| number(value.round());
    page.push_str(&plot::bars(contest, |track| &track.requests, whole)?);

    heading(&mut page, "CPU time of the server for one request");
    paragraph(&mut page, "faint", "Lower is better.");
    let us = |ns: f64| format!("{:.2} µs", ns / 1000.0);
    page.push_str(&plot::bars(contest, |track| &track.cpu_ns, us)?);

    heading(&mut page, "System calls of the server for one request");
    paragraph(&mut page, "faint", "Lower is better.");
    let calls = |value: f64| format!("{value:.3}");
    page.push_str(&plot::bars(contest, |track| &track.syscalls, calls)?);

    heading(&mut page, "Throughput");
    paragraph(
        &mut page,
        "faint",
        "64 KiB messages back to back on one connection, one direction counted; higher is better.",
    );
    let gigabits = |value: f64| format!("{value:.1} Gbit/s");
    page.push_str(&plot::bars(contest, |track| &track.gigabits, gigabits)?);

    user_space(&mut page, story)?;

    heading(&mut page, "What these figures mean");
    for note in table::notes(story) {
        paragraph(&mut page, "", &note);
    }
    page.push_str("</body>\n</html>\n");
    Ok(page)
}

fn user_space(page: &mut String, story: &Story) -> Result<(), Box<dyn Error + Send + Sync>> {
    let story = &story.user_space;
    heading(page, "The TCP/IP in user space");
    paragraph(page, "faint", &show::about(story));
    page.push_str("<div class=\"scroll\"><table>\n<tr>");
    for (heading, unit) in show::HEADINGS {
        write!(page, "<th>{heading}<small>{unit}</small></th>")?;
    }
    page.push_str("</tr>\n");
    for track in &story.tracks {
        page.push_str("<tr>");
        for cell in show::cells(track) {
            write!(page, "<td>{}</td>", escaped(&cell))?;
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</table></div>\n");
    for remark in show::remarks(story) {
        paragraph(page, "", &remark);
    }
    let (there, back): (Bars, Bars) = story
        .tracks
        .iter()
        .map(|track| {
            let bar = |values: &[f64]| (track.name, middle(values).unwrap_or(0.0));
            (bar(&track.to_server), bar(&track.from_server))
        })
        .unzip();
    let gigabits = |value: f64| format!("{value:.1} Gbit/s");
    for (bars, way) in [(there, "to"), (back, "from")] {
        if bars.iter().any(|(_, value)| *value > 0.0) {
            let about = format!("One connection, as fast as it goes {way} the server.");
            paragraph(page, "faint", &about);
            page.push_str(&plot::named_bars(&bars, gigabits)?);
        }
    }
    Ok(())
}

/// Names and values.
type Bars = Vec<(&'static str, f64)>;

fn figures(page: &mut String, story: &Story) -> std::fmt::Result {
    page.push_str("<div class=\"scroll\"><table>\n<tr>");
    for (heading, unit) in table::HEADINGS {
        write!(page, "<th>{heading}<small>{unit}</small></th>")?;
    }
    page.push_str("</tr>\n");
    for (index, track) in story.contest.tracks.iter().enumerate() {
        page.push_str("<tr>");
        for (column, cell) in table::cells(track).iter().enumerate() {
            let key = match column {
                0 => key(index),
                _ => String::new(),
            };
            write!(page, "<td>{key}{}</td>", escaped(cell))?;
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</table></div>\n");
    Ok(())
}

fn keys(page: &mut String, story: &Story) -> std::fmt::Result {
    page.push_str("<div class=\"keys\">");
    for (index, track) in story.contest.tracks.iter().enumerate() {
        write!(page, "<span>{}{}</span>", key(index), escaped(track.name))?;
    }
    page.push_str("</div>\n");
    Ok(())
}

fn key(index: usize) -> String {
    let plotters::style::RGBColor(red, green, blue) = plot::colour(index);
    format!("<span class=\"key\" style=\"background: rgb({red} {green} {blue})\"></span>")
}

fn heading(page: &mut String, text: &str) {
    page.push_str("<h2>");
    page.push_str(text);
    page.push_str("</h2>\n");
}

fn paragraph(page: &mut String, class: &str, text: &str) {
    match class {
        "" => page.push_str("<p>"),
        class => {
            page.push_str("<p class=\"");
            page.push_str(class);
            page.push_str("\">");
        }
    }
    page.push_str(&escaped(text));
    page.push_str("</p>\n");
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
