//! Alternating rounds: every contender is measured once a round, and compared with its
//! peers round by round.

use crate::row::Row;
use crate::statistics::{Summary, median_ratio};

/// One figure of one contender in one round.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// What was measured, for example `requests_per_second`.
    pub metric: String,
    /// The value, in `unit`.
    pub value: f64,
    /// Unit of `value`.
    pub unit: String,
}

impl Figure {
    /// A figure of `value` in `unit`.
    pub fn new(metric: impl Into<String>, value: f64, unit: impl Into<String>) -> Self {
        Self {
            metric: metric.into(),
            value,
            unit: unit.into(),
        }
    }
}

/// Somebody who takes part: a name, and how to measure it once.
pub struct Contender<'a, E> {
    name: String,
    measure: Box<dyn FnMut() -> Result<Vec<Figure>, E> + 'a>,
}

impl<'a, E> Contender<'a, E> {
    /// `measure` is called once a round and returns the same metrics each time.
    pub fn new(
        name: impl Into<String>,
        measure: impl FnMut() -> Result<Vec<Figure>, E> + 'a,
    ) -> Self {
        Self {
            name: name.into(),
            measure: Box::new(measure),
        }
    }

    /// The name it was given.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Measures all contenders `rounds` times, alternating: forward in one round, backward
/// in the next, so that nobody always runs behind the same neighbour.
///
/// `warm_up` adds one round in front whose figures are thrown away. `step` is told the
/// round (from 0, the warm-up included) and the name before each measurement.
///
/// # Errors
/// The first error of a contender ends the contest.
pub fn alternate<E>(
    rounds: usize,
    warm_up: bool,
    contenders: &mut [Contender<'_, E>],
    mut step: impl FnMut(usize, &str),
) -> Result<Contest, E> {
    let mut series: Vec<Series> = contenders
        .iter()
        .map(|contender| Series::new(&contender.name))
        .collect();
    let extra = usize::from(warm_up);
    for round in 0..rounds + extra {
        for place in 0..contenders.len() {
            let index = match round % 2 {
                0 => place,
                _ => contenders.len() - 1 - place,
            };
            let contender = &mut contenders[index];
            step(round, &contender.name);
            let figures = (contender.measure)()?;
            if round >= extra {
                series[index].push(figures);
            }
        }
    }
    Ok(Contest { series })
}

/// What all contenders came to.
#[derive(Clone, Debug, Default)]
pub struct Contest {
    series: Vec<Series>,
}

impl Contest {
    /// All rounds of `metric` of the contender `name`; empty when there are none.
    pub fn values(&self, name: &str, metric: &str) -> &[f64] {
        self.series
            .iter()
            .find(|series| series.name == name)
            .and_then(|series| series.tracks.iter().find(|track| track.metric == metric))
            .map_or(&[], |track| &track.values)
    }

    /// Median and spread of `metric` of the contender `name`.
    pub fn summary(&self, name: &str, metric: &str) -> Option<Summary> {
        Summary::of(self.values(name, metric))
    }

    /// Median over the rounds of `name`'s value divided by `peer`'s of the same round.
    pub fn ratio(&self, name: &str, peer: &str, metric: &str) -> Option<f64> {
        median_ratio(self.values(name, metric), self.values(peer, metric))
    }

    /// The row of one metric of `name`, compared with `peer` when there is one.
    pub fn row(
        &self,
        bench: &str,
        situation: &str,
        name: &str,
        metric: &str,
        peer: Option<&str>,
    ) -> Option<Row> {
        let track = self
            .series
            .iter()
            .find(|series| series.name == name)?
            .tracks
            .iter()
            .find(|track| track.metric == metric)?;
        let summary = Summary::of(&track.values)?;
        let case = match situation {
            "" => name.to_owned(),
            _ => format!("{situation} {name}"),
        };
        let mut row = Row::new(bench, case, metric, summary.median, &track.unit);
        if track.values.len() > 1 {
            row = row.spread(summary.spread);
        }
        let ratio = peer
            .filter(|peer| *peer != name)
            .and_then(|peer| Some((peer, self.ratio(name, peer, metric)?)));
        Some(match ratio {
            Some((peer, ratio)) => row.versus(peer, ratio),
            None => row,
        })
    }

    /// The rows of everything measured, contender by contender, compared with `peer`.
    pub fn rows(&self, bench: &str, situation: &str, peer: Option<&str>) -> Vec<Row> {
        self.series
            .iter()
            .flat_map(|series| {
                series.tracks.iter().filter_map(|track| {
                    self.row(bench, situation, &series.name, &track.metric, peer)
                })
            })
            .collect()
    }
}

#[derive(Clone, Debug)]
struct Series {
    name: String,
    tracks: Vec<Track>,
}

#[derive(Clone, Debug)]
struct Track {
    metric: String,
    unit: String,
    values: Vec<f64>,
}

impl Series {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            tracks: Vec::new(),
        }
    }

    fn push(&mut self, figures: Vec<Figure>) {
        for figure in figures {
            let known = self
                .tracks
                .iter_mut()
                .find(|track| track.metric == figure.metric);
            match known {
                Some(track) => track.values.push(figure.value),
                None => self.tracks.push(Track {
                    metric: figure.metric,
                    unit: figure.unit,
                    values: vec![figure.value],
                }),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::convert::Infallible;

    #[test]
    fn contenders_alternate_and_the_warm_up_is_dropped() {
        let order = RefCell::new(String::new());
        let contender = |name: &'static str, mut value: f64| {
            let order = &order;
            Contender::<Infallible>::new(name, move || {
                order.borrow_mut().push_str(name);
                value *= 2.0;
                Ok(vec![Figure::new("time", value, "ns")])
            })
        };
        let mut contenders = [contender("a", 1.0), contender("b", 3.0)];
        let Ok(contest) = alternate(2, true, &mut contenders, |_, _| {});
        drop(contenders);
        assert_eq!(order.into_inner(), "abbaab");
        assert_eq!(contest.values("a", "time"), [4.0, 8.0]);
        assert_eq!(contest.ratio("b", "a", "time"), Some(3.0));
        let rows = contest.rows("demo", "warm", Some("a"));
        assert_eq!(rows.len(), 2);
        assert_eq!((rows[0].case.as_str(), rows[0].ratio), ("warm a", None));
        assert_eq!((rows[1].value, rows[1].ratio), (18.0, Some(3.0)));
    }

    #[test]
    fn an_error_ends_the_contest() {
        let mut contenders = [Contender::new("a", || Err("broken"))];
        let result = alternate(3, false, &mut contenders, |_, _| {});
        assert_eq!(result.err(), Some("broken"));
    }
}
