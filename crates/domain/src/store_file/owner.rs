//! Which process owns a database file.
//!
//! Between processes of one running system, the lock on the file's inode decides, whatever path
//! each process uses. Between machines that share a file system, the owner's row in the database
//! decides: the owner renews the row, and a process on another machine takes over only when the row
//! has not been renewed for [`LEASE`]. After a crash, a process on the same machine need not wait:
//! as it holds the inode's lock, it is the only one.

use std::fmt;
use std::time::Duration;

use crate::time::Timestamp;

/// The owner's row is valid for this long after its last renewal.
pub const LEASE: Duration = Duration::from_secs(60);
/// The owner renews its row after this time without a commit; each commit renews the row, too.
pub const RENEW_AFTER: Duration = Duration::from_secs(20);

/// The process that the owner's row names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Random, new each time the file is opened.
    pub id: [u8; 16],
    /// The machine: its host name and, where there is one, its machine id.
    pub machine: String,
    /// The boot id of the machine's kernel; empty where the system has none.
    pub boot: String,
    /// The process id.
    pub pid: u32,
    /// The path under which the process opened the file.
    pub path: String,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id: _, machine, boot: _, pid, path } = self;
        write!(f, "process {pid} on {machine}, which opened it as {path}")
    }
}

/// What a process that opens the file does about the owner's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// It takes over the file now.
    TakeOver,
    /// It waits this long and reads the row again: if the row was renewed, the owner is running.
    Wait(Duration),
}

/// Decides for a process that holds the inode's lock. `renewed_until` is `None` after a clean stop
/// of the owner.
#[must_use]
pub fn claim(row: &Owner, renewed_until: Option<Timestamp>, own: &Owner, now: Timestamp) -> Claim {
    let is_same_system = !row.boot.is_empty() && row.boot == own.boot;
    let Some(until) = renewed_until.filter(|_| !is_same_system && row.machine != own.machine)
    else {
        return Claim::TakeOver;
    };
    // The other machine's clock may be wrong: no wait is longer than one lease.
    match until.since(now).min(LEASE) {
        Duration::ZERO => Claim::TakeOver,
        wait => Claim::Wait(wait),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(machine: &str, boot: &str) -> Owner {
        Owner {
            id: [1; 16],
            machine: machine.into(),
            boot: boot.into(),
            pid: 7,
            path: "/data/a.db".into(),
        }
    }

    #[test]
    fn the_same_machine_takes_over_at_once() {
        let now = Timestamp::from_secs(1_000);
        let until = Some(now.plus(LEASE));
        let own = owner("a", "boot-2");
        assert_eq!(claim(&owner("a", "boot-2"), until, &own, now), Claim::TakeOver, "a crash");
        assert_eq!(claim(&owner("a", "boot-1"), until, &own, now), Claim::TakeOver, "a reboot");
        assert_eq!(claim(&owner("b", "boot-2"), until, &own, now), Claim::TakeOver, "a container");
    }

    #[test]
    fn another_machine_waits_for_the_lease_and_never_longer() {
        let now = Timestamp::from_secs(1_000);
        let (row, own) = (owner("b", "boot-1"), owner("a", "boot-2"));
        let wait = |until| claim(&row, Some(until), &own, now);
        let left = Duration::from_secs(10);
        assert_eq!(wait(now.plus(left)), Claim::Wait(left));
        assert_eq!(wait(now.plus(Duration::from_secs(86_400))), Claim::Wait(LEASE));
        assert_eq!(wait(now.minus(left)), Claim::TakeOver, "it expired");
        assert_eq!(claim(&row, None, &own, now), Claim::TakeOver, "it stopped cleanly");
        let (row, own) = (owner("b", ""), owner("a", ""));
        assert_eq!(claim(&row, Some(now.plus(left)), &own, now), Claim::Wait(left), "no boot ids");
    }
}
