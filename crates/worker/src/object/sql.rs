//! A Durable Object's SQLite.

use std::ops::DerefMut;
use std::panic::AssertUnwindSafe;

use driftlock_domain::denial::Fault;
use driftlock_sqlite_core::{Row, Sql, Value};
use js_sys::Array;
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen::{JsCast, JsValue};
use worker::Storage;

use crate::js::{JsRow, bound, thrown};

#[wasm_bindgen]
extern "C" {
    /// The synchronous part of a Durable Object's storage:
    /// <https://developers.cloudflare.com/durable-objects/api/sqlite-storage-api/>.
    #[derive(Clone)]
    type SyncStorage;
    #[wasm_bindgen(method, catch, js_name = transactionSync)]
    fn transaction_sync(
        this: &SyncStorage,
        work: &mut dyn FnMut() -> Result<JsValue, JsValue>,
    ) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, getter)]
    fn sql(this: &SyncStorage) -> SqlStorage;
    #[wasm_bindgen(method, catch)]
    async fn sync(this: &SyncStorage) -> Result<JsValue, JsValue>;

    #[derive(Clone)]
    type SqlStorage;
    #[wasm_bindgen(method, catch, variadic)]
    fn exec(this: &SqlStorage, query: &str, bindings: Array) -> Result<Cursor, JsValue>;
    #[wasm_bindgen(method, getter, js_name = databaseSize)]
    fn database_size(this: &SqlStorage) -> f64;

    type Cursor;
    #[wasm_bindgen(method, catch)]
    fn raw(this: &Cursor) -> Result<js_sys::Iterator, JsValue>;
    #[wasm_bindgen(method, getter, js_name = rowsWritten)]
    fn rows_written(this: &Cursor) -> f64;
}

/// The database of one object.
pub(super) struct ObjectSql {
    storage: SyncStorage,
    sql: SqlStorage,
}

impl ObjectSql {
    pub(super) fn new(storage: &Storage) -> Self {
        let storage: SyncStorage =
            AsRef::<JsValue>::as_ref(storage.as_raw()).clone().unchecked_into();
        let sql = storage.sql();
        Self { storage, sql }
    }

    /// The size of the database.
    pub(super) fn bytes(&self) -> f64 {
        self.sql.database_size()
    }

    /// Runs `work` in a transaction; an error rolls back.
    pub(super) fn transaction<T>(
        &self,
        work: impl FnOnce() -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let mut state = (Some(work), None);
        // A panic unwinds through the platform, which rolls back; the state is then not read.
        let mut shared = AssertUnwindSafe(&mut state);
        let ran = self.storage.transaction_sync(&mut move || {
            let (work, outcome) = &mut **DerefMut::deref_mut(&mut shared);
            let Some(work) = work.take() else { return Ok(JsValue::UNDEFINED) };
            let done = work();
            // The platform rolls back if the callback throws.
            let thrown = match &done {
                Ok(_) => Ok(JsValue::UNDEFINED),
                Err(fault) => Err(JsValue::from_str(&fault.cause)),
            };
            *outcome = Some(done);
            thrown
        });
        let (_, outcome) = state;
        match (outcome, ran) {
            (Some(Ok(value)), Ok(_)) => Ok(value),
            (Some(Err(fault)), _) => Err(fault),
            (_, Err(error)) => Err(Fault::store(thrown(&error))),
            (None, Ok(_)) => Err(Fault::store("a transaction did not run")),
        }
    }

    /// Waits until everything written is durable.
    ///
    /// # Errors
    /// A failure of the storage.
    pub(super) async fn durable(&self) -> Result<(), Fault> {
        self.storage.sync().await.map(drop).map_err(|error| Fault::store(thrown(&error)))
    }

    fn run(&self, sql: &str, values: &[Value<'_>]) -> Result<Cursor, Fault> {
        let bindings: Array = values.iter().map(bound).collect();
        self.sql.exec(sql, bindings).map_err(|error| Fault::store(thrown(&error)))
    }
}

impl Sql for ObjectSql {
    fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<u64, Fault> {
        let cursor = self.run(sql, values)?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a row count")]
        Ok(cursor.rows_written() as u64)
    }

    fn query<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        mut read: impl FnMut(Row<'_>) -> Result<T, Fault>,
    ) -> Result<Vec<T>, Fault> {
        let failed = |error: JsValue| Fault::store(thrown(&error));
        let rows = self.run(sql, values)?.raw().map_err(failed)?;
        let mut found = Vec::new();
        loop {
            let next = rows.next().map_err(failed)?;
            if next.done() {
                return Ok(found);
            }
            let row = next.value().dyn_into::<Array>().map_err(failed)?;
            found.push(read(Row(&JsRow(row)))?);
        }
    }
}
