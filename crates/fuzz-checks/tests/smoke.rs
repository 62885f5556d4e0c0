//! Runs every check over its corpus, over earlier findings, and over mutations of both.

use std::fs;
use std::path::{Path, PathBuf};

use driftlock_fuzz_checks::ALL;

/// Mutations of each file.
const MUTATIONS: u64 = 400;

fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("readable").path()).collect();
    paths.sort();
    let read = |path: PathBuf| {
        let bytes = fs::read(&path).expect("readable");
        (path, bytes)
    };
    paths.into_iter().map(read).collect()
}

/// Marsaglia's xorshift: the same mutations everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound.max(1) as u64) as usize
    }
}

fn mutated(bytes: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let mut made = bytes.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(made.len() + 1);
        match random.below(5) {
            0 if at < made.len() => made[at] ^= 1 << random.below(8),
            1 if at < made.len() => drop(made.remove(at)),
            2 => made.insert(at, random.below(256) as u8),
            3 if !other.is_empty() => {
                let from = random.below(other.len());
                let part = &other[from..other.len().min(from + 1 + random.below(16))];
                made.splice(at..at, part.iter().copied());
            }
            _ => made.truncate(at),
        }
    }
    made
}

#[test]
fn every_check_holds_for_its_corpus_its_findings_and_their_mutations() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    for (name, check) in ALL {
        let mut inputs = files(&root.join("corpus").join(name));
        assert!(inputs.len() >= 3, "fuzz/corpus/{name} has its seeds");
        inputs.extend(files(&root.join("findings").join(name)));
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        for (path, bytes) in &inputs {
            // Printed first, so that a panic's message follows the name of its input.
            eprintln!("{}", path.display());
            check(bytes);
            for _ in 0..MUTATIONS {
                let other = &inputs[random.below(inputs.len())].1;
                check(&mutated(bytes, other, &mut random));
            }
        }
    }
}

#[test]
fn every_check_has_a_target_and_every_target_a_check() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    let manifest = fs::read_to_string(root.join("Cargo.toml")).expect("fuzz/Cargo.toml");
    for (name, _) in ALL {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is not a [[bin]]");
        let target = root.join("fuzz_targets").join(format!("{name}.rs"));
        let text = fs::read_to_string(&target).expect("a target");
        assert!(text.contains(&format!("{name}::check")), "{}", target.display());
    }
    assert_eq!(manifest.matches("[[bin]]").count(), ALL.len());
}
