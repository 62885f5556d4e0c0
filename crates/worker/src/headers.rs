//! Headers, there and back. The runtime reads a value's bytes as UTF-8 and writes them as UTF-8, so
//! that a value is the same bytes here as on the wire; what is no UTF-8 reaches us with U+FFFD in it.
//!
//! They cross as one text (`glue.js`): a step for each name and each value was nearly half of all steps
//! between Rust and the runtime.

use http::{HeaderMap, HeaderName, HeaderValue};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;
use web_sys::Headers;

#[wasm_bindgen(module = "/src/glue.js")]
extern "C" {
    #[wasm_bindgen(catch)]
    fn lines(headers: &Headers) -> Result<String, JsValue>;
    #[wasm_bindgen(catch)]
    fn described(request: &web_sys::Request) -> Result<String, JsValue>;
    #[wasm_bindgen(catch)]
    fn headers(text: &str) -> Result<Headers, JsValue>;
}

/// What stands before a request's body.
pub(crate) struct Head {
    pub(crate) method: String,
    pub(crate) url: String,
    pub(crate) headers: HeaderMap,
}

impl Head {
    /// Reads it.
    ///
    /// # Errors
    /// What JavaScript throws, or that a header is none.
    pub(crate) fn of(request: &web_sys::Request) -> Result<Self, JsValue> {
        let text = described(request)?;
        let mut lines = text.split('\n');
        let mut next = || lines.next().unwrap_or_default().to_owned();
        let (method, url) = (next(), next());
        Ok(Self { method, url, headers: map(lines)? })
    }
}

/// The runtime's headers as ours; `set-cookie` and its like come as several.
///
/// # Errors
/// What JavaScript throws, or that a header is none.
pub(crate) fn read(headers: &Headers) -> Result<HeaderMap, JsValue> {
    map(lines(headers)?.split('\n'))
}

/// Our headers as the runtime's.
///
/// # Errors
/// What JavaScript throws.
pub(crate) fn write(map: &HeaderMap) -> Result<Headers, JsValue> {
    let mut text = String::with_capacity(64 * map.len());
    for (name, value) in map {
        for part in [name.as_str(), &String::from_utf8_lossy(value.as_bytes())] {
            text.push_str(part);
            text.push('\n');
        }
    }
    headers(&text)
}

fn map<'a>(mut lines: impl Iterator<Item = &'a str>) -> Result<HeaderMap, JsValue> {
    let mut map = HeaderMap::new();
    while let (Some(name), Some(value)) = (lines.next(), lines.next()) {
        let name = HeaderName::try_from(name).map_err(|error| error.to_string())?;
        let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|error| error.to_string())?;
        map.append(name, value);
    }
    Ok(map)
}
