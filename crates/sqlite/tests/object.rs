//! The shared statements that only a Durable Object uses: mirroring, and keeping its storage within
//! bounds. The object's host runs wasm; the statements are the same here.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use driftlock_domain::denial::Fault;
use driftlock_domain::entitlement::Terms;
use driftlock_domain::id::{KeyId, UsageId};
use driftlock_domain::idempotency::{Claim, Fingerprint, IdempotencyKey, KeptAnswer};
use driftlock_domain::lease::LeaseAsk;
use driftlock_domain::period::Period;
use driftlock_domain::shipment::More;
use driftlock_domain::time::Timestamp;
use driftlock_domain::usage::{Settled, Settlement};
use driftlock_sqlite_core::shipment::{self, Mirror, Portion};
use driftlock_sqlite_core::{
    Cell, Columns, LedgerCache, MIGRATIONS, Row, Sql, Value, checkpoint, drop_answers, entries,
    kept, kept_bytes, receipt,
};
use driftlock_testkit::make::{node, now, organization_id, settlement, usage};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, params_from_iter, types};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
const ORGANIZATION: u8 = 1;

/// A connection with the interface of the shared statements.
struct Plain<'a>(&'a Connection);

struct PlainRow<'a>(&'a rusqlite::Row<'a>);

fn bound(value: &Value<'_>) -> types::Value {
    match value {
        Value::Null => types::Value::Null,
        Value::Int(number) => types::Value::Integer(*number),
        Value::Text(text) => types::Value::Text(text.to_string()),
        Value::Blob(bytes) => types::Value::Blob(bytes.to_vec()),
    }
}

impl Sql for Plain<'_> {
    fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<u64, Fault> {
        let rows = self.0.execute(sql, params_from_iter(values.iter().map(bound)));
        rows.map(|rows| rows as u64).map_err(Fault::store)
    }

    fn query<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        mut read: impl FnMut(Row<'_>) -> Result<T, Fault>,
    ) -> Result<Vec<T>, Fault> {
        let mut statement = self.0.prepare_cached(sql).map_err(Fault::store)?;
        let values = params_from_iter(values.iter().map(bound));
        let (mut rows, mut found) = (statement.query(values).map_err(Fault::store)?, Vec::new());
        while let Some(row) = rows.next().map_err(Fault::store)? {
            found.push(read(Row(&PlainRow(row)))?);
        }
        Ok(found)
    }
}

impl Columns for PlainRow<'_> {
    fn cell(&self, column: usize) -> Result<Cell<'_>, Fault> {
        Ok(match self.0.get_ref(column).map_err(Fault::store)? {
            ValueRef::Null => Cell::Null,
            ValueRef::Integer(number) => Cell::Int(number),
            ValueRef::Text(text) => {
                Cell::Text(Cow::Borrowed(str::from_utf8(text).map_err(Fault::store)?))
            }
            ValueRef::Blob(bytes) => Cell::Blob(Cow::Borrowed(bytes)),
            ValueRef::Real(_) => return Err(Fault::store("a number with a fraction")),
        })
    }
}

/// The ledger of a Durable Object.
struct Object<'a> {
    sql: Plain<'a>,
    cache: LedgerCache,
}

fn database() -> Connection {
    let connection = Connection::open_in_memory().expect("SQLite opens in memory");
    for migration in MIGRATIONS {
        connection.execute_batch(migration).expect("migrations apply");
    }
    connection
}

impl<'a> Object<'a> {
    fn new(connection: &'a Connection) -> Self {
        Self { sql: Plain(connection), cache: LedgerCache::default() }
    }

    /// Settles one unit under a period at an instant.
    fn settle(&mut self, period: Period, at: Timestamp, number: u64) -> UsageId {
        let settlement =
            Settlement { usage: usage(at, number), ..settlement(ORGANIZATION, number) };
        self.settle_as(period, at, settlement)
    }

    fn settle_as(&mut self, period: Period, at: Timestamp, settlement: Settlement) -> UsageId {
        let id = settlement.usage;
        self.learn(period, at);
        let settled = self.cache.settle(&self.sql, settlement, at).expect("SQLite settles");
        assert!(matches!(settled, Ok(Settled::Committed { .. })), "{settled:?}");
        self.cache.before_commit(&self.sql).expect("counters are written");
        id
    }

    fn learn(&mut self, period: Period, at: Timestamp) {
        let terms = Terms::free(period, 1_000, None);
        let ask = LeaseAsk { terms, number: 1, keep: 0, want: 1 };
        let organization = organization_id(ORGANIZATION);
        self.cache.lease(&self.sql, organization, node(1), &ask, at).expect("it leases");
        self.cache.before_commit(&self.sql).expect("counters are written");
    }

    fn mirror(&self, copy: &mut Copy, now: Timestamp) -> More {
        let mut portion = Portion::First;
        loop {
            let shipment = shipment::next(&self.sql, organization_id(ORGANIZATION), portion, now);
            let shipment = shipment.expect("SQLite answers");
            for sum in shipment.sums {
                copy.sums.insert((sum.period, sum.hour, sum.key, sum.route), sum.units);
            }
            for shipped in shipment.receipts {
                copy.receipts.insert(shipped.receipt.id, shipped.period);
            }
            copy.audit = copy.audit.max(shipment.cursor.audit);
            shipment::set_cursor(&self.sql, &shipment.cursor).expect("SQLite writes");
            match shipment.more {
                More::Now => portion = Portion::Next,
                more => return more,
            }
        }
    }
}

/// A mirror: shipped sums replace earlier sums.
#[derive(Default)]
struct Copy {
    sums: BTreeMap<(Period, Timestamp, KeyId, String), u64>,
    receipts: BTreeMap<UsageId, Period>,
    audit: u64,
}

impl Copy {
    fn units(&self, period: Period) -> u64 {
        self.sums.iter().filter(|((of, ..), _)| *of == period).map(|(_, units)| units).sum()
    }
}

#[test]
fn the_mirror_equals_the_object_even_after_a_late_period() {
    let connection = database();
    let (mut object, mut copy) = (Object::new(&connection), Copy::default());
    let guessed = Period::calendar_month(now());
    let began = now();
    let ids: Vec<_> =
        (0..6).map(|hour| object.settle(guessed, began.plus(HOUR * hour), hour.into())).collect();
    let mirrored_at = began.plus(HOUR * 8);
    assert_eq!(object.mirror(&mut copy, mirrored_at), More::Nothing);
    assert_eq!((copy.units(guessed), copy.receipts.len(), copy.audit), (6, 6, 6));

    // From the second hour on another period was in force, which becomes known now.
    let learned = Period { start: began.plus(HOUR), end: began.plus(DAY * 30) };
    object.learn(learned, mirrored_at);
    object.mirror(&mut copy, mirrored_at);
    assert_eq!((copy.units(guessed), copy.units(learned)), (1, 5));
    let of = |id: &UsageId| copy.receipts[id];
    assert_eq!(of(&ids[0]), guessed);
    assert!(ids[1..].iter().all(|id| of(id) == learned));
    // Nothing is mirrored again and again.
    assert!(!shipment::is_due(&object.sql).expect("SQLite answers"));
}

#[test]
fn receipts_are_mirrored_after_an_hour_and_only_mirrored_ones_are_removed() {
    let connection = database();
    let (mut object, mut copy) = (Object::new(&connection), Copy::default());
    let month = Period::calendar_month(now());
    let id = object.settle(month, now(), 1);
    let soon = now().plus(HOUR / 2);
    assert_eq!(object.mirror(&mut copy, soon), More::Later);
    assert!(shipment::is_due(&object.sql).expect("SQLite answers"));
    let later = now().plus(HOUR * 48);
    shipment::remove_receipts(&object.sql, later, Mirror::Supabase).expect("SQLite writes");
    assert!(receipt(&object.sql, id).expect("SQLite reads").is_some(), "it was not mirrored yet");

    assert_eq!(object.mirror(&mut copy, later), More::Nothing);
    let newer = object.settle(month, later, 2);
    shipment::remove_receipts(&object.sql, later, Mirror::Supabase).expect("SQLite writes");
    assert!(receipt(&object.sql, newer).expect("SQLite reads").is_some());
    assert!(copy.receipts.contains_key(&id));
}

#[test]
fn old_receipts_are_removed_in_portions() {
    let connection = database();
    let mut object = Object::new(&connection);
    let month = Period::calendar_month(now());
    for number in 0..1_500 {
        object.settle(month, now(), number);
    }
    let after = now().plus(HOUR);
    assert!(shipment::has_receipts(&object.sql, after).expect("SQLite reads"));
    let mut portions = 1;
    while shipment::remove_receipts(&object.sql, after, Mirror::None).expect("SQLite writes") {
        portions += 1;
    }
    assert_eq!(portions, 2);
    assert!(!shipment::has_receipts(&object.sql, after).expect("SQLite reads"));
    let units = "SELECT sum(units) FROM usage_counters";
    let units = object.sql.first(units, &[], |row| row.number(0)).expect("SQLite reads");
    assert_eq!(units, Some(1_500_u64), "sums stay");
}

#[test]
fn only_mirrored_audit_entries_are_removed_and_the_rest_still_verifies() {
    let connection = database();
    let (mut object, mut copy) = (Object::new(&connection), Copy::default());
    let month = Period::calendar_month(now());
    let organization = organization_id(ORGANIZATION);
    for number in 0..3 {
        object.settle(month, now(), number);
    }
    object.mirror(&mut copy, now());
    object.settle(month, now(), 3);

    let later = now().plus(DAY * 2);
    let removed = object.cache.prune_mirrored(&object.sql, organization, later, later);
    assert_eq!(removed, Ok(copy.audit));
    let kept = entries(&object.sql, organization, 0, 10).expect("SQLite reads");
    let numbers: Vec<_> = kept.iter().map(|entry| entry.seq).collect();
    assert_eq!(numbers, [4, 5], "the entry that was not mirrored, and the entry about the removal");
    let begins = checkpoint(&object.sql, organization).expect("SQLite reads");
    assert_eq!((begins.seq, begins.hash), (3, kept[0].prev_hash));
    let again = object.cache.prune_mirrored(&object.sql, organization, later, later);
    assert_eq!(again, Ok(0));
}

#[test]
fn the_oldest_answers_are_dropped_and_their_keys_stay_charged() {
    let connection = database();
    let mut object = Object::new(&connection);
    let month = Period::calendar_month(now());
    let key = |number: u8| IdempotencyKey([number; 32]);
    for number in 0..10_u8 {
        let claim = Claim { key: key(number), fingerprint: Fingerprint([number; 32]) };
        let at = now().plus(Duration::from_secs(number.into()));
        let made = settlement(ORGANIZATION, number.into());
        let answer = KeptAnswer { status: 200, headers: Vec::new(), body: vec![1; 100] };
        let answer = Some(answer.into());
        object.settle_as(month, at, Settlement { claim: Some(claim), answer, ..made });
    }
    assert_eq!(kept_bytes(&object.sql).expect("SQLite reads"), 1_000);
    assert_eq!(drop_answers(&object.sql, 350).expect("SQLite writes"), 300);
    for number in 0..10 {
        let kept = kept(&object.sql, &key(number), now()).expect("SQLite reads");
        let kept = kept.expect("the key is still charged");
        assert_eq!(kept.answer.is_some(), number >= 7, "{number}");
    }
}
