//! Compressed lengths, and the distances computed from them.
//!
//! `C` is zstd at level 3. A [`Meter`] keeps its compressor and its output buffer: a permutation
//! test needs thousands of lengths, and making a compression context costs more than using it.

use zstd::bulk::Compressor;

/// The compression level of `C`.
const LEVEL: i32 = 3;

/// Measures compressed lengths with one reused compressor.
pub struct Meter {
    compressor: Compressor<'static>,
    output: Vec<u8>,
}

impl Meter {
    /// A new meter.
    ///
    /// # Errors
    /// When zstd cannot allocate its context.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { compressor: Compressor::new(LEVEL)?, output: Vec::new() })
    }

    /// The compressed length of `data` in bytes.
    pub fn length(&mut self, data: &[u8]) -> usize {
        let bound = zstd::zstd_safe::compress_bound(data.len());
        if self.output.len() < bound {
            self.output.resize(bound, 0);
        }
        self.compressor
            .compress_to_buffer(data, self.output.as_mut_slice())
            .expect("the output is as large as zstd's own bound for this input")
    }

    /// The lengths of a baseline followed by a window: `joined[..split]` and `joined[split..]`.
    pub fn lengths(&mut self, joined: &[u8], split: usize) -> Lengths {
        Lengths {
            baseline: self.length(&joined[..split]),
            window: self.length(&joined[split..]),
            joined: self.length(joined),
        }
    }
}

/// Compressed lengths in bytes of a baseline, a window and both in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lengths {
    /// C(B)
    pub baseline: usize,
    /// C(W)
    pub window: usize,
    /// C(B‖W)
    pub joined: usize,
}

impl Lengths {
    /// The share of the window that the baseline does not explain, (C(B‖W) − C(B)) / C(W).
    pub fn unexplained(self) -> f64 {
        (self.joined as f64 - self.baseline as f64) / self.window.max(1) as f64
    }

    /// The normalized compression distance, 0 (the same) to 1 (nothing in common).
    pub fn ncd(self) -> f64 {
        let (least, most) =
            (self.baseline.min(self.window) as f64, self.baseline.max(self.window) as f64);
        if most == 0.0 {
            return 0.0;
        }
        ((self.joined as f64 - least) / most).clamp(0.0, 1.0)
    }
}

/// Shannon entropy of the bytes, 0 to 8 bits.
pub fn entropy_bits(data: &[u8]) -> f64 {
    let mut counts = [0_u32; 256];
    for &byte in data {
        counts[usize::from(byte)] += 1;
    }
    let total = data.len() as f64;
    let bits: f64 = counts
        .iter()
        .filter(|count| **count > 0)
        .map(|&count| {
            let share = f64::from(count) / total;
            -share * share.log2()
        })
        .sum();
    bits.clamp(0.0, 8.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_is_clamped_and_ordered() {
        let mut meter = Meter::new().expect("zstd");
        let known = "GET /users 200 in 3 ms\n".repeat(60);
        let other: String =
            (0..40).map(|i| format!("panic {:x}\n", i * 7_919_u64 * 104_729)).collect();
        let mut ncd =
            |window: &str| meter.lengths(format!("{known}{window}").as_bytes(), known.len()).ncd();
        let (same, foreign) = (ncd(&known), ncd(&other));
        assert!(same < foreign, "{same} {foreign}");
        assert!((0.0..=1.0).contains(&same) && (0.0..=1.0).contains(&foreign));
        assert_eq!(Lengths { baseline: 0, window: 0, joined: 0 }.ncd(), 0.0);
        assert_eq!(Lengths { baseline: 10, window: 10, joined: 90 }.ncd(), 1.0);
    }

    #[test]
    fn a_reused_meter_gives_the_same_lengths_as_a_new_one() {
        let mut used = Meter::new().expect("zstd");
        used.length(&[7; 9_000]);
        let text = b"one line of text\nanother line of text\n";
        assert_eq!(used.length(text), Meter::new().expect("zstd").length(text));
    }

    #[test]
    fn entropy_spans_zero_to_eight_bits() {
        assert_eq!(entropy_bits(b""), 0.0);
        assert_eq!(entropy_bits(b"aaaa"), 0.0);
        assert_eq!(entropy_bits(b"abab"), 1.0);
        let every: Vec<u8> = (0..=255).collect();
        assert_eq!(entropy_bits(&every), 8.0);
    }
}
