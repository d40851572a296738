//! Plots as SVG, readable on light and on dark paper.
//!
//! Text and axes are drawn in a colour that nothing else has, and then turned
//! into the colour of the page's text.

use std::error::Error;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::contest::{Contest, LADDER, Values, middle};

/// Stands for the colour of the page's text.
const INK: RGBColor = RGBColor(1, 2, 3);
const INK_TEXT: &str = "\"#010203\"";

const WIDTH: u32 = 860;
const FONT: &str = "sans-serif";

/// One for each contender, of middling lightness.
const COLOURS: [RGBColor; 5] = [
    RGBColor(138, 138, 138),
    RGBColor(217, 131, 20),
    RGBColor(31, 130, 235),
    RGBColor(190, 85, 155),
    RGBColor(18, 155, 125),
];

type Drawn = Result<String, Box<dyn Error + Send + Sync>>;

pub(super) fn colour(index: usize) -> RGBColor {
    COLOURS[index % COLOURS.len()]
}

fn ink(size: u32) -> TextStyle<'static> {
    (FONT, size).into_font().color(&INK)
}

/// A horizontal bar for each contender.
pub(super) fn bars(contest: &Contest, values: Values, label: impl Fn(f64) -> String) -> Drawn {
    let bars: Vec<(&str, f64)> = contest
        .tracks
        .iter()
        .map(|track| (track.name, middle(values(track))))
        .collect();
    named_bars(&bars, label)
}

/// A horizontal bar for each name.
pub(super) fn named_bars(bars: &[(&str, f64)], label: impl Fn(f64) -> String) -> Drawn {
    const ROW: i32 = 34;
    const NAMES: i32 = 190;
    let count = bars.len();
    let most = bars.iter().map(|(_, value)| *value).fold(0.0, f64::max);
    // The label of the longest bar stands behind it.
    let room = f64::from(WIDTH as i32 - NAMES - 130);
    let mut svg = String::new();
    {
        let size = (WIDTH, (ROW * count as i32 + 8) as u32);
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        for (index, (name, value)) in bars.iter().enumerate() {
            let value = *value;
            let top = 4 + ROW * index as i32;
            let length = match most > 0.0 {
                true => (value / most * room) as i32,
                false => 0,
            };
            let middle = top + ROW / 2;
            let right = ink(14).pos(Pos::new(HPos::Right, VPos::Center));
            area.draw(&Text::new(*name, (NAMES - 12, middle), right))
                .map_err(said)?;
            area.draw(&Rectangle::new(
                [(NAMES, top + 5), (NAMES + length.max(2), top + ROW - 5)],
                colour(index).filled(),
            ))
            .map_err(said)?;
            let behind = ink(14).pos(Pos::new(HPos::Left, VPos::Center));
            let place = (NAMES + length.max(2) + 8, middle);
            area.draw(&Text::new(label(value), place, behind))
                .map_err(said)?;
        }
        area.present().map_err(said)?;
    }
    Ok(on_any_paper(&svg))
}

/// Round trip times over percentiles, a line for each contender.
pub(super) fn round_trips(contest: &Contest) -> Drawn {
    let points: Vec<Vec<(f64, f64)>> = contest
        .tracks
        .iter()
        .map(|track| {
            track
                .rtt_ns
                .iter()
                .enumerate()
                .map(|(step, values)| (step as f64, (middle(values) / 1000.0).max(0.1)))
                .collect()
        })
        .collect();
    let all = || points.iter().flatten().map(|(_, us)| *us);
    let low = all().fold(f64::MAX, f64::min) * 0.7;
    let high = all().fold(0.0, f64::max) * 1.4;
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH, 380)).into_drawing_area();
        let last = (LADDER.len() - 1) as f64;
        let mut chart = ChartBuilder::on(&area)
            .margin(8)
            .margin_right(24)
            .x_label_area_size(34)
            .y_label_area_size(72)
            .build_cartesian_2d(-0.15..last + 0.15, (low..high.max(low * 2.0)).log_scale())
            .map_err(said)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .bold_line_style(INK.mix(0.18))
            .light_line_style(TRANSPARENT)
            .axis_style(INK.mix(0.4))
            .label_style(ink(14))
            .x_labels(LADDER.len())
            .x_label_formatter(&|x| step_name(*x))
            .y_label_formatter(&|us| microseconds(*us))
            .draw()
            .map_err(said)?;
        for (index, points) in points.iter().enumerate() {
            let colour = colour(index);
            chart
                .draw_series(LineSeries::new(points.clone(), colour.stroke_width(2)))
                .map_err(said)?;
            chart
                .draw_series(
                    points
                        .iter()
                        .map(|point| Circle::new(*point, 4, colour.filled())),
                )
                .map_err(said)?;
        }
        area.present().map_err(said)?;
    }
    Ok(on_any_paper(&svg))
}

/// The name of a step at a whole place, nothing between.
fn step_name(x: f64) -> String {
    let place = x.round();
    let near = (x - place).abs() < 0.01 && place >= 0.0;
    near.then(|| LADDER.get(place as usize).map(|(name, _)| *name))
        .flatten()
        .unwrap_or_default()
        .to_owned()
}

fn microseconds(us: f64) -> String {
    match us {
        _ if us >= 1000.0 => format!("{:.0} ms", us / 1000.0),
        _ if us >= 1.0 => format!("{us:.0} µs"),
        _ => format!("{us:.1} µs"),
    }
}

fn on_any_paper(svg: &str) -> String {
    svg.replace(INK_TEXT, "\"currentColor\"")
}

/// The backend's own error cannot cross threads.
fn said(error: impl Error) -> Box<dyn Error + Send + Sync> {
    error.to_string().into()
}

#[cfg(test)]
mod tests {
    use super::super::contest::Track;
    use super::*;

    #[test]
    fn plots_have_every_name_and_no_colour_of_their_own_for_text() {
        let contest = Contest {
            tracks: vec![
                Track {
                    name: "one",
                    requests: vec![10.0],
                    rtt_ns: std::array::from_fn(|step| vec![1000.0 * (step + 1) as f64]),
                    ..Track::default()
                },
                Track {
                    name: "other",
                    ..Track::default()
                },
            ],
            ..Contest::default()
        };
        let bars = bars(&contest, |track| &track.requests, |value| value.to_string()).unwrap();
        for part in ["one", "other", "currentColor", "</svg>"] {
            assert!(bars.contains(part), "{part}: {bars}");
        }
        let lines = round_trips(&contest).unwrap();
        for part in ["p99.9", "µs", "currentColor", "</svg>"] {
            assert!(lines.contains(part), "{part}: {lines}");
        }
        assert!(!lines.contains(INK_TEXT));
    }
}
