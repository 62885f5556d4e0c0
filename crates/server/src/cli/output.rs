//! The output of commands: JSON, or a table for people.

use std::io::Write;

use anyhow::Result;
use comfy_table::Table;
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use serde_json::Value;

/// One line on standard output.
pub(super) fn line(text: &str) -> Result<()> {
    Ok(writeln!(std::io::stdout().lock(), "{text}")?)
}

/// JSON, indented.
pub(super) fn json(value: &Value) -> Result<()> {
    line(&serde_json::to_string_pretty(value)?)
}

/// A table. Each column has a heading and a path of JSON members in a row.
pub(super) fn table(columns: &[(&str, &str)], rows: &[Value]) -> Result<()> {
    let mut table = Table::new();
    table.load_preset(UTF8_HORIZONTAL_ONLY);
    table.set_header(columns.iter().map(|(heading, _)| *heading));
    for row in rows {
        table.add_row(columns.iter().map(|(_, path)| cell(member(row, path))));
    }
    line(&table.to_string())
}

/// The fields of a value, one per line.
pub(super) fn fields(columns: &[(&str, &str)], value: &Value) -> Result<()> {
    let width = columns.iter().map(|(heading, _)| heading.len()).max().unwrap_or(0);
    for (heading, path) in columns {
        line(&format!("{heading:<width$}  {}", cell(member(value, path))))?;
    }
    Ok(())
}

/// Micro-dollars as dollars.
pub(super) fn dollars(micros: u64) -> String {
    let (whole, rest) = (micros / 1_000_000, micros % 1_000_000);
    let decimals = format!("{rest:06}");
    let shown = decimals.trim_end_matches('0');
    format!("${whole}.{shown:0<2}")
}

fn member<'a>(value: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(value, |value, name| &value[name])
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "–".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(", "),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_exact() {
        assert_eq!(dollars(136_500_000), "$136.50");
        assert_eq!(dollars(0), "$0.00");
        assert_eq!(dollars(3_500), "$0.0035");
        assert_eq!(dollars(1), "$0.000001");
    }

    #[test]
    fn cells_read_well() {
        assert_eq!(cell(&serde_json::json!(["a", "b"])), "a, b");
        assert_eq!(cell(&serde_json::json!(null)), "–");
        assert_eq!(cell(member(&serde_json::json!({"a": {"b": 1}}), "a.b")), "1");
    }
}
