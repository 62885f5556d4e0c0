//! How wrong a value is predicted from those before it.
//!
//! The prediction is linear: a constant and some values before, or the last value, a step and some
//! steps before. It is fitted to the baseline by least squares, with as many terms as Schwarz's
//! criterion (BIC) says are worth their place, and goes over the window unchanged. Of noise it is the
//! mean, of a counter the last value and a step, of a random walk the last value, of a wave two values
//! or a few more. It never extrapolates in time: what rises is not taken to rise for ever.

/// The most values before that a prediction uses.
const LAGS_MAX: usize = 8;
/// Baseline values per lag: more lags than that fit chance.
const VALUES_PER_LAG: usize = 25;
/// The constant, the last value and the steps before.
const TERMS_MAX: usize = LAGS_MAX + 1;
/// A level is fitted only if its criterion is better by this much than that of steps, which know of
/// none. Of a random walk any stretch seems to have a level to return to: Dickey and Fuller's
/// statistic reaches −3.4, a gain of its square, in one stretch of a hundred.
const LEVEL_GAIN: f64 = 12.0;
/// What a level with memory has to gain over the mean alone: a few outliers in a row look like memory.
const MEMORY_GAIN: f64 = 12.0;
/// A term whose part that the others do not explain is this small says nothing new.
const NEGLIGIBLE: f64 = 1e-9;
/// Errors are rounded to this share of the range: less is what floating point adds.
const GRAIN: f64 = 1e-6;

/// Multiplications of one call on `values` values, about.
pub(super) fn work(values: usize) -> usize {
    values * TERMS_MAX * TERMS_MAX
}

/// Values at the start of a baseline that have no error, since too few stand before them.
pub(super) fn lags(baseline: usize) -> usize {
    (baseline / VALUES_PER_LAG).clamp(1, LAGS_MAX)
}

/// The errors over `values`, of which the first `baseline` are the baseline: of all but the first
/// [`lags`]. In units of no meaning, the same for all of them.
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

/// Centred on the baseline's mean and divided by the range, so that no sum of squares overflows.
fn scaled(values: &[f64], baseline: usize) -> Vec<f64> {
    let greatest = values.iter().fold(0.0, |most: f64, value| most.max(value.abs()));
    if greatest == 0.0 {
        return values.to_vec();
    }
    let shares: Vec<f64> = values.iter().map(|value| value / greatest).collect();
    let mean = shares[..baseline].iter().sum::<f64>() / baseline as f64;
    let range = shares.iter().fold(0.0, |most: f64, share| most.max((share - mean).abs()));
    // What is left of a constant after its mean is floating point's.
    let range = if range < 1e-12 { f64::INFINITY } else { range };
    shares.iter().map(|share| (share - mean) / range).collect()
}

/// What a step to the next value is predicted from: 1, the last value, the steps before it, the
/// nearest first. Value and steps together span the same as the values before.
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

/// The terms, in the order in which they are taken in.
fn level(lags: usize) -> Vec<usize> {
    (0..=lags).collect()
}

fn steps(lags: usize) -> Vec<usize> {
    (0..=lags).filter(|term| *term != 1).collect()
}

/// Whatever the last value was, the step leads to the mean: a level without memory.
fn mean(rows: &[Row]) -> Fit {
    let count = rows.len() as f64;
    let value = |row: &Row| row.terms[1] + row.step;
    let mean = rows.iter().map(value).sum::<f64>() / count;
    let left = rows.iter().map(|row| (value(row) - mean).powi(2)).sum();
    Fit { criterion: criterion(count, left, 1), terms: vec![(0, mean), (1, -1.0)] }
}

/// Schwarz's: what is left over, and a price for each term.
fn criterion(rows: f64, left: f64, terms: usize) -> f64 {
    rows * (left + rows * GRAIN * GRAIN).ln() + terms as f64 * rows.ln()
}

struct Fit {
    criterion: f64,
    /// Terms with their coefficients.
    terms: Vec<(usize, f64)>,
}

/// The best of the fits with the first one, two, … terms of `order`.
///
/// Cholesky's factor of the terms' products, grown row by row, gives the squares left over by every
/// number of terms: each takes away the square of its entry in `projected`.
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
