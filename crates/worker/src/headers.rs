//! Headers, there and back. JavaScript's header values are Latin-1 text: a character, a byte.

use http::{HeaderMap, HeaderName, HeaderValue};
use js_sys::{Array, JsString};
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
        let (Some(name), Some(value)) = (entry.get(0).as_string(), bytes(&entry.get(1))) else {
            return Err(JsValue::from_str("a header is no text"));
        };
        let name = HeaderName::try_from(name).map_err(|error| error.to_string())?;
        let value = HeaderValue::try_from(value).map_err(|error| error.to_string())?;
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
        let text: String = value.as_bytes().iter().copied().map(char::from).collect();
        headers.append(name.as_str(), &text)?;
    }
    Ok(headers)
}

fn bytes(value: &JsValue) -> Option<Vec<u8>> {
    let text: &JsString = value.dyn_ref()?;
    let text = String::from(text);
    text.chars().map(|char| u8::try_from(u32::from(char)).ok()).collect()
}
