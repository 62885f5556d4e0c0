//! An organization's audit log: `/admin/v1/organizations/{id}/audit`, `/export`, `/verify`.
//!
//! While a long log is read, retention may remove its oldest part. Entries that are missing for
//! that reason are no sign of tampering; an export must not claim to contain them.

pub(super) mod export;
pub(super) mod list;
pub(super) mod verify;

use driftlock_domain::audit::{AuditEntry, AuditHead};
use driftlock_domain::denial::Fault;
use driftlock_domain::id::OrganizationId;

use crate::ports::AuditLog;

/// How many entries are read at a time, so that a log of any length takes bounded memory.
const PAGE: usize = 1_000;
/// How often reading begins again because retention removed entries. It removes portions of days.
const BEGINNINGS_MAX: usize = 5;

/// The part of a log that is read.
#[derive(Debug, Clone, Copy)]
struct Extent {
    checkpoint: AuditHead,
    head: AuditHead,
}

/// The next page of a log.
enum Next {
    /// The entries of the page; none at the end.
    Entries(Vec<AuditEntry>),
    /// Retention has removed the next entries since reading began.
    Removed,
}

/// Reads the extent of a log. The checkpoint is read first, so that the entry that states it is
/// before the head.
async fn extent(log: &impl AuditLog, organization: OrganizationId) -> Result<Extent, Fault> {
    let checkpoint = log.checkpoint(organization).await?;
    let head = log.head(organization).await?;
    Ok(Extent { checkpoint, head })
}

/// Reads the next page after entry `after`, which is 0 for the first page.
async fn next(
    log: &impl AuditLog,
    organization: OrganizationId,
    extent: Extent,
    after: u64,
) -> Result<Next, Fault> {
    let last = extent.head.seq;
    if after >= last {
        return Ok(Next::Entries(Vec::new()));
    }
    let limit = usize::try_from(last - after).unwrap_or(PAGE).min(PAGE);
    let mut entries = log.entries(organization, after, limit).await?;
    // If there is a checkpoint, the first page can reach beyond the head.
    entries.retain(|entry| entry.seq <= last);
    let wanted = after.max(extent.checkpoint.seq) + 1;
    let is_missed = wanted <= last && entries.first().is_none_or(|entry| entry.seq > wanted);
    if is_missed && log.checkpoint(organization).await?.seq >= wanted {
        return Ok(Next::Removed);
    }
    Ok(Next::Entries(entries))
}

/// The fault when retention removes entries again and again while they are read.
fn removed() -> Fault {
    Fault::store("retention removed audit entries while they were read")
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use driftlock_domain::audit::AuditRecord;
    use driftlock_domain::lease::Sharing;
    use driftlock_domain::time::Timestamp;
    use futures_util::{FutureExt, TryStreamExt};

    use super::*;
    use crate::memory::MemoryStore;

    const DAY: Duration = Duration::from_secs(86_400);
    const ORGANIZATION: OrganizationId = OrganizationId::from_bytes([1; 16]);

    fn day(days: u32) -> Timestamp {
        Timestamp::from_secs(1_800_000_000).plus(DAY * days)
    }

    /// A log of ten days. Before each of the next `prunings` reads its oldest day is removed.
    struct Busy {
        log: MemoryStore,
        prunings: Cell<u32>,
        days: Cell<u32>,
    }

    impl Busy {
        fn new(prunings: u32) -> Self {
            let log = MemoryStore::new(Sharing::Whole);
            let record = |days| AuditRecord {
                at: day(days),
                actor: "a".into(),
                action: "b".into(),
                resource: "c".into(),
                outcome: "ok".into(),
                request_id: "".into(),
                ip: "".into(),
                details: "{}".into(),
            };
            let rows = (0..10).map(|days| (ORGANIZATION, record(days))).collect();
            ready(log.append(rows)).expect("written");
            Self { log, prunings: Cell::new(prunings), days: Cell::new(1) }
        }
    }

    impl AuditLog for Busy {
        async fn append(&self, _: Vec<(OrganizationId, AuditRecord)>) -> Result<(), Fault> {
            unreachable!("nothing is written")
        }

        async fn entries(
            &self,
            organization: OrganizationId,
            after: u64,
            limit: usize,
        ) -> Result<Vec<AuditEntry>, Fault> {
            if let Some(left) = self.prunings.get().checked_sub(1) {
                self.prunings.set(left);
                let days = self.days.replace(self.days.get() + 1);
                self.log.prune(organization, day(days), day(20)).await?;
            }
            self.log.entries(organization, after, limit).await
        }

        async fn head(&self, organization: OrganizationId) -> Result<AuditHead, Fault> {
            self.log.head(organization).await
        }

        async fn checkpoint(&self, organization: OrganizationId) -> Result<AuditHead, Fault> {
            self.log.checkpoint(organization).await
        }

        async fn prune(&self, _: OrganizationId, _: Timestamp, _: Timestamp) -> Result<u64, Fault> {
            unreachable!("it prunes itself")
        }
    }

    fn ready<T>(future: impl Future<Output = T>) -> T {
        future.now_or_never().expect("memory does not wait")
    }

    #[test]
    fn retention_during_a_verification_is_no_tampering() {
        let log = Busy::new(2);
        let verdict = ready(verify::verdict(&log, ORGANIZATION, None, None)).expect("an answer");
        let verdict = verdict.expect("nothing was stated");
        assert!(verdict.ok, "{verdict:?}");
        assert_eq!((verdict.checkpoint.seq, verdict.entries), (2, 10));
        assert!(ready(verify::verdict(&Busy::new(99), ORGANIZATION, None, None)).is_err());
    }

    #[test]
    fn an_export_begins_where_its_checkpoint_says() {
        let log = Busy::new(1);
        let (extent, first) = ready(export::begin(&log, ORGANIZATION)).expect("a beginning");
        assert_eq!((extent.checkpoint.seq, first[0].seq), (1, 2));
        let head = first.last().expect("entries").seq;
        assert_eq!(head, extent.head.seq);
    }

    #[test]
    fn an_export_that_misses_entries_breaks_off() {
        let log = Busy::new(0);
        let (extent, mut first) = ready(export::begin(&log, ORGANIZATION)).expect("a beginning");
        first.truncate(1);
        log.days.set(4);
        log.prunings.set(1);
        let log = std::rc::Rc::new(log);
        let read = |after| {
            let log = std::rc::Rc::clone(&log);
            async move { next(&*log, ORGANIZATION, extent, after).await }
        };
        let pages = export::pages(first, read);
        assert!(ready(pages.try_collect::<Vec<_>>()).is_err());
    }
}
