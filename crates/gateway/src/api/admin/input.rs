//! Reads bodies, parameters and ids of the admin API. Unknown fields and parameters are errors that
//! name them.

use std::fmt::Display;
use std::str::FromStr;

use http::Uri;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::call::Failure;
use crate::ports::Page;

const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1_000;
const NAME_CHARS_MAX: usize = 200;

/// An id in a path. A malformed id is answered like an unknown one, with 404.
pub(super) fn id<Id: FromStr>(text: &str, what: &str) -> Result<Id, Failure> {
    text.parse().map_err(|_| Failure::not_found(what))
}

/// A JSON body; an empty one counts as `{}`.
pub(super) fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    let body = if body.trim_ascii().is_empty() { b"{}" } else { body };
    let mut reader = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let cause = error.into_inner();
        match path.as_str() {
            "." => Failure::invalid(format!("The body: {cause}.")),
            _ => Failure::invalid(format!("`{path}`: {cause}.")),
        }
    })?;
    reader.end().map_err(|error| Failure::invalid(format!("The body: {error}.")))?;
    Ok(value)
}

/// Query parameters; unknown ones are refused.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn of(uri: &Uri, known: &[&str]) -> Result<Self, Failure> {
        let query = uri.query().unwrap_or_default();
        let pairs: Vec<(String, String)> =
            form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        match pairs.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            None => Ok(Self(pairs)),
            Some((name, _)) => Err(Failure::invalid(format!(
                "`{name}` is not a parameter of this endpoint; its parameters: {}.",
                known.join(", ")
            ))),
        }
    }

    /// One parameter.
    pub(super) fn get<T: FromStr<Err: Display>>(&self, name: &str) -> Result<Option<T>, Failure> {
        let Some((_, text)) = self.0.iter().find(|(found, _)| found == name) else {
            return Ok(None);
        };
        let parsed = text.parse().map_err(|error| Failure::invalid(format!("`{name}`: {error}.")));
        parsed.map(Some)
    }

    /// `limit` and `cursor`.
    pub(super) fn page<Id: FromStr<Err: Display>>(&self) -> Result<Page<Id>, Failure> {
        let limit = self.get("limit")?.unwrap_or(LIMIT_DEFAULT);
        if !(1..=LIMIT_MAX).contains(&limit) {
            return Err(Failure::invalid(format!("`limit` must be 1 to {LIMIT_MAX}.")));
        }
        Ok(Page { after: self.get("cursor")?, limit })
    }
}

/// The answer of every endpoint that returns a list.
#[derive(Serialize)]
pub(super) struct List<T> {
    data: Vec<T>,
    next_cursor: Option<String>,
}

impl<T> List<T> {
    /// Makes a page from at most `limit + 1` rows: the additional row only shows that there are
    /// more.
    pub(super) fn cut<Id: Display>(mut rows: Vec<T>, limit: usize, id: impl Fn(&T) -> Id) -> Self {
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next_cursor = rows.last().filter(|_| more).map(|row| id(row).to_string());
        Self { data: rows, next_cursor }
    }

    /// Converts the rows.
    pub(super) fn map<U>(self, show: impl FnMut(T) -> U) -> List<U> {
        List { data: self.data.into_iter().map(show).collect(), next_cursor: self.next_cursor }
    }
}

/// Checks a name that a person gave.
pub(super) fn name(text: &str) -> Result<String, Failure> {
    self::text("name", text, NAME_CHARS_MAX)
}

/// Checks a line of text that a person wrote.
pub(super) fn text(field: &str, text: &str, chars_max: usize) -> Result<String, Failure> {
    let text = text.trim();
    let printable = !text.chars().any(char::is_control);
    if text.is_empty() || text.chars().count() > chars_max || !printable {
        let message = format!("`{field}` must be 1 to {chars_max} printable characters.");
        return Err(Failure::invalid(message));
    }
    Ok(text.to_owned())
}

/// Checks a rate limit: absent, or at least one request per minute.
pub(super) fn requests_per_minute(limit: Option<u32>) -> Result<(), Failure> {
    match limit {
        Some(0) => Err(Failure::invalid("`requests_per_minute` must be at least 1, or null.")),
        Some(_) | None => Ok(()),
    }
}
