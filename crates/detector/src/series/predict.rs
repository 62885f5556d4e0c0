//! The errors of predicting each value of a series from the values before it.
//!
//! The prediction is linear, from a constant and some earlier values, or from the last value, a
//! constant step and some earlier steps. It is fitted to the baseline by least squares, with the
//! number of terms that Schwarz's criterion (BIC) chooses, and is then applied to the window
//! unchanged. For noise it becomes the mean; for a counter the last value plus a step; for a random
//! walk the last value; for a wave two or a few more values. It does not extrapolate in time: a
//! rising series is not expected to rise for ever.

/// The most earlier values that a prediction uses.
const LAGS_MAX: usize = 8;
/// Baseline values for each lag: with more lags the prediction would fit chance.
const VALUES_PER_LAG: usize = 25;
/// The constant, the last value and the steps before.
const TERMS_MAX: usize = LAGS_MAX + 1;
/// A fit with a level is used only if its criterion is better by this much than the fit of steps,
/// which has no level. Any part of a random walk seems to return to a level: in one part of a
/// hundred the statistic of Dickey and Fuller reaches −3.4, which is a gain of its square.
const LEVEL_GAIN: f64 = 12.0;
/// A level with earlier values must gain this much over the mean alone: a few consecutive outliers
/// look as if values depended on earlier ones.
const MEMORY_GAIN: f64 = 12.0;
/// A term is ignored if the part that the other terms do not explain is this small.
const NEGLIGIBLE: f64 = 1e-9;
/// Errors are rounded to this share of the range: smaller differences come from floating point.
const GRAIN: f64 = 1e-6;

/// About how many multiplications [`errors`] needs for `values` values.
pub(super) fn work(values: usize) -> usize {
    values * TERMS_MAX * TERMS_MAX
}

/// How many values at the start of a baseline have no error, since too few values precede them.
pub(super) fn lags(baseline: usize) -> usize {
    (baseline / VALUES_PER_LAG).clamp(1, LAGS_MAX)
}

/// The errors of all `values` but the first [`lags`]. The first `baseline` values are the baseline.
/// The errors have one common unit, which has no meaning.
pub(super) fn errors(values: &[f64], baseline: usize) -> Vec<f64> {
    let lags = lags(baseline);
    let scaled = scaled(values, baseline);
    let rows: Vec<Row> = (lags..scaled.len()).map(|at| row(&scaled, at, lags)).collect();
    let (fitted, _) = rows.split_at(baseline - lags);
    let (steps, level, mean) = (fit(fitted, &steps(lags)), fit(fitted, &level(lags)), mean(fitted));
    let level = if level.criterion + MEMORY_GAIN < mean.criterion { level } else { mean };
    let best = if level.criterion + LEVEL_GAIN < steps.criterion { level } else { steps };
    let error = |row: &Row| {
        let predicted: f64 =
            best.terms.iter().map(|(term, coefficient)| coefficient * row.terms[*term]).sum();
        ((row.step - predicted) / GRAIN).round()
    };
    rows.iter().map(error).collect()
}

/// The values minus the baseline's mean, divided by the range, so that no sum of squares overflows.
fn scaled(values: &[f64], baseline: usize) -> Vec<f64> {
    let greatest = values.iter().fold(0.0, |most: f64, value| most.max(value.abs()));
    if greatest == 0.0 {
        return values.to_vec();
    }
    let shares: Vec<f64> = values.iter().map(|value| value / greatest).collect();
    let mean = shares[..baseline].iter().sum::<f64>() / baseline as f64;
    let range = shares.iter().fold(0.0, |most: f64, share| most.max((share - mean).abs()));
    // A constant minus its mean is only a floating-point error.
    let range = if range < 1e-12 { f64::INFINITY } else { range };
    shares.iter().map(|share| (share - mean) / range).collect()
}

/// The terms that predict the step to the next value: 1, the last value, and the steps before it,
/// nearest first. The last value and the steps span the same space as the earlier values.
struct Row {
    terms: [f64; TERMS_MAX],
    step: f64,
}

fn row(scaled: &[f64], at: usize, lags: usize) -> Row {
    let mut terms = [0.0; TERMS_MAX];
    (terms[0], terms[1]) = (1.0, scaled[at - 1]);
    for lag in 1..lags {
        terms[1 + lag] = scaled[at - lag] - scaled[at - lag - 1];
    }
    Row { terms, step: scaled[at] - scaled[at - 1] }
}

/// The terms, in the order in which they are added to the fit.
fn level(lags: usize) -> Vec<usize> {
    (0..=lags).collect()
}

fn steps(lags: usize) -> Vec<usize> {
    (0..=lags).filter(|term| *term != 1).collect()
}

/// The fit in which every step leads to the mean, whatever the last value was.
fn mean(rows: &[Row]) -> Fit {
    let count = rows.len() as f64;
    let value = |row: &Row| row.terms[1] + row.step;
    let mean = rows.iter().map(value).sum::<f64>() / count;
    let left = rows.iter().map(|row| (value(row) - mean).powi(2)).sum();
    Fit { criterion: criterion(count, left, 1), terms: vec![(0, mean), (1, -1.0)] }
}

/// Schwarz's criterion: the unexplained squares, and a price for each term.
fn criterion(rows: f64, left: f64, terms: usize) -> f64 {
    rows * (left + rows * GRAIN * GRAIN).ln() + terms as f64 * rows.ln()
}

struct Fit {
    criterion: f64,
    /// The terms with their coefficients.
    terms: Vec<(usize, f64)>,
}

/// The best of the fits with the first one, two, … terms of `order`.
///
/// The Cholesky factor of the terms' products, computed row by row, gives the unexplained squares
/// for every number of terms: each term removes the square of its entry in `projected`.
fn fit(rows: &[Row], order: &[usize]) -> Fit {
    let product =
        |a: usize, b: usize| rows.iter().map(|row| row.terms[a] * row.terms[b]).sum::<f64>();
    let with_value = |a: usize| rows.iter().map(|row| row.terms[a] * row.step).sum::<f64>();
    let squares: f64 = rows.iter().map(|row| row.step * row.step).sum();
    let count = rows.len() as f64;
    let mut factor: Vec<Vec<f64>> = Vec::new();
    let mut projected: Vec<f64> = Vec::new();
    let (mut left, mut best, mut best_size) = (squares, f64::INFINITY, 0);
    for (size, &term) in order.iter().enumerate() {
        let mut line: Vec<f64> = Vec::with_capacity(size + 1);
        for (column, &other) in order[..size].iter().enumerate() {
            let known: f64 = line.iter().zip(&factor[column]).map(|(a, b)| a * b).sum();
            line.push((product(term, other) - known) / factor[column][column]);
        }
        let own = product(term, term);
        let new = own - line.iter().map(|entry| entry * entry).sum::<f64>();
        if new <= own * NEGLIGIBLE {
            break;
        }
        let known: f64 = line.iter().zip(&projected).map(|(a, b)| a * b).sum();
        let entry = (with_value(term) - known) / new.sqrt();
        line.push(new.sqrt());
        factor.push(line);
        projected.push(entry);
        left = (left - entry * entry).max(0.0);
        let criterion = criterion(count, left, size + 1);
        if criterion < best {
            (best, best_size) = (criterion, size + 1);
        }
    }
    let coefficients = solve(&factor, &projected, best_size);
    Fit { criterion: best, terms: order.iter().copied().zip(coefficients).collect() }
}

/// Solves the upper triangle, the transposed factor, for its first `size` unknowns.
fn solve(factor: &[Vec<f64>], projected: &[f64], size: usize) -> Vec<f64> {
    let mut solved = vec![0.0; size];
    for unknown in (0..size).rev() {
        let known: f64 = (unknown + 1..size).map(|row| factor[row][unknown] * solved[row]).sum();
        solved[unknown] = (projected[unknown] - known) / factor[unknown][unknown];
    }
    solved
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prng::Prng;

    fn worst(values: &[f64]) -> f64 {
        errors(values, 400).iter().fold(0.0, |most: f64, error| most.max(error.abs())) * GRAIN
    }

    #[test]
    fn what_follows_a_rule_has_no_error() {
        let series = |of: fn(f64) -> f64| (0..450).map(f64::from).map(of).collect::<Vec<f64>>();
        for (name, values) in [
            ("constant", series(|_| 1e300)),
            ("zero", series(|_| 0.0)),
            ("counter", series(|at| 1e9 + 3.0 * at)),
            ("wave", series(|at| 5.0 + (at / 4.0).sin())),
            ("slow wave", series(|at| 5.0 + (at / 40.0).sin())),
        ] {
            assert!(worst(&values) <= 2.0 * GRAIN, "{name}: {}", worst(&values));
        }
    }

    #[test]
    fn the_walk_is_taken_out_of_a_random_walk() {
        let mut prng = Prng::new(4, 0);
        let mut at = 0.0;
        let steps: Vec<f64> = (0..450).map(|_| prng.below(1_000) as f64 - 499.5).collect();
        let walk: Vec<f64> = steps
            .iter()
            .map(|step| {
                at += step;
                at
            })
            .collect();
        let (errors, steps) = (errors(&walk, 400), &steps[lags(400)..]);
        let signs =
            errors.iter().zip(steps).filter(|(error, step)| (**error > 0.0) == (**step > 0.0));
        assert!(signs.count() > 400, "an error is the step");
    }

    #[test]
    fn numbers_of_any_size_give_finite_errors() {
        for greatest in [f64::MAX, f64::MIN_POSITIVE, 5e-324, 1.0] {
            let values: Vec<f64> =
                (0..80).map(|at| if at % 3 == 0 { greatest } else { -greatest }).collect();
            assert!(errors(&values, 60).iter().all(|error| error.is_finite()), "{greatest}");
        }
    }
}
