//! JWTs as Supabase makes them, signed with a shared secret (RFC 7519, HS256).

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

/// The secret that signs the tests' tokens.
pub const SECRET: &str = "a-jwt-secret-of-the-tests-0123456789abcdef";

/// A token with these claims.
#[must_use]
pub fn token(claims: &Value) -> String {
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&json!({ "alg": "HS256", "typ": "JWT" })), part(claims));
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("a key of any length");
    mac.update(signed.as_bytes());
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

/// The token of a role that no user has: `anon` or `service_role`.
#[must_use]
pub fn of_role(role: &str) -> String {
    token(&json!({ "role": role, "iss": "supabase", "exp": 4_000_000_000_u64 }))
}

/// The token of a signed-in user, by UUID.
#[must_use]
pub fn of_user(user: &str) -> String {
    token(&json!({
        "role": "authenticated", "aud": "authenticated", "sub": user, "exp": 4_000_000_000_u64,
    }))
}
