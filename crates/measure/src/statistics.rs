//! Median and spread of a few repeated measurements.

/// What repeated measurements of one quantity came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// The middle value, or the mean of the two middle ones.
    pub median: f64,
    /// The smallest value.
    pub low: f64,
    /// The largest value.
    pub high: f64,
    /// Distance between the quartiles as a share of the median: 0.1 means that half of
    /// the values lie in a band a tenth of the median wide. 0 when the median is 0.
    pub spread: f64,
}

impl Summary {
    /// Summarises `values`; `None` when there are none or one is not a number.
    pub fn of(values: &[f64]) -> Option<Self> {
        let sorted = sorted(values)?;
        let median = at(&sorted, 0.5);
        let width = at(&sorted, 0.75) - at(&sorted, 0.25);
        Some(Self {
            median,
            low: *sorted.first()?,
            high: *sorted.last()?,
            spread: if median == 0.0 { 0.0 } else { width / median },
        })
    }
}

/// The median of `values`; `None` when there are none or one is not a number.
pub fn median(values: &[f64]) -> Option<f64> {
    Some(at(&sorted(values)?, 0.5))
}

/// The median of `values[i] / peer[i]`, over the rounds both took part in.
///
/// Ratios are taken round by round, so that a slow minute of the machine slows both
/// sides of the same ratio. `None` when no round gives a finite ratio.
pub fn median_ratio(values: &[f64], peer: &[f64]) -> Option<f64> {
    let ratios: Vec<f64> = values
        .iter()
        .zip(peer)
        .map(|(value, peer)| value / peer)
        .filter(|ratio| ratio.is_finite())
        .collect();
    median(&ratios)
}

fn sorted(values: &[f64]) -> Option<Vec<f64>> {
    if values.is_empty() || values.iter().any(|value| value.is_nan()) {
        return None;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    Some(sorted)
}

/// The quantile `share` of a sorted, non-empty slice, interpolated between neighbours.
fn at(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (below, above) = (place.floor() as usize, place.ceil() as usize);
    sorted[below] + (sorted[above] - sorted[below]) * (place - below as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_of_odd_and_even_counts() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[1.0, f64::NAN]), None);
    }

    #[test]
    fn summary_knows_extremes_and_spread() {
        let summary = Summary::of(&[10.0, 12.0, 8.0, 11.0, 9.0]).unwrap();
        assert_eq!(
            (summary.low, summary.median, summary.high),
            (8.0, 10.0, 12.0)
        );
        assert!((summary.spread - 0.2).abs() < 1e-9);
        assert_eq!(Summary::of(&[0.0, 0.0]).unwrap().spread, 0.0);
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        // The machine became ten times slower in the second round, for both.
        assert_eq!(
            median_ratio(&[2.0, 20.0, 2.0], &[1.0, 10.0, 1.0]),
            Some(2.0)
        );
        assert_eq!(median_ratio(&[1.0], &[0.0]), None);
    }
}
