use super::*;

const START: i64 = 1_800_000_000;
const DAY: i64 = 86_400;

/// Both clocks in virtual time, and a trusted time that observes them each second.
struct Machine {
    monotonic_secs: u64,
    /// By how many seconds the wall clock is wrong.
    wrong_secs: i64,
    time: TrustedTime,
    changes: Vec<Change>,
}

impl Machine {
    fn start(wrong_secs: i64, last_commit: Option<i64>) -> Self {
        let time =
            TrustedTime::start(reading(0, wrong_secs), last_commit.map(Timestamp::from_secs));
        Self { monotonic_secs: 0, wrong_secs, time, changes: Vec::new() }
    }

    fn set(&mut self, wrong_secs: i64) -> &mut Self {
        self.wrong_secs = wrong_secs;
        self
    }

    fn run(&mut self, secs: u64) -> &mut Self {
        for _ in 0..secs {
            let before = self.trusted_secs();
            self.monotonic_secs += 1;
            let reading = reading(self.monotonic_secs, self.wrong_secs);
            self.changes.extend(self.time.observe(reading));
            assert!(self.trusted_secs() > before, "it never goes back");
        }
        self
    }

    fn trusted_secs(&self) -> i64 {
        self.time.offset_micros() / 1_000_000 + self.monotonic_secs.cast_signed()
    }

    /// The error of the trusted time.
    fn error_secs(&self) -> i64 {
        self.trusted_secs() - START - self.monotonic_secs.cast_signed()
    }

    fn set_back(&mut self) {
        self.time.set_back(reading(self.monotonic_secs, self.wrong_secs));
    }
}

fn reading(monotonic_secs: u64, wrong_secs: i64) -> Reading {
    let wall = Timestamp::from_secs(START + monotonic_secs.cast_signed() + wrong_secs);
    Reading { wall, monotonic: Duration::from_secs(monotonic_secs) }
}

#[test]
fn a_leap_of_forty_days_for_two_seconds_changes_nothing() {
    let mut machine = Machine::start(0, None);
    machine.run(10).set(40 * DAY).run(2);
    assert_eq!(machine.error_secs(), 0);
    assert_eq!(machine.time.status().wall_ahead_micros, 40 * DAY * 1_000_000);
    machine.set(0).run(10);
    let hour = Some(Duration::from_secs(3_600));
    assert_eq!(machine.changes, [Change::Leapt(40 * DAY * 1_000_000, hour), Change::CameBack]);
    assert!(machine.time.is_confirmed() && machine.time.status().leaps == 1);
}

#[test]
fn a_leap_of_eight_hundred_days_for_a_minute_changes_nothing() {
    let mut machine = Machine::start(0, Some(START));
    machine.run(5).set(800 * DAY).run(60).set(0).run(3_700);
    assert_eq!((machine.error_secs(), machine.time.status().leaps), (0, 1));
}

#[test]
fn a_machine_that_was_suspended_is_followed_after_the_stated_time() {
    let hours = 5 * 3_600;
    let mut machine = Machine::start(0, None);
    machine.run(10).set(hours).run(300);
    assert_eq!(machine.error_secs(), 0, "not yet");
    machine.run(1);
    assert_eq!(machine.error_secs(), hours);
    let mut machine = Machine::start(0, None);
    machine.run(10).set(3 * DAY).run(3_600);
    assert_eq!(machine.error_secs(), 0, "not yet");
    machine.run(1);
    assert_eq!(machine.error_secs(), 3 * DAY);
    assert_eq!(machine.changes.last(), Some(&Change::Followed(3 * DAY * 1_000_000)));
}

#[test]
fn a_clock_that_leaps_again_and_again_is_never_confirmed() {
    let mut machine = Machine::start(0, None);
    for round in 0..20 {
        machine.set(10 * DAY + round * 60).run(299).set(0).run(1);
    }
    assert_eq!(machine.error_secs(), 0);
}

#[test]
fn a_step_of_time_synchronization_is_followed_at_once_and_drift_is_not_a_leap() {
    let mut machine = Machine::start(0, None);
    machine.run(10).set(4).run(1);
    assert_eq!(machine.error_secs(), 4);
    machine.set(2).run(100);
    assert_eq!(machine.error_secs(), 4, "it does not go back");
    assert!(machine.changes.is_empty() && machine.time.is_confirmed());
}

#[test]
fn a_start_behind_the_last_commit_is_doubtful_until_synchronization_corrects_it() {
    // Years behind at the start, as after an empty battery; corrected after a minute.
    let mut machine = Machine::start(-300 * DAY, Some(START - 60));
    assert!(!machine.time.is_confirmed(), "nothing is removed by it");
    machine.run(60).set(0).run(1);
    assert_eq!(machine.error_secs(), 0, "it agrees with the store: followed at once");
    assert!(machine.time.is_confirmed());
}

#[test]
fn a_start_far_ahead_of_the_last_commit_goes_back_when_it_is_corrected() {
    let mut machine = Machine::start(700 * DAY, Some(START - 60));
    assert!(!machine.time.is_confirmed());
    machine.run(30).set(0).run(3);
    assert_eq!(machine.changes, [Change::MustGoBack(-700 * DAY * 1_000_000)], "once");
    assert!(!machine.time.is_confirmed(), "until the host has begun again");
    machine.set_back();
    assert_eq!(machine.error_secs(), 0);
    assert!(machine.time.is_confirmed());
}

#[test]
fn a_start_some_hours_ahead_goes_back_after_the_stated_time() {
    // The hardware clock holds local time.
    let mut machine = Machine::start(7_200, Some(START - 60));
    machine.run(20).set(0).run(1);
    assert!(!machine.time.is_confirmed(), "nothing is removed while it may be ahead");
    machine.run(299);
    assert!(!machine.changes.iter().any(|change| matches!(change, Change::MustGoBack(_))));
    machine.run(1);
    assert_eq!(machine.changes.last(), Some(&Change::MustGoBack(-7_200_000_000)));
    machine.set_back();
    assert_eq!(machine.error_secs(), 0);
}

#[test]
fn a_trusted_time_that_is_minutes_ahead_stays_ahead() {
    let mut machine = Machine::start(0, None);
    machine.run(10).set(-500).run(4_000);
    assert_eq!(machine.error_secs(), 0);
    assert_eq!(machine.changes, [Change::Leapt(-500_000_000, None)]);
    assert!(machine.time.is_confirmed());
}

#[test]
fn the_clock_after_a_long_stop_counts_as_correct_after_an_hour() {
    let mut machine = Machine::start(0, Some(START - 90 * DAY));
    machine.run(3_599);
    assert!(!machine.time.is_confirmed());
    machine.run(1);
    assert!(machine.time.is_confirmed());
    assert_eq!(machine.changes, [Change::Confirmed]);
    assert!(Machine::start(0, Some(START - 30 * DAY)).time.is_confirmed(), "a month is ordinary");
    assert!(Machine::start(0, None).time.is_confirmed(), "a new store");
    assert!(!Machine::start(-START, None).time.is_confirmed(), "1970");
}
