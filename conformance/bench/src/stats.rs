//! Series of measured times and what is said about them. Must not measure anything itself.

/// What one command took, sample by sample, in microseconds.
#[derive(Default)]
pub struct Series {
    /// Samples taken while the machine was quiet.
    pub quiet: Vec<f64>,
    /// Samples during which other work held the processors.
    pub noisy: Vec<f64>,
    /// Samples that ended with an error.
    pub failed: usize,
    /// The samples that are spoken of: see `settle`.
    pub counted: Vec<f64>,
}

/// Decides, for all series that are compared with each other, which samples count: the quiet ones, or all of them if
/// any series has too few of those. (Quiet samples of one against all samples of another would be no comparison.)
pub fn settle<'a>(series: impl Iterator<Item = &'a mut Series>) -> bool {
    let all: Vec<&mut Series> = series.collect();
    let busy = all.iter().any(|series| series.quiet.len() * 4 < series.quiet.len() + series.noisy.len());
    for series in all {
        series.counted = series.quiet.clone();
        if busy {
            series.counted.extend(&series.noisy);
        }
        series.counted.sort_by(f64::total_cmp);
    }
    busy
}

impl Series {
    /// The value below which this part of the samples lies; none without samples.
    pub fn quantile(&self, part: f64) -> Option<f64> {
        let last = self.counted.len().checked_sub(1)?;
        Some(self.counted[(last as f64 * part).round() as usize])
    }

    /// The fastest sample.
    pub fn min(&self) -> Option<f64> {
        self.quantile(0.0)
    }

    /// A quarter of the samples were faster.
    pub fn p25(&self) -> Option<f64> {
        self.quantile(0.25)
    }

    /// Half of the samples were faster.
    pub fn median(&self) -> Option<f64> {
        self.quantile(0.5)
    }
}

/// Milliseconds with two digits, or a dash.
pub fn milliseconds(us: Option<f64>) -> String {
    us.map_or("-".into(), |us| format!("{:.2}", us / 1000.0))
}

/// How many times the second the first is, or a dash.
pub fn ratio(ours: Option<f64>, theirs: Option<f64>) -> String {
    match (ours, theirs) {
        (Some(ours), Some(theirs)) if theirs > 0.0 => format!("{:.2}", ours / theirs),
        _ => "-".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(quiet: &[f64], noisy: &[f64]) -> Series {
        Series { quiet: quiet.to_vec(), noisy: noisy.to_vec(), ..Series::default() }
    }

    #[test]
    fn quantiles_of_a_small_series() {
        let mut one = series(&[5.0, 1.0, 4.0, 2.0, 3.0], &[0.1]);
        assert!(!settle([&mut one].into_iter()));
        assert_eq!((one.min(), one.p25(), one.median()), (Some(1.0), Some(2.0), Some(3.0)));
    }

    #[test]
    fn noisy_samples_count_for_all_or_for_none() {
        let (mut calm, mut disturbed) = (series(&[1.0, 1.0], &[9.0; 3]), series(&[1.0], &[9.0; 4]));
        assert!(settle([&mut calm, &mut disturbed].into_iter()));
        assert_eq!((calm.median(), disturbed.median()), (Some(9.0), Some(9.0)));
    }

    #[test]
    fn an_empty_series_says_nothing() {
        assert_eq!(Series::default().median(), None);
        assert_eq!(ratio(None, Some(1.0)), "-");
    }
}
