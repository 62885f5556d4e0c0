//! Counts how often the detector finds changes in series of numbers, and how often it has findings
//! in quiet series.
//!
//! ```text
//! cargo run --release -p driftlock-detector --example numbers -- [SEEDS [FIRST]]
//! ```
//!
//! It prints for each quiet shape how many series had a finding. For each change of a shape it
//! prints how often a finding overlaps the change, and how many findings do not. Only the seed
//! changes the numbers.
#![expect(clippy::print_stdout, reason = "printing is its purpose")]

#[path = "../tests/shapes/mod.rs"]
mod shapes;

use std::ops::Range;

use driftlock_detector::detect::{Finding, detect};
use driftlock_detector::event::Event;
use driftlock_detector::settings::Settings;
use shapes::{Change, LENGTH, Quiet};

/// Findings of a quiet shape that are printed.
const SHOWN_MAX: usize = 2;

const BASES: [Quiet; 5] =
    [Quiet::Noise, Quiet::Sluggish, Quiet::NoisyWave, Quiet::NoisyTrend, Quiet::RandomWalk];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let argument = |place, usual| std::env::args().nth(place).map_or(Ok(usual), |one| one.parse());
    let (seeds, first): (u64, u64) = (argument(1, 20)?, argument(2, 0)?);
    println!("{seeds} series of {LENGTH} values each; findings where nothing happens:");
    for quiet in Quiet::ALL {
        let mut findings = Vec::new();
        for seed in first..first + seeds {
            findings.extend(run(&quiet.series(seed))?.into_iter().map(|one| (seed, one)));
        }
        println!("{:<12} {:>3}", format!("{quiet:?}"), findings.len());
        for (seed, one) in findings.iter().take(SHOWN_MAX) {
            println!("    seed {seed}: {:?} {}", one.events, one.why);
        }
    }
    println!("changes found of {seeds}, and findings elsewhere:");
    let changes = [
        Change::Jump,
        Change::Burst,
        Change::Spikes,
        Change::Spread,
        Change::Stuck,
        Change::Period,
    ];
    for change in changes {
        for base in BASES {
            if (change == Change::Period) != (base == Quiet::NoisyWave) && change == Change::Period
            {
                continue;
            }
            let (mut found, mut elsewhere, mut said) = (0, 0, None);
            for seed in first..first + seeds {
                let (values, place) = base.with(change, seed);
                let (hits, others): (Vec<Finding>, Vec<Finding>) =
                    run(&values)?.into_iter().partition(|one| overlap(&one.events, &place));
                found += u64::from(!hits.is_empty());
                elsewhere += others.len();
                said = said.or(hits
                    .first()
                    .map(|one| format!("{place:?} as {:?} {}", one.events, one.why)));
            }
            println!(
                "{:<8} {:<12} {found:>3} {elsewhere:>3}  {}",
                format!("{change:?}"),
                format!("{base:?}"),
                said.unwrap_or_default()
            );
        }
    }
    Ok(())
}

fn run(values: &[f64]) -> std::io::Result<Vec<Finding>> {
    let events: Vec<Event> = values.iter().map(|value| Event::from_json((*value).into())).collect();
    Ok(detect(&events, &Settings::default())?.findings)
}

fn overlap(a: &Range<usize>, b: &Range<usize>) -> bool {
    a.start < b.end && b.start < a.end
}
