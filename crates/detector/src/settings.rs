//! The settings of a detection: defaults, allowed ranges, and the effect of `sensitivity`.

use serde_json::{Map, Value};

use crate::input::Malformed;

/// The settings of one detection. Every value is in the range that its field states.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// The size of the baseline in events, 50 to 5,000.
    pub baseline: usize,
    /// The size of the window in events, 5 to 1,000.
    pub window: usize,
    /// The distance from one window to the next in events, 1 to the window's size.
    pub hop: usize,
    /// The NCD of an anomaly is above this, 0 to 1. `None`: by the events' kind, see [`Kind`].
    pub ncd_threshold: Option<f64>,
    /// The adjusted p of an anomaly is below this, 0.0001 to 0.5.
    pub p_value_threshold: f64,
    /// Permutations of the first round, 100 to 10,000.
    pub permutations: usize,
    /// 0 (only the clearest anomalies) to 1; 0.5 leaves both thresholds unchanged.
    pub sensitivity: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            baseline: 400,
            window: 50,
            hop: 10,
            ncd_threshold: None,
            p_value_threshold: 0.05,
            permutations: 1_000,
            sensitivity: 0.5,
        }
    }
}

/// The minimum number of baseline events: with fewer it is not known what is usual.
pub const BASELINE_MIN: usize = 50;

/// The kind of a request's events, which decides the default NCD threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Lines of text, or objects with a message.
    Logs,
    /// Numbers, or objects of numbers.
    Metrics,
    /// Objects with a trace or span id.
    Traces,
    /// No kind has the majority.
    Mixed,
}

impl Kind {
    /// The default NCD threshold.
    pub fn ncd_threshold(self) -> f64 {
        match self {
            Self::Logs => 0.25,
            Self::Metrics => 0.35,
            Self::Traces | Self::Mixed => 0.30,
        }
    }
}

impl Settings {
    /// The NCD threshold for events of `kind`: from 1.5 times the default at sensitivity 0 down
    /// to half of it at 1. A threshold that the request states is used unchanged.
    pub fn ncd_threshold_for(&self, kind: Kind) -> f64 {
        self.ncd_threshold.unwrap_or(kind.ncd_threshold() * (1.5 - self.sensitivity))
    }

    /// The threshold of the adjusted p: half of the stated one at sensitivity 0, twice at 1.
    pub fn p_threshold(&self) -> f64 {
        self.p_value_threshold * (2.0 * self.sensitivity - 1.0).exp2()
    }

    /// How many foreign lines in a row a window of this size needs to be a candidate: an eighth of
    /// its size, twice that at sensitivity 0, half of that at 1, at least three.
    pub fn foreign_min(&self, window: usize) -> usize {
        let share = window as f64 / 8.0 * (1.0 - 2.0 * self.sensitivity).exp2();
        (share.round() as usize).max(3)
    }

    /// Applies `config_override`. Unknown fields are refused, so that a typo is not ignored.
    ///
    /// # Errors
    /// [`Malformed`] names the field and its range.
    pub fn apply(&mut self, overrides: &Map<String, Value>) -> Result<(), Malformed> {
        for (name, value) in overrides {
            let field = format!("config_override.{name}");
            match name.as_str() {
                "baseline_size" => self.baseline = whole(&field, value, BASELINE_MIN, 5_000)?,
                "window_size" => self.window = whole(&field, value, 5, 1_000)?,
                "hop_size" => self.hop = whole(&field, value, 1, 1_000)?,
                "permutation_count" => self.permutations = whole(&field, value, 100, 10_000)?,
                "ncd_threshold" => self.ncd_threshold = Some(real(&field, value, 0.0, 1.0)?),
                "p_value_threshold" => self.p_value_threshold = real(&field, value, 0.0001, 0.5)?,
                "compressor" => compressor(&field, value)?,
                unknown => {
                    let known = "baseline_size, window_size, hop_size, ncd_threshold, \
                                 p_value_threshold, permutation_count, compressor";
                    let unknown: String = unknown.chars().take(64).collect();
                    return Err(Malformed::field(
                        "config_override",
                        format!("has no field {unknown:?}; it may hold {known}"),
                    ));
                }
            }
        }
        if self.hop > self.window {
            let range = format!("must be 1 to the window's size ({})", self.window);
            // A window made smaller than the default hop takes the hop along.
            if overrides.contains_key("hop_size") {
                return Err(Malformed::field("config_override.hop_size", range));
            }
            self.hop = self.window;
        }
        Ok(())
    }
}

/// A real number from `least` to `most`.
pub(crate) fn real(field: &str, value: &Value, least: f64, most: f64) -> Result<f64, Malformed> {
    let range = || Malformed::field(field, format!("must be a number from {least} to {most}"));
    value.as_f64().filter(|real| (least..=most).contains(real)).ok_or_else(range)
}

fn whole(field: &str, value: &Value, least: usize, most: usize) -> Result<usize, Malformed> {
    let range =
        || Malformed::field(field, format!("must be a whole number from {least} to {most}"));
    let number = value.as_u64().and_then(|number| usize::try_from(number).ok());
    number.filter(|number| (least..=most).contains(number)).ok_or_else(range)
}

fn compressor(field: &str, value: &Value) -> Result<(), Malformed> {
    match value.as_str() {
        Some("zstd") => Ok(()),
        Some(_) | None => Err(Malformed::field(field, "must be \"zstd\"".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn applied(overrides: Value) -> Result<Settings, String> {
        let mut settings = Settings::default();
        let overrides = overrides.as_object().expect("an object");
        settings.apply(overrides).map(|()| settings).map_err(|error| error.to_string())
    }

    #[test]
    fn overrides_are_held_to_their_ranges() {
        let fine = applied(json!({"baseline_size":60,"window_size":20,"hop_size":5,
            "ncd_threshold":0.4,"p_value_threshold":0.01,"permutation_count":200,
            "compressor":"zstd"}))
        .expect("all in range");
        assert_eq!((fine.baseline, fine.window, fine.hop, fine.permutations), (60, 20, 5, 200));
        for (overrides, message) in [
            (
                json!({"baseline_size":49}),
                "config_override.baseline_size must be a whole number from 50 to 5000",
            ),
            (
                json!({"window_size":"x"}),
                "config_override.window_size must be a whole number from 5 to 1000",
            ),
            (
                json!({"hop_size":51}),
                "config_override.hop_size must be 1 to the window's size (50)",
            ),
            (
                json!({"ncd_threshold":1.1}),
                "config_override.ncd_threshold must be a number from 0 to 1",
            ),
            (json!({"compressor":"gzip"}), "config_override.compressor must be \"zstd\""),
        ] {
            assert_eq!(applied(overrides).expect_err("refused"), message);
        }
        assert!(applied(json!({"windowsize":1})).expect_err("refused").contains("windowsize"));
        assert_eq!(applied(json!({"window_size":6})).map(|s| s.hop), Ok(6));
    }

    #[test]
    fn half_sensitivity_is_the_documented_thresholds() {
        let mut settings = Settings::default();
        assert_eq!(settings.ncd_threshold_for(Kind::Logs), 0.25);
        assert_eq!(settings.ncd_threshold_for(Kind::Metrics), 0.35);
        assert_eq!(settings.ncd_threshold_for(Kind::Traces), 0.30);
        assert_eq!(settings.p_threshold(), 0.05);
        settings.sensitivity = 1.0;
        assert_eq!((settings.ncd_threshold_for(Kind::Logs), settings.p_threshold()), (0.125, 0.1));
        settings.sensitivity = 0.0;
        assert_eq!(
            (settings.ncd_threshold_for(Kind::Logs), settings.p_threshold()),
            (0.375, 0.025)
        );
    }
}
