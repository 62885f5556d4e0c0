//! Quiet series of numbers, and changes of them.

use std::f64::consts::TAU;
use std::ops::Range;

use driftlock_detector::prng::Prng;

/// The number of values of a series.
pub(crate) const LENGTH: usize = 700;
/// The period of a wave, in values.
const PERIOD: f64 = 24.0;

/// A series in which nothing happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quiet {
    Constant,
    Noise,
    /// Neighbours resemble each other.
    Sluggish,
    /// Events per interval: small whole numbers.
    Counts,
    /// Some values are far off, as with latencies.
    HeavyTailed,
    Wave,
    NoisyWave,
    SlowWave,
    /// High and low alternately, 60 values each.
    Square,
    Sawtooth,
    Counter,
    NoisyTrend,
    RandomWalk,
}

/// A change of a quiet series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Another level, to the end.
    Jump,
    /// Another level for 25 values.
    Burst,
    /// Eight values far off, every fifth.
    Spikes,
    /// Three times the noise for 60 values.
    Spread,
    /// The same value 40 times.
    Stuck,
    /// Half the period, for 100 values.
    Period,
}

impl Quiet {
    pub(crate) const ALL: [Self; 13] = [
        Self::Constant,
        Self::Noise,
        Self::Sluggish,
        Self::Counts,
        Self::HeavyTailed,
        Self::Wave,
        Self::NoisyWave,
        Self::SlowWave,
        Self::Square,
        Self::Sawtooth,
        Self::Counter,
        Self::NoisyTrend,
        Self::RandomWalk,
    ];

    /// The series of this seed.
    pub(crate) fn series(self, seed: u64) -> Vec<f64> {
        self.changed(None, seed).0
    }

    /// With a change, and where it is.
    pub(crate) fn with(self, change: Change, seed: u64) -> (Vec<f64>, Range<usize>) {
        self.changed(Some(change), seed)
    }

    fn changed(self, change: Option<Change>, seed: u64) -> (Vec<f64>, Range<usize>) {
        let mut prng = Prng::new(seed, 77);
        let start = 300 + prng.below(200);
        let length = match change {
            None => 0,
            Some(Change::Jump) => LENGTH - start,
            Some(Change::Burst) => 25,
            Some(Change::Spikes | Change::Stuck) => 40,
            Some(Change::Spread) => 60,
            Some(Change::Period) => 100,
        };
        let place = start..start + length;
        let mut before = 0.0;
        let mut held = 0.0;
        let mut phase = prng.unit() * TAU;
        let values = (0..LENGTH).map(|at| {
            let change = change.filter(|_| place.contains(&at));
            let by = if change == Some(Change::Spread) { 3.0 } else { 1.0 };
            let noise = by * prng.normal();
            phase += TAU / PERIOD * if change == Some(Change::Period) { 2.0 } else { 1.0 };
            let at_f = at as f64;
            let value = match self {
                Self::Constant => 20.0,
                Self::Noise => 20.0 + noise,
                Self::Sluggish => 0.7 * before + noise,
                Self::Counts => {
                    f64::from((0..10).map(|_| u8::from(prng.below(4) == 0)).sum::<u8>())
                }
                Self::HeavyTailed => 20.0 + noise / (prng.normal().abs() + 0.3),
                Self::Wave => 20.0 + 5.0 * phase.sin(),
                Self::NoisyWave => 20.0 + 5.0 * phase.sin() + noise,
                Self::SlowWave => 20.0 + 5.0 * (phase / 10.0).sin() + noise,
                Self::Square => 20.0 + if at / 60 % 2 == 0 { 5.0 } else { 0.0 } + noise,
                Self::Sawtooth => (at % 37) as f64,
                Self::Counter => 1e6 + 3.0 * at_f,
                Self::NoisyTrend => 0.05 * at_f + noise,
                Self::RandomWalk => before + noise,
            };
            before = value;
            if at == place.start {
                held = value;
            }
            match change {
                Some(Change::Jump) => value + 5.0,
                Some(Change::Burst) => value + 6.0,
                Some(Change::Spikes) if (at - place.start).is_multiple_of(5) => value + 9.0,
                Some(Change::Stuck) => held,
                Some(Change::Spikes | Change::Spread | Change::Period) | None => value,
            }
        });
        (values.collect(), place)
    }
}

/// Draws from two distributions.
trait Draw {
    fn unit(&mut self) -> f64;
    fn normal(&mut self) -> f64;
}

impl Draw for Prng {
    fn unit(&mut self) -> f64 {
        self.below(1 << 30) as f64 / f64::from(1 << 30)
    }

    /// About normal, with mean 0 and deviation 1: the sum of twelve uniform draws.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }
}
