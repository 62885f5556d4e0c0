use super::*;

const OWNER: [u8; 16] = [3; 16];
const BOOT: [u8; 16] = [9; 16];

fn history(commits: u64) -> History {
    (0..commits).fold(History::default(), |history, number| {
        let at = Timestamp::from_secs(1_800_000_000 + number.cast_signed());
        history.next(&OWNER, 2, 6, at)
    })
}

fn commitment(commits: u64, durability: Durability) -> Commitment {
    let history = history(commits);
    Commitment { sequence: commits, history, boot: BOOT, durability, is_closed: false }
}

fn stated(commits: u64, durability: Durability) -> Stated {
    Stated::Commitment(commitment(commits, durability))
}

#[test]
fn a_record_is_read_as_it_was_written_and_every_flipped_bit_is_detected() {
    for durability in [Durability::Fsync, Durability::Process] {
        let one = Commitment { is_closed: true, ..commitment(7, durability) };
        let record = one.encode();
        assert_eq!(Commitment::decode(&record), Some(one));
        for bit in 0..RECORD_BYTES * 8 {
            let mut flipped = record;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Commitment::decode(&flipped), None, "bit {bit}");
        }
    }
    assert_eq!(Commitment::decode(&[]), None);
    assert_eq!(Commitment::decode(&[0; RECORD_BYTES]), None);
}

#[test]
fn a_killed_process_leaves_nothing_missing() {
    for durability in [Durability::Fsync, Durability::Process] {
        for ahead in 0..3 {
            let found = compare(history(10 + ahead), stated(10, durability), BOOT);
            assert_eq!(found, Finding::Complete, "committed, but not stated yet");
        }
    }
    assert_eq!(compare(History::default(), Stated::Nothing, BOOT), Finding::Complete, "new");
}

#[test]
fn what_is_missing_is_stated_exactly() {
    let Finding::Incomplete(missing) = compare(history(4), stated(10, Durability::Fsync), BOOT)
    else {
        panic!("six commits are missing")
    };
    assert_eq!(missing.acceptance(), 10);
    assert_eq!(
        missing.to_string(),
        "6 commits are missing, numbers 5 to 10, made between 2027-01-15T08:00:03Z and \
         2027-01-15T08:00:09Z, with 12 settled requests and 36 units"
    );
}

#[test]
fn a_power_loss_explains_missing_commits_only_where_the_durability_allows_it() {
    let after_reboot = |stated| compare(history(4), stated, [8; 16]);
    assert!(matches!(after_reboot(stated(10, Durability::Process)), Finding::PowerLoss(_)));
    assert!(matches!(after_reboot(stated(10, Durability::Fsync)), Finding::Incomplete(_)));
    let closed = Commitment { is_closed: true, ..commitment(10, Durability::Process) };
    assert!(matches!(after_reboot(Stated::Commitment(closed)), Finding::Incomplete(_)));
    let same = compare(history(4), stated(10, Durability::Process), BOOT);
    assert!(matches!(same, Finding::Incomplete(_)), "no power was lost");
    let unknown = Commitment { boot: [0; 16], ..commitment(10, Durability::Process) };
    let found = compare(history(4), Stated::Commitment(unknown), [0; 16]);
    assert!(matches!(found, Finding::PowerLoss(_)), "without boot ids, a power loss is possible");
}

#[test]
fn another_history_of_the_same_length_is_found() {
    let mut other = history(9);
    other = other.next(&[4; 16], 2, 6, Timestamp::from_secs(1));
    let found = compare(other, stated(10, Durability::Fsync), BOOT);
    assert!(matches!(found, Finding::Incomplete(Incomplete::Diverged(_))));
}

#[test]
fn a_missing_or_damaged_commit_file_proves_nothing() {
    let found = compare(history(4), Stated::Nothing, BOOT);
    let Finding::Incomplete(missing) = found else { panic!("{found:?}") };
    assert_eq!(missing, Incomplete::NoCommitment(history(4)));
    assert_eq!(missing.acceptance(), 4);
    let found = compare(history(4), Stated::Unreadable, BOOT);
    assert_eq!(found, Finding::Incomplete(Incomplete::DamagedCommitment(history(4))));
}
