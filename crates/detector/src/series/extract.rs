//! The series of a request: the numbers of its events, by field.

use std::collections::BTreeMap;

use crate::event::Event;

/// The most fields that are examined; those with the most values come first.
const FIELDS_MAX: usize = 16;
/// Shorter series have no baseline and window.
pub(super) const VALUES_MIN: usize = 60;

/// A series: the numbers of one field.
pub(super) struct Series<'a> {
    /// The field's path; empty where the events are bare numbers.
    pub(super) name: &'a str,
    /// The values, in the order of the events.
    pub(super) values: Vec<f64>,
    /// The event of each value.
    pub(super) places: Vec<usize>,
}

/// The series that are long enough, and whether any were skipped.
pub(super) fn series(events: &[Event]) -> (Vec<Series<'_>>, bool) {
    let mut by_name: BTreeMap<&str, Series<'_>> = BTreeMap::new();
    for (place, event) in events.iter().enumerate() {
        for reading in &event.readings {
            let name = reading.path.as_str();
            let empty = || Series { name, values: Vec::new(), places: Vec::new() };
            let series = by_name.entry(name).or_insert_with(empty);
            series.values.push(reading.value);
            series.places.push(place);
        }
    }
    let mut all: Vec<Series<'_>> =
        by_name.into_values().filter(|series| series.values.len() >= VALUES_MIN).collect();
    all.sort_by_key(|series| std::cmp::Reverse(series.values.len()));
    let is_capped = all.len() > FIELDS_MAX;
    all.truncate(FIELDS_MAX);
    (all, is_capped)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_numeric_field_is_a_series_with_the_places_of_its_values() {
        let event = |index: usize| match index % 2 {
            0 => json!({"cpu": index, "disk": {"free": [1, index]}, "host": "a"}),
            _ => json!({"cpu": index, "up": true}),
        };
        let events: Vec<Event> = (0..200).map(event).map(Event::from_json).collect();
        let (all, is_capped) = series(&events);
        let names: Vec<&str> = all.iter().map(|series| series.name).collect();
        assert_eq!((names, is_capped), (vec!["cpu", "disk.free[0]", "disk.free[1]"], false));
        assert_eq!(all[2].places[..3], [0, 2, 4]);
        assert_eq!(all[2].values[..3], [0.0, 2.0, 4.0]);
    }

    #[test]
    fn fields_are_bounded_and_short_series_left_out() {
        let wide: serde_json::Map<_, _> =
            (0..40).map(|field| (format!("f{field}"), json!(1))).collect();
        let events = vec![Event::from_json(wide.into()); VALUES_MIN];
        let (all, is_capped) = series(&events);
        assert!(all.len() == FIELDS_MAX && is_capped);
        assert!(series(&events[1..]).0.is_empty());
    }
}
