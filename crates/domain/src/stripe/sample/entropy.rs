//! Numbers and ids derived from a seed (SplitMix64). Never use them for secrets.

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// How many characters follow an id's prefix, as in Stripe's ids.
const ID_CHARS: usize = 24;

/// A stream of numbers derived from a seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entropy(u64);

impl Entropy {
    /// The stream of this seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The stream of a seed and words; other words give an unrelated stream.
    #[must_use]
    pub fn of(seed: u64, words: &[&str]) -> Self {
        let mut stream = Self::new(seed);
        for word in words {
            // FNV-1a, chained over the words.
            let mut hash = stream.number() ^ 0xcbf2_9ce4_8422_2325;
            for byte in word.bytes() {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
            stream = Self::new(hash);
        }
        stream
    }

    /// The next number.
    pub const fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// An index into a list of this length; 0 for an empty one.
    pub fn below(&mut self, length: usize) -> usize {
        let bound = u64::try_from(length).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.number() % bound).unwrap_or(0)
    }

    /// The next id with this prefix, such as `evt_`.
    pub fn id(&mut self, prefix: &str) -> String {
        let tail = (0..ID_CHARS).map(|_| char::from(ALPHABET[self.below(ALPHABET.len())]));
        prefix.chars().chain(tail).collect()
    }
}
