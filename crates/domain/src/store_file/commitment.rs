//! The commit file beside a database, which states the database's last commit.
//!
//! SQLite silently drops the damaged part of a write-ahead log, and a deleted log looks like an
//! empty one. So each commit gets a number. After each commit, its number and the head of a hash
//! chain over all commits are written to a small file beside the database. When a process opens the
//! database, it compares the two and reports missing commits.
//!
//! Invariant: the file is written only after its commit is as durable as the store promises. So
//! after a process was killed, the file never states more than the database has. After a power loss
//! it may, but only where `metering.durability = "process"` allows the loss of the last commits.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::config::Durability;
use crate::time::Timestamp;

/// The state of a database's history after a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct History {
    /// The commit's number, from 1.
    pub commits: u64,
    /// The head of the chain over all commits.
    pub head: [u8; 32],
    /// Requests settled up to this commit.
    pub settlements: u64,
    /// Units settled up to this commit.
    pub units: u64,
    /// When the commit was made.
    pub at: Timestamp,
}

impl History {
    /// The history after one more commit by `owner`, with this many settlements and units.
    #[must_use]
    pub fn next(&self, owner: &[u8; 16], settlements: u64, units: u64, at: Timestamp) -> Self {
        let mut next = Self {
            commits: self.commits + 1,
            head: self.head,
            settlements: self.settlements.saturating_add(settlements),
            units: self.units.saturating_add(units),
            at,
        };
        let mut hasher = Sha256::new();
        hasher.update(self.head);
        hasher.update(owner);
        hasher.update(next.numbers());
        next.head = hasher.finalize().into();
        next
    }

    fn numbers(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        let at = self.at.micros().cast_unsigned();
        for (place, number) in
            bytes.chunks_mut(8).zip([self.commits, self.settlements, self.units, at])
        {
            place.copy_from_slice(&number.to_be_bytes());
        }
        bytes
    }
}

/// The content of the commit file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commitment {
    /// The number of writes of the file: of its two slots, the one written last is valid.
    pub sequence: u64,
    /// The history at the last commit.
    pub history: History,
    /// The hashed boot id of the kernel under which the commit was made; zeros where there is none.
    pub boot: [u8; 16],
    /// What the commit survives.
    pub durability: Durability,
    /// Whether the store was closed afterwards: then all commits survive a power loss.
    pub is_closed: bool,
}

/// The size of a commitment in the file, in bytes.
pub const RECORD_BYTES: usize = 136;
const MAGIC: [u8; 8] = *b"dlcommit";

impl Commitment {
    /// The record in the file: it has a fixed size and a checksum at its end.
    #[must_use]
    pub fn encode(&self) -> [u8; RECORD_BYTES] {
        let Self { sequence, history, boot, durability, is_closed } = self;
        let durability = match durability {
            Durability::Fsync => 1,
            Durability::Process => 2,
        };
        let mut bytes = Vec::with_capacity(RECORD_BYTES);
        bytes.extend(MAGIC);
        bytes.extend(sequence.to_be_bytes());
        bytes.extend(history.numbers());
        bytes.extend(history.head);
        bytes.extend(boot);
        bytes.extend([durability, u8::from(*is_closed), 0, 0, 0, 0, 0, 0]);
        let checksum = Sha256::digest(&bytes);
        bytes.extend(checksum);
        let mut record = [0; RECORD_BYTES];
        record.copy_from_slice(&bytes);
        record
    }

    /// Reads a record; `None` for anything that [`Self::encode`] did not write.
    #[must_use]
    pub fn decode(record: &[u8]) -> Option<Self> {
        let (content, checksum) = record.split_at_checked(RECORD_BYTES - 32)?;
        if *Sha256::digest(content) != *checksum || !content.starts_with(&MAGIC) {
            return None;
        }
        let number = |at: usize| {
            let bytes = content.get(at..at + 8)?.try_into().ok()?;
            Some(u64::from_be_bytes(bytes))
        };
        let history = History {
            commits: number(16)?,
            settlements: number(24)?,
            units: number(32)?,
            at: Timestamp::from_micros(number(40)?.cast_signed()),
            head: content.get(48..80)?.try_into().ok()?,
        };
        let durability = match content.get(96)? {
            1 => Durability::Fsync,
            2 => Durability::Process,
            _unknown => return None,
        };
        Some(Self {
            sequence: number(8)?,
            history,
            boot: content.get(80..96)?.try_into().ok()?,
            durability,
            is_closed: *content.get(97)? != 0,
        })
    }
}

/// What was read from the commit file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stated {
    /// There is no such file.
    Nothing,
    /// The file has no intact record.
    Unreadable,
    /// The file's commitment.
    Commitment(Commitment),
}

/// The result of the comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// The database has all that the file states.
    Complete,
    /// A power loss lost commits that `durability = "process"` does not protect.
    PowerLoss(Gap),
    /// Commits are missing, or may be missing.
    Incomplete(Incomplete),
}

/// Commits that the file states and the database lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// What the database has.
    pub found: History,
    /// What the file states.
    pub stated: History,
}

/// Why a database is not known to be complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Incomplete {
    /// Its last commits are missing.
    Missing(Gap),
    /// Its last commit has the stated number, but is a different commit.
    Diverged(Gap),
    /// The commit file is missing.
    NoCommitment(History),
    /// The commit file is damaged.
    DamagedCommitment(History),
}

impl Incomplete {
    /// The number that an operator states to accept this loss and no other: that of the last known
    /// commit.
    #[must_use]
    pub fn acceptance(&self) -> u64 {
        match self {
            Self::Missing(gap) | Self::Diverged(gap) => gap.stated.commits,
            Self::NoCommitment(found) | Self::DamagedCommitment(found) => found.commits,
        }
    }
}

/// Compares a database's last commit with the commit file, under a kernel with this boot id.
#[must_use]
pub fn compare(found: History, stated: Stated, boot: [u8; 16]) -> Finding {
    let commitment = match stated {
        Stated::Nothing | Stated::Unreadable if found.commits == 0 => return Finding::Complete,
        Stated::Nothing => return Finding::Incomplete(Incomplete::NoCommitment(found)),
        Stated::Unreadable => return Finding::Incomplete(Incomplete::DamagedCommitment(found)),
        Stated::Commitment(commitment) => commitment,
    };
    let gap = Gap { found, stated: commitment.history };
    if found.commits == gap.stated.commits && found.head != gap.stated.head {
        return Finding::Incomplete(Incomplete::Diverged(gap));
    }
    if found.commits >= gap.stated.commits {
        return Finding::Complete;
    }
    // The kernel keeps what a killed process wrote. It is lost only if the kernel stopped, too.
    let may_lose = commitment.durability == Durability::Process && !commitment.is_closed;
    let is_same_kernel = commitment.boot == boot && boot != [0; 16];
    if may_lose && !is_same_kernel {
        Finding::PowerLoss(gap)
    } else {
        Finding::Incomplete(Incomplete::Missing(gap))
    }
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { found, stated } = self;
        let commits = stated.commits.saturating_sub(found.commits);
        write!(
            f,
            "{commits} commits are missing, numbers {} to {}, made between {} and {}, with {} \
             settled requests and {} units",
            found.commits + 1,
            stated.commits,
            found.at,
            stated.at,
            stated.settlements.saturating_sub(found.settlements),
            stated.units.saturating_sub(found.units),
        )
    }
}

impl fmt::Display for Incomplete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(gap) => gap.fmt(f),
            Self::Diverged(gap) => {
                write!(
                    f,
                    "commit {} in the database differs from the one in the commit file",
                    gap.stated.commits
                )
            }
            Self::NoCommitment(found) => write!(
                f,
                "the commit file is missing, so commits after number {} of {} may be missing in the \
                 database",
                found.commits, found.at
            ),
            Self::DamagedCommitment(found) => write!(
                f,
                "the commit file is damaged, so commits after number {} of {} may be missing in the \
                 database",
                found.commits, found.at
            ),
        }
    }
}

#[cfg(test)]
mod tests;
