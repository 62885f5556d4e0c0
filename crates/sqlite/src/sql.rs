//! rusqlite as the shared ledger sees it.

use std::borrow::Cow;

use driftlock_domain::denial::Fault;
use driftlock_sqlite_core::{Cell, Columns, Row, Sql, Value};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ToSql, params_from_iter};

/// A connection; statements are prepared once.
pub(crate) struct Native<'a>(pub(crate) &'a Connection);

struct Bound<'a>(&'a Value<'a>);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self.0 {
            Value::Null => ValueRef::Null,
            Value::Int(number) => ValueRef::Integer(*number),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
            Value::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

impl Sql for Native<'_> {
    fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<u64, Fault> {
        let mut statement = self.0.prepare_cached(sql).map_err(Fault::store)?;
        let changed = statement.execute(params_from_iter(values.iter().map(Bound)));
        changed.map(|rows| rows as u64).map_err(Fault::store)
    }

    fn query<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        mut read: impl FnMut(Row<'_>) -> Result<T, Fault>,
    ) -> Result<Vec<T>, Fault> {
        let mut statement = self.0.prepare_cached(sql).map_err(Fault::store)?;
        let mut rows =
            statement.query(params_from_iter(values.iter().map(Bound))).map_err(Fault::store)?;
        let mut found = Vec::new();
        while let Some(row) = rows.next().map_err(Fault::store)? {
            found.push(read(Row(&NativeRow(row)))?);
        }
        Ok(found)
    }
}

struct NativeRow<'a>(&'a rusqlite::Row<'a>);

impl Columns for NativeRow<'_> {
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
