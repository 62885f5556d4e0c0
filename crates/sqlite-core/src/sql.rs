//! The interface to a database, and the values that are bound and read.

use std::borrow::Cow;

use driftlock_domain::denial::Fault;

/// A connection inside a transaction, or a host that makes the statements atomic in another way.
pub trait Sql {
    /// Runs a statement; returns the number of changed rows.
    ///
    /// # Errors
    /// When the database fails.
    fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<u64, Fault>;

    /// Runs a query and reads each of its rows.
    ///
    /// # Errors
    /// When the database or `read` fails.
    fn query<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        read: impl FnMut(Row<'_>) -> Result<T, Fault>,
    ) -> Result<Vec<T>, Fault>;

    /// Runs a query and returns its first row, if there is one.
    ///
    /// # Errors
    /// As [`Sql::query`].
    fn first<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        read: impl FnMut(Row<'_>) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        self.query(sql, values, read).map(|rows| rows.into_iter().next())
    }
}

/// A statement with its values, for a database that takes several at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The text; values are `?1`, `?2`, ….
    pub sql: &'static str,
    /// The values, in order.
    pub values: Vec<Value<'static>>,
}

/// A value that is bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value<'a> {
    /// `NULL`.
    Null,
    /// An integer. In Workers only integers up to 2^53 are exact.
    Int(i64),
    /// Text.
    Text(Cow<'a, str>),
    /// Bytes.
    Blob(Cow<'a, [u8]>),
}

impl Value<'_> {
    /// The same value, owned.
    #[must_use]
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Self::Null => Value::Null,
            Self::Int(number) => Value::Int(number),
            Self::Text(text) => Value::Text(Cow::Owned(text.into_owned())),
            Self::Blob(bytes) => Value::Blob(Cow::Owned(bytes.into_owned())),
        }
    }
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<u32> for Value<'_> {
    fn from(number: u32) -> Self {
        Self::Int(i64::from(number))
    }
}

impl From<u64> for Value<'_> {
    /// Values above `i64::MAX` become `i64::MAX`; no count here comes near it.
    fn from(number: u64) -> Self {
        Self::Int(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Blob(Cow::Borrowed(bytes))
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Value<'a> {
    fn from(bytes: &'a [u8; N]) -> Self {
        Self::Blob(Cow::Borrowed(bytes))
    }
}

impl<'a, T: Into<Value<'a>>> From<Option<T>> for Value<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// A value that was read.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell<'a> {
    /// `NULL`.
    Null,
    /// A number.
    Int(i64),
    /// Text.
    Text(Cow<'a, str>),
    /// Bytes.
    Blob(Cow<'a, [u8]>),
}

/// Access to the columns of one row.
pub trait Columns {
    /// The value of a column, counted from 0.
    ///
    /// # Errors
    /// When there is no such column, or its value is of no known type.
    fn cell(&self, column: usize) -> Result<Cell<'_>, Fault>;
}

/// One row, read by type.
#[derive(Clone, Copy)]
pub struct Row<'a>(pub &'a dyn Columns);

/// The columns of a row from a given one on, as a separate row.
pub struct Rest<'a> {
    row: Row<'a>,
    first: usize,
}

impl Columns for Rest<'_> {
    fn cell(&self, column: usize) -> Result<Cell<'_>, Fault> {
        self.row.0.cell(self.first + column)
    }
}

impl<'a> Row<'a> {
    /// The columns from `first` on.
    #[must_use]
    pub const fn from(self, first: usize) -> Rest<'a> {
        Rest { row: self, first }
    }

    /// A number.
    ///
    /// # Errors
    /// When the column holds something else.
    pub fn int(&self, column: usize) -> Result<i64, Fault> {
        self.maybe_int(column)?.ok_or_else(|| unexpected(column, "a number"))
    }

    /// A number, or `NULL`.
    ///
    /// # Errors
    /// When the column holds something else.
    pub fn maybe_int(&self, column: usize) -> Result<Option<i64>, Fault> {
        match self.0.cell(column)? {
            Cell::Null => Ok(None),
            Cell::Int(number) => Ok(Some(number)),
            Cell::Text(_) | Cell::Blob(_) => Err(unexpected(column, "a number")),
        }
    }

    /// A number that fits the type wanted.
    ///
    /// # Errors
    /// When the column holds something else.
    pub fn number<T: TryFrom<i64>>(&self, column: usize) -> Result<T, Fault> {
        T::try_from(self.int(column)?).map_err(|_| unexpected(column, "a number in range"))
    }

    /// A number that fits the type wanted, or `NULL`.
    ///
    /// # Errors
    /// When the column holds something else.
    pub fn maybe_number<T: TryFrom<i64>>(&self, column: usize) -> Result<Option<T>, Fault> {
        let number = self.maybe_int(column)?.map(T::try_from).transpose();
        number.map_err(|_| unexpected(column, "a number in range"))
    }

    /// Text.
    ///
    /// # Errors
    /// When the column holds something else.
    pub fn text(&self, column: usize) -> Result<Cow<'a, str>, Fault> {
        self.maybe_text(column)?.ok_or_else(|| unexpected(column, "text"))
    }

    /// Text, or `NULL`.
    ///
    /// # Errors
    /// When the column holds something else.
    pub fn maybe_text(&self, column: usize) -> Result<Option<Cow<'a, str>>, Fault> {
        match self.0.cell(column)? {
            Cell::Null => Ok(None),
            Cell::Text(text) => Ok(Some(text)),
            Cell::Int(_) | Cell::Blob(_) => Err(unexpected(column, "text")),
        }
    }

    /// The value of a column with JSON text.
    ///
    /// # Errors
    /// When the column holds something else.
    pub fn json<T: serde::de::DeserializeOwned>(&self, column: usize) -> Result<T, Fault> {
        let text = self.text(column)?;
        serde_json::from_str(&text).map_err(|error| unexpected(column, &error.to_string()))
    }

    /// Bytes, or `NULL`.
    ///
    /// # Errors
    /// When the column holds something else.
    pub fn maybe_blob(&self, column: usize) -> Result<Option<Cow<'a, [u8]>>, Fault> {
        match self.0.cell(column)? {
            Cell::Null => Ok(None),
            Cell::Blob(bytes) => Ok(Some(bytes)),
            Cell::Int(_) | Cell::Text(_) => Err(unexpected(column, "bytes")),
        }
    }

    /// Exactly `N` bytes.
    ///
    /// # Errors
    /// When the column holds something else.
    pub fn bytes<const N: usize>(&self, column: usize) -> Result<[u8; N], Fault> {
        let bytes = self.maybe_blob(column)?;
        let exact = bytes.as_deref().and_then(|bytes| bytes.try_into().ok());
        exact.ok_or_else(|| unexpected(column, "bytes of the right number"))
    }
}

fn unexpected(column: usize, wanted: &str) -> Fault {
    Fault::store(format!("column {column} of a row is wrong: {wanted} was wanted"))
}
