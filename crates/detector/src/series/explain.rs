//! The sentence that says how a series changed.

use std::ops::Range;

use super::extract::Series;
use crate::detect::Metrics;
use crate::event::cut;

/// The longest field name quoted, in bytes.
const NAME_BYTES_MAX: usize = 80;
/// A median that moved by this many standard deviations of the baseline is a changed level.
const LEVEL: f64 = 1.0;
/// A deviation or a step has changed if it is this many times as large or as small.
const CHANGED: f64 = 1.5;
/// Values this many standard deviations of the baseline off its mean are spikes, if the other
/// values are as before.
const SPIKE: f64 = 4.0;

/// This many equal values in a row count as stuck.
const STUCK_MIN: usize = 4;

/// The statistics of some values that the sentence uses.
struct Summary {
    mean: f64,
    /// The median.
    middle: f64,
    deviation: f64,
    /// The root mean square of the steps from one value to the next.
    step: f64,
    /// The period, if the values clearly repeat.
    period: Option<usize>,
}

/// Names the largest difference between the values in `found` and the baseline before them.
pub(super) fn why(
    series: &Series<'_>,
    baseline: Range<usize>,
    found: Range<usize>,
    metrics: &Metrics,
) -> String {
    let (before, here) = (&series.values[baseline], &series.values[found]);
    let subject = match series.name {
        "" => String::new(),
        name => {
            let mut name = name.to_owned();
            cut(&mut name, NAME_BYTES_MAX);
            format!("“{name}”: ")
        }
    };
    format!(
        "{subject}{count} values unlike the {baseline} before: {change}; NCD {ncd:.2}, p {p} \
         ({adjusted:.4} adjusted for all windows).",
        count = here.len(),
        baseline = before.len(),
        change = change(before, here),
        ncd = metrics.ncd,
        p = likelihood(metrics.p_value),
        adjusted = metrics.p_adjusted,
    )
}

fn likelihood(p: f64) -> String {
    if p < 0.000_1 { "< 0.0001".to_owned() } else { format!("= {p:.4}") }
}

fn change(before: &[f64], here: &[f64]) -> String {
    let (was, is) = (summary(before), summary(here));
    let level = format!("mean from {} to {}", short(was.mean), short(is.mean));
    let spread =
        format!("standard deviation from {} to {}", short(was.deviation), short(is.deviation));
    let step = || format!("usual step to the next from {} to {}", short(was.step), short(is.step));
    let changed = |was: f64, is: f64| is > was * CHANGED || was > is * CHANGED;
    // The level of the baseline itself moves, so another level says little.
    let wanders = was.step < was.deviation;
    let both = format!("({level}, {spread})");
    if let Some((value, count)) = stuck(before, here) {
        format!("stuck at {} for {count} {both}", short(value))
    } else if let Some((was, is)) = periods(&was, &is) {
        format!("period from about {was} to about {is} values {both}")
    } else if wanders && changed(was.step, is.step) {
        format!("{} {both}", step())
    } else if (is.middle - was.mean).abs() > LEVEL * was.deviation {
        format!("{level} ({spread})")
    } else if let Some(spikes) = spikes(&was, here) {
        format!("{spikes} {both}")
    } else if changed(was.deviation, is.deviation) {
        format!("{spread} ({level})")
    } else if changed(was.step, is.step) {
        format!("{} {both}", step())
    } else {
        format!("they follow from those before in another way {both}")
    }
}

/// The value that most of `here` is in a row, and for how many, if the baseline has no such row.
fn stuck(before: &[f64], here: &[f64]) -> Option<(f64, usize)> {
    let longest = |values: &[f64]| {
        let runs = values.chunk_by(|a, b| a == b).map(|run| (run[0], run.len()));
        runs.max_by_key(|(_, count)| *count).unwrap_or((0.0, 0))
    };
    let ((value, count), (_, usual)) = (longest(here), longest(before));
    (count >= STUCK_MIN && count * 2 > here.len() && count > 2 * usual).then_some((value, count))
}

/// Periods that differ by more than a tenth.
fn periods(was: &Summary, is: &Summary) -> Option<(usize, usize)> {
    let (was, is) = was.period.zip(is.period)?;
    (was.abs_diff(is) * 10 > was).then_some((was, is))
}

/// How many spikes there are and how far they reach, if it is they that differ.
fn spikes(was: &Summary, here: &[f64]) -> Option<String> {
    let is_spike = |value: &f64| (*value - was.mean).abs() > SPIKE * was.deviation;
    let (spikes, rest): (Vec<f64>, Vec<f64>) = here.iter().copied().partition(is_spike);
    let least = spikes.iter().copied().reduce(f64::min)?;
    let most = spikes.iter().copied().reduce(f64::max)?;
    if rest.is_empty() || summary(&rest).deviation > CHANGED * was.deviation {
        return None;
    }
    Some(match spikes.len() {
        1 => format!("a spike of {}", short(most)),
        count => format!("{count} spikes of {} to {}", short(least), short(most)),
    })
}

/// Of one value at least.
fn summary(values: &[f64]) -> Summary {
    let mean = mean(values);
    let square = |by: &dyn Fn(usize) -> f64, count: usize| {
        (0..count).map(|at| by(at) / count.max(1) as f64).sum::<f64>()
    };
    let deviation = square(&|at| (values[at] - mean).powi(2), values.len()).sqrt();
    let step = square(&|at| (values[at + 1] - values[at]).powi(2), values.len().saturating_sub(1));
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let half = values.len() / 2;
    // Halved first: the sum of the greatest numbers would overflow.
    let middle = sorted[(values.len() - 1) / 2] / 2.0 + sorted[half] / 2.0;
    Summary { mean, middle, deviation, step: step.sqrt(), period: period(values, mean) }
}

/// Each divided first: the sum of numbers near the greatest would overflow.
fn mean(values: &[f64]) -> f64 {
    values.iter().map(|value| value / values.len().max(1) as f64).sum()
}

/// The first lag after a negative correlation where the correlation peaks above one half.
fn period(values: &[f64], mean: f64) -> Option<usize> {
    let product = |lag: usize| -> f64 {
        let pairs = values.iter().zip(&values[lag..]);
        pairs.map(|(a, b)| (a - mean) * (b - mean)).sum::<f64>() / (values.len() - lag) as f64
    };
    let longest = (values.len() / 2).min(200);
    let (own, lags) = (product(0), (1..longest).map(product).collect::<Vec<f64>>());
    let negative = lags.iter().position(|one| *one < 0.0)?;
    let rest = lags[negative..].iter().enumerate();
    let (after, peak) = rest
        .take_while(|(after, _)| *after <= 3 * (negative + 1))
        .max_by(|a, b| a.1.total_cmp(b.1))?;
    (*peak > own / 2.0).then_some(negative + after + 1)
}

/// Four significant digits.
fn short(number: f64) -> String {
    let magnitude = number.abs();
    if magnitude != 0.0 && !(1e-3..1e6).contains(&magnitude) {
        return format!("{number:.3e}");
    }
    let whole = if magnitude == 0.0 { 0 } else { magnitude.log10().floor() as i32 };
    let text = format!("{number:.*}", usize::try_from(3 - whole).unwrap_or(0));
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(count: u32, period: f64) -> Vec<f64> {
        (0..count).map(|at| 10.0 + (f64::from(at) * std::f64::consts::TAU / period).sin()).collect()
    }

    fn alternating(count: u32, around: f64, by: f64) -> Vec<f64> {
        (0..count).map(|at| around + if at % 2 == 0 { by } else { -by }).collect()
    }

    #[test]
    fn it_names_what_changed() {
        let usual = alternating(400, 10.0, 1.0);
        let mut spikes = alternating(30, 10.0, 1.0);
        (spikes[3], spikes[17]) = (40.0, 55.5);
        for (before, here, said) in [
            (
                &usual,
                alternating(20, 15.0, 1.0),
                "mean from 10 to 15 (standard deviation from 1 to 1)",
            ),
            (&usual, alternating(20, 10.0, 3.0), "standard deviation from 1 to 3 (mean"),
            (&usual, vec![10.25; 20], "stuck at 10.25 for 20 (mean from 10 to 10.25,"),
            (&usual, spikes, "2 spikes of 40 to 55.5 (mean"),
            (&wave(400, 24.0), wave(48, 12.0), "period from about 24 to about 12 values (mean"),
            (&wave(400, 40.0), wave(400, 40.0), "they follow from those before in another way"),
        ] {
            let change = change(before, &here);
            assert!(change.starts_with(said), "{change}");
        }
    }

    #[test]
    fn numbers_are_short() {
        let said = [0.0, 10.0, -12.345_6, 0.012_346, 123_456.7, 1.5e9, 2e-7].map(short);
        assert_eq!(said, ["0", "10", "-12.35", "0.01235", "123457", "1.500e9", "2.000e-7"]);
    }
}
