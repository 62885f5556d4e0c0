//! The report of meter events that were accepted and then found invalid (a thin event's `data`).

use serde_json::Value;

use super::{field, list_of, path, text, unix_or_text};
use crate::time::Timestamp;

/// The most samples of an error that are read.
const SAMPLES_MAX: usize = 100;

/// The members of an error report that matter here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeterErrorReport {
    /// The meter, `mtr_…`.
    pub meter: Option<String>,
    /// Stripe's summary, for people.
    pub summary: Option<String>,
    /// The start of the window that it covers.
    pub validation_start: Option<Timestamp>,
    /// The end of the window that it covers.
    pub validation_end: Option<Timestamp>,
    /// How many meter events were invalid.
    pub error_count: u64,
    /// The errors, by code, with the identifiers of some meter events.
    pub errors: Vec<MeterError>,
}

/// One kind of error in the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeterError {
    /// `meter_event_no_customer_defined`, `timestamp_too_far_in_past`, ….
    pub code: String,
    /// How many meter events had it.
    pub count: u64,
    /// Identifiers of some of them, if Stripe names any.
    pub identifiers: Vec<String>,
    /// The first sample's message, for people.
    pub message: Option<String>,
}

impl MeterErrorReport {
    /// Reads a thin event's `data`; `meter` is the event's related object.
    #[must_use]
    pub fn read(data: &Value, meter: Option<&str>) -> Self {
        let reason = field(data, "reason").unwrap_or(&Value::Null);
        Self {
            meter: meter.map(str::to_owned),
            summary: text(data, "developer_message_summary").map(str::to_owned),
            validation_start: unix_or_text(data, "validation_start"),
            validation_end: unix_or_text(data, "validation_end"),
            error_count: count(reason, "error_count"),
            errors: list_of(reason, "error_types").iter().map(error).collect(),
        }
    }

    /// Whether it has details: a thin event as it is delivered has no data.
    #[must_use]
    pub const fn has_details(&self) -> bool {
        !self.errors.is_empty() || self.summary.is_some()
    }
}

fn error(value: &Value) -> MeterError {
    let samples = list_of(value, "sample_errors");
    MeterError {
        code: text(value, "code").unwrap_or("unknown").to_owned(),
        count: count(value, "error_count"),
        identifiers: samples
            .iter()
            .take(SAMPLES_MAX)
            .filter_map(|sample| path(sample, &["request", "identifier"])?.as_str())
            .map(str::to_owned)
            .collect(),
        message: samples.iter().find_map(|sample| text(sample, "error_message")).map(str::to_owned),
    }
}

fn count(value: &Value, name: &str) -> u64 {
    field(value, name)
        .and_then(|count| count.as_u64().or_else(|| count.as_str()?.parse().ok()))
        .unwrap_or(0)
}
