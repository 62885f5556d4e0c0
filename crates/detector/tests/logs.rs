//! Synthetic logs that look like real ones: twelve bursts in each are found, quiet logs have no
//! findings, and the work for 10,000 lines is bounded, by counting it and not by a clock.

use std::ops::Range;

use driftlock_detector::detect::{Report, detect};
use driftlock_detector::event::Event;
use driftlock_detector::settings::Settings;

/// A linear congruential generator (Knuth's MMIX constants): the same log every time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}

/// A web server with many clients, paths, statuses and sizes.
fn web(index: usize, dice: &mut Dice) -> String {
    let path = ["/", "/login", "/cart", "/api/items", "/static/app.js"][dice.below(5) as usize];
    let status = [200, 200, 200, 304, 404][dice.below(5) as usize];
    let (host, size, second) = (dice.below(250), dice.below(90_000), index % 60);
    format!(
        "10.0.3.{host} - - [12/Jun/2026:08:{:02}:{second:02} +0000] \"GET {path} HTTP/1.1\" \
         {status} {size} \"-\" \"Mozilla/5.0 (X11; Linux x86_64)\"",
        index / 60 % 60
    )
}

/// A package manager: names differ, verbs recur.
fn packages(index: usize, dice: &mut Dice) -> String {
    let verb = ["status half-configured", "status unpacked", "status installed", "configure"];
    let name = ["libc6", "openssl", "perl-base", "tzdata", "zlib1g", "bash", "coreutils"];
    let (verb, name) = (verb[dice.below(4) as usize], name[dice.below(7) as usize]);
    let (major, minor) = (dice.below(9), dice.below(40));
    format!(
        "2026-06-12 08:{:02}:{:02} {verb} {name}:amd64 {major}.{minor}-1",
        index / 60 % 60,
        index % 60
    )
}

/// A daemon's structured log.
fn daemon(index: usize, dice: &mut Dice) -> String {
    let text = ["lease renewed", "heartbeat sent", "cache refreshed", "snapshot written"];
    let (text, ms) = (text[dice.below(4) as usize], dice.below(900));
    let id = dice.below(u64::MAX);
    format!(
        "{{\"level\":\"info\",\"ts\":{index},\"msg\":\"{text}\",\"ms\":{ms},\"id\":\"{id:016x}\"}}"
    )
}

/// A line that none of these sources writes.
fn foreign(index: usize) -> String {
    let call = ["do_page_fault", "oops_end", "kmem_cache_alloc", "ext4_writepages"][index % 4];
    format!("kernel: BUG unable to handle paging request: {call}+0x{index:x}/0x{:x}", index * 977)
}

type Source = fn(usize, &mut Dice) -> String;

const SOURCES: [(&str, Source); 3] = [("web", web), ("packages", packages), ("daemon", daemon)];
const INJECTIONS: usize = 12;
const BURST: usize = 20;

fn log(source: Source, seed: u64, lines: usize) -> Vec<String> {
    let mut dice = Dice(seed);
    (0..lines).map(|index| source(index, &mut dice)).collect()
}

fn report(lines: &[String]) -> Report {
    let events: Vec<Event> = lines.iter().map(|line| Event::from_line(line)).collect();
    detect(&events, &Settings::default()).expect("zstd")
}

fn overlap(a: &Range<usize>, b: &Range<usize>) -> bool {
    a.start < b.end && b.start < a.end
}

#[test]
fn bursts_are_found_and_quiet_logs_are_quiet() {
    for (name, source) in SOURCES {
        let quiet = log(source, 7, 700);
        assert_eq!(report(&quiet).findings, [], "{name}: nothing happens");
        for injection in 0..INJECTIONS {
            let at = 80 + 50 * injection + injection * 7 % 10;
            let mut lines = quiet.clone();
            lines.splice(at..at, (0..BURST).map(foreign));
            let found = report(&lines).findings;
            assert_eq!(found.len(), 1, "{name}: one burst at {at}: {found:#?}");
            assert!(overlap(&found[0].events, &(at..at + BURST)), "{name}: {at}: {found:#?}");
        }
    }
}

/// Ten thousand lines: every window is examined, and only those of the burst get a permutation
/// test. A test compresses some 25 kB a thousand times, so the number of tests decides the time.
#[test]
fn ten_thousand_lines_take_few_permutations() {
    let mut lines = log(web, 11, 10_000);
    lines.splice(6_000..6_000, (0..BURST).map(foreign));
    let report = report(&lines);
    assert!(!report.windows_capped && report.windows_examined > 900, "{}", report.windows_examined);
    assert_eq!(report.findings.len(), 1, "{:#?}", report.findings);
    let permutations: usize = report.findings.iter().map(|one| one.metrics.permutations).sum();
    assert!(permutations <= 4_000, "{permutations} permutations");
}
