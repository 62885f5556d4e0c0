//! Headers, there and back. The runtime reads a value's bytes as UTF-8 and writes them as UTF-8, so
//! that a value is the same bytes here as on the wire; what is no UTF-8 reaches us with U+FFFD in it.

use http::{HeaderMap, HeaderName, HeaderValue};
use js_sys::Array;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::Headers;

/// The runtime's headers as ours; `set-cookie` and its like come as several lines.
///
/// # Errors
/// What JavaScript throws, or that a header is none.
pub(crate) fn read(headers: &Headers) -> Result<HeaderMap, JsValue> {
    let mut map = HeaderMap::new();
    for entry in headers.entries() {
        let entry: Array = entry?.dyn_into()?;
        let (Some(name), Some(value)) = (entry.get(0).as_string(), entry.get(1).as_string()) else {
            return Err(JsValue::from_str("a header is no text"));
        };
        let name = HeaderName::try_from(name).map_err(|error| error.to_string())?;
        let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|error| error.to_string())?;
        map.append(name, value);
    }
    Ok(map)
}

/// Our headers as the runtime's.
///
/// # Errors
/// What JavaScript throws.
pub(crate) fn write(map: &HeaderMap) -> Result<Headers, JsValue> {
    let headers = Headers::new()?;
    for (name, value) in map {
        headers.append(name.as_str(), &String::from_utf8_lossy(value.as_bytes()))?;
    }
    Ok(headers)
}
