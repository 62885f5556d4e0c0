//! The severity of an anomaly.

/// From its p-value and distance, as documented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// p < 0.001 and NCD > 0.5
    Critical,
    /// p < 0.01 and NCD > 0.3
    High,
    /// p < 0.05
    Medium,
    /// Anything else that was reported.
    Low,
}

impl Severity {
    /// The severity of a p-value and a distance.
    pub fn of(p_value: f64, ncd: f64) -> Self {
        if p_value < 0.001 && ncd > 0.5 {
            Self::Critical
        } else if p_value < 0.01 && ncd > 0.3 {
            Self::High
        } else if p_value < 0.05 {
            Self::Medium
        } else {
            Self::Low
        }
    }

    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::High => "high",
            Self::Medium => "medium",
            Self::Low => "low",
        }
    }

    /// The severity with this name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Critical, Self::High, Self::Medium, Self::Low]
            .into_iter()
            .find(|severity| severity.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_exclusive() {
        for (p, ncd, severity) in [
            (0.0009, 0.51, Severity::Critical),
            (0.001, 0.51, Severity::High),
            (0.0009, 0.5, Severity::High),
            (0.0009, 0.3, Severity::Medium),
            (0.01, 0.9, Severity::Medium),
            (0.05, 0.9, Severity::Low),
        ] {
            assert_eq!(Severity::of(p, ncd), severity);
            assert_eq!(Severity::named(severity.name()), Some(severity));
        }
        assert_eq!(Severity::named("grave"), None);
    }
}
