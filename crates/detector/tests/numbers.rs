//! Series of numbers: changes are found and named, and quiet series have nearly no findings. (The
//! example of the same name counts over more seeds.)

mod shapes;

use std::fmt::Write;

use driftlock_detector::detect::{Finding, detect};
use driftlock_detector::event::Event;
use driftlock_detector::settings::Settings;
use serde_json::{Value, json};
use shapes::{Change, LENGTH, Quiet};

const SEEDS: u64 = 10;

fn findings(events: impl Iterator<Item = Value>) -> Vec<Finding> {
    let events: Vec<Event> = events.map(Event::from_json).collect();
    detect(&events, &Settings::default()).expect("zstd").findings
}

fn of_numbers(values: &[f64]) -> Vec<Finding> {
    findings(values.iter().map(|value| json!(value)))
}

#[test]
fn quiet_series_have_findings_no_more_often_than_the_threshold_allows() {
    let (mut series, mut loud) = (0, 0);
    // A wave whose period is longer than half a baseline is not recognized as a wave.
    for quiet in Quiet::ALL.into_iter().filter(|quiet| *quiet != Quiet::SlowWave) {
        for seed in 0..SEEDS {
            series += 1;
            loud += usize::from(!of_numbers(&quiet.series(seed)).is_empty());
        }
    }
    // The threshold allows one series in twenty: p < 0.05 over all windows of a series.
    assert!(loud * 20 <= series, "{loud} of {series} series");
}

#[test]
fn changes_are_found_and_named() {
    for (base, change, found_min, named) in [
        (Quiet::Noise, Change::Jump, 10, "mean from"),
        (Quiet::Noise, Change::Burst, 10, "mean from"),
        (Quiet::Noise, Change::Spikes, 9, "spikes of"),
        (Quiet::Noise, Change::Spread, 10, "standard deviation from"),
        (Quiet::Noise, Change::Stuck, 10, "stuck at"),
        (Quiet::NoisyWave, Change::Period, 10, "period from about 24 to about 12 values"),
        (Quiet::NoisyTrend, Change::Burst, 8, "mean from"),
        (Quiet::RandomWalk, Change::Spikes, 9, "usual step to the next"),
    ] {
        let (mut found, mut said) = (0, String::new());
        for seed in 0..SEEDS {
            let (values, place) = base.with(change, seed);
            let findings = of_numbers(&values);
            let hit = |one: &&Finding| one.events.start < place.end && place.start < one.events.end;
            let Some(hit) = findings.iter().find(hit) else { continue };
            found += 1;
            let _ = writeln!(said, "{place:?} as {:?}: {}", hit.events, hit.why);
        }
        assert!(found >= found_min, "{change:?} in {base:?}: {found}\n{said}");
        let with_name = said.lines().filter(|line| line.contains(named)).count();
        assert!(with_name * 2 > found, "{change:?} in {base:?} is {named:?}: {said}");
    }
}

#[test]
fn fields_of_objects_are_series_and_simultaneous_changes_are_one_finding() {
    let (cpu, place) = Quiet::Noise.with(Change::Burst, 3);
    let (load, other) = (Quiet::Counts.series(1), Quiet::Noise.series(2));
    let object = |at: usize| {
        json!({"host": "web-1", "cpu": {"user": cpu[at]}, "heat": cpu[at] * 2.0 + other[at],
               "load": load[at]})
    };
    let found = findings((0..LENGTH).map(object));
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].events.start.abs_diff(place.start) <= 3, "{place:?}: {found:#?}");
    assert!(found[0].events.end.abs_diff(place.end) <= 12, "{place:?}: {found:#?}");
    for said in ["“cpu.user”: ", "“heat”: "] {
        assert!(found[0].why.contains(said), "{found:#?}");
    }
    assert!(!found[0].why.contains("load"), "{found:#?}");
}

#[test]
fn lines_of_numbers_are_the_numbers_and_equal_input_gives_equal_output() {
    let (values, _) = Quiet::Noise.with(Change::Jump, 1);
    let lines: Vec<Event> =
        values.iter().map(|value| Event::from_line(&value.to_string())).collect();
    let of_lines = detect(&lines, &Settings::default()).expect("zstd").findings;
    assert!(!of_lines.is_empty());
    assert_eq!(of_lines, of_numbers(&values));
}

#[test]
fn a_changed_scale_changes_nothing() {
    let (values, _) = Quiet::NoisyWave.with(Change::Spread, 5);
    let places = |values: &[f64]| -> Vec<_> {
        of_numbers(values).into_iter().map(|one| one.events).collect()
    };
    // Powers of two, so that the rounding is the same.
    let usual = places(&values);
    assert!(!usual.is_empty());
    for scale in [2_f64.powi(-900), 2_f64.powi(900)] {
        let scaled: Vec<f64> = values.iter().map(|value| value * scale).collect();
        assert_eq!(places(&scaled), usual, "{scale:e}");
    }
}
