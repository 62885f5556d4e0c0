//! Conversion between JavaScript's values and Rust's.

use driftlock_domain::denial::Fault;
use driftlock_sqlite_core::{Cell, Columns, Value};
use js_sys::{Array, ArrayBuffer, Number, Uint8Array};
use std::borrow::Cow;
use wasm_bindgen::{JsCast, JsValue};

/// The message of a JavaScript exception.
pub(crate) fn thrown(error: &JsValue) -> String {
    match error.dyn_ref::<js_sys::Error>() {
        Some(error) => String::from(error.message()),
        None => error.as_string().unwrap_or_else(|| format!("{error:?}")),
    }
}

/// A value as a parameter of a statement.
pub(crate) fn bound(value: &Value<'_>) -> JsValue {
    match value {
        Value::Null => JsValue::NULL,
        // The platform's integers are exact to 2^53, which neither times nor counts reach.
        #[expect(clippy::cast_precision_loss, reason = "see the line above")]
        Value::Int(number) => JsValue::from_f64(*number as f64),
        Value::Text(text) => JsValue::from_str(text),
        Value::Blob(bytes) => Uint8Array::from(&**bytes).into(),
    }
}

/// A row as the platform's databases give it: an array of values.
pub(crate) struct JsRow(pub(crate) Array);

impl Columns for JsRow {
    fn cell(&self, column: usize) -> Result<Cell<'_>, Fault> {
        let column = u32::try_from(column).map_err(Fault::store)?;
        let value = self.0.get(column);
        if value.is_null() {
            return Ok(Cell::Null);
        }
        if let Some(number) = value.as_f64() {
            if !Number::is_safe_integer(&value) {
                return Err(Fault::store("a number beyond 2^53, or with a fraction"));
            }
            #[expect(clippy::cast_possible_truncation, reason = "it was just found to be safe")]
            return Ok(Cell::Int(number as i64));
        }
        if let Some(text) = value.as_string() {
            return Ok(Cell::Text(Cow::Owned(text)));
        }
        bytes(&value).map(|bytes| Cell::Blob(Cow::Owned(bytes)))
    }
}

/// D1 gives bytes as arrays of numbers, a Durable Object as an `ArrayBuffer`.
fn bytes(value: &JsValue) -> Result<Vec<u8>, Fault> {
    if value.is_instance_of::<ArrayBuffer>() || value.is_instance_of::<Uint8Array>() {
        return Ok(Uint8Array::new(value).to_vec());
    }
    let array = value.dyn_ref::<Array>().ok_or_else(|| Fault::store("a value of no known type"))?;
    let byte = |value: JsValue| {
        let number = value.as_f64().filter(|number| (0.0..=255.0).contains(number));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in range")]
        number.map(|number| number as u8)
    };
    let bytes: Option<Vec<u8>> = array.iter().map(byte).collect();
    bytes.ok_or_else(|| Fault::store("an array that holds no bytes"))
}
