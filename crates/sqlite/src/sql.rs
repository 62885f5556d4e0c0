//! The shared statements' interface over rusqlite.

use std::borrow::Cow;
use std::cell::RefCell;

use driftlock_domain::denial::Fault;
use driftlock_sqlite_core::{Cell, Columns, Row, Sql, Value};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, Statement, ToSql};

/// The number of prepared statements; there are fewer different texts.
const STATEMENTS_MAX: usize = 64;

/// A connection and its prepared statements. They are found by comparing their texts: a group of
/// settlements repeats the same few statements, and hashing the texts would cost more.
pub(crate) struct Native<'a> {
    connection: &'a Connection,
    statements: RefCell<Vec<(Box<str>, Statement<'a>)>>,
}

impl<'a> Native<'a> {
    pub(crate) fn new(connection: &'a Connection) -> Self {
        Self { connection, statements: RefCell::default() }
    }

    /// Runs a statement. A prepared statement that fails is dropped.
    fn run<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        work: impl FnOnce(&mut Statement<'a>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let known = {
            let mut statements = self.statements.borrow_mut();
            let place = statements.iter().position(|(text, _)| **text == *sql);
            place.map(|place| statements.swap_remove(place))
        };
        let (text, mut statement) = match known {
            Some(known) => known,
            None => (sql.into(), self.connection.prepare(sql).map_err(Fault::store)?),
        };
        for (place, value) in values.iter().enumerate() {
            statement.raw_bind_parameter(place + 1, Bound(value)).map_err(Fault::store)?;
        }
        let done = work(&mut statement)?;
        let mut statements = self.statements.borrow_mut();
        if statements.len() < STATEMENTS_MAX {
            statements.push((text, statement));
        }
        Ok(done)
    }

    /// Whether a transaction is open.
    pub(crate) fn in_transaction(&self) -> bool {
        !self.connection.is_autocommit()
    }
}

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
        self.run(sql, values, |statement| {
            statement.raw_execute().map(|rows| rows as u64).map_err(Fault::store)
        })
    }

    fn query<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        mut read: impl FnMut(Row<'_>) -> Result<T, Fault>,
    ) -> Result<Vec<T>, Fault> {
        self.run(sql, values, |statement| {
            let mut rows = statement.raw_query();
            let mut found = Vec::new();
            while let Some(row) = rows.next().map_err(Fault::store)? {
                found.push(read(Row(&NativeRow(row)))?);
            }
            Ok(found)
        })
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
