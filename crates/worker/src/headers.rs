//! Conversion of headers. The runtime decodes and encodes values as UTF-8, so a UTF-8 value has the
//! same bytes here as on the wire; other bytes arrive as U+FFFD.
//!
//! All headers of a message cross between Rust and JavaScript as one text (`glue.js`): one call for
//! each name and value was nearly half of all such calls.

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

/// The method, URL and headers of a request.
pub(crate) struct Head {
    pub(crate) method: String,
    pub(crate) url: String,
    pub(crate) headers: HeaderMap,
}

impl Head {
    /// Reads the head of a request.
    ///
    /// # Errors
    /// An exception of the runtime, or an invalid header.
    pub(crate) fn of(request: &web_sys::Request) -> Result<Self, JsValue> {
        let text = described(request)?;
        let mut lines = text.split('\n');
        let mut next = || lines.next().unwrap_or_default().to_owned();
        let (method, url) = (next(), next());
        Ok(Self { method, url, headers: map(lines)? })
    }
}

/// Converts the runtime's headers; `set-cookie` stays several fields.
///
/// # Errors
/// An exception of the runtime, or an invalid header.
pub(crate) fn read(headers: &Headers) -> Result<HeaderMap, JsValue> {
    map(lines(headers)?.split('\n'))
}

/// Converts headers for the runtime.
///
/// # Errors
/// An exception of the runtime.
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
