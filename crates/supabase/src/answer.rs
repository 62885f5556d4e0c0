//! Reads PostgREST's responses.
//! <https://docs.postgrest.org/en/v12/references/errors.html>

use driftlock_domain::denial::{Fault, FaultKind};
use driftlock_domain::mask::masked_forms;
use driftlock_postgres_core::{EXISTS_ALREADY, is_refusal};
use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failed {
    /// It is unknown whether the call had its effect; the next attempt may succeed.
    Transient(Fault),
    /// The call had no effect, and another attempt would fail, too.
    Final(Fault),
}

impl Failed {
    pub(crate) fn fault(self) -> Fault {
        match self {
            Self::Transient(fault) | Self::Final(fault) => fault,
        }
    }
}

/// The body of PostgREST's error responses. `details` and `hint` may quote values, so they are not
/// read.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ErrorBody {
    code: Option<String>,
    message: Option<String>,
}

pub(crate) fn read(function: &str, status: StatusCode, body: &[u8]) -> Result<Value, Failed> {
    if status.is_success() {
        // The response has no body when the function returns NULL.
        let body = if body.is_empty() { b"null" } else { body };
        return serde_json::from_slice(body).map_err(|error| {
            Failed::Final(Fault::store(format!(
                "invalid JSON in Supabase's response to {function}: {error}"
            )))
        });
    }
    let error: ErrorBody = serde_json::from_slice(body).unwrap_or_default();
    // The message may repeat values of the request.
    let message = masked_forms(&error.message.unwrap_or_default());
    let code = error.code.unwrap_or_default();
    let store =
        |text: &str| Fault::store(format!("{text} ({function}: {status} {code} {message})"));
    Err(match (code.as_str(), status.as_u16()) {
        (EXISTS_ALREADY, _) => {
            Failed::Final(Fault::new(FaultKind::Conflict, format!("{message} ({code})")))
        }
        (code, _) if is_refusal(code) => Failed::Final(Fault::new(
            FaultKind::StoreRefused,
            format!("Supabase rejects the values ({function}: {code} {message})"),
        )),
        ("PGRST202", _) => Failed::Final(store(
            "a function is missing in Supabase: apply migrations/postgres and reload its schema cache",
        )),
        ("42501", _) | (_, 401 | 403) => {
            Failed::Final(store("Supabase rejects the key in ENV_SUPABASE_SERVICE_ROLE_KEY"))
        }
        ("57014", _) => Failed::Transient(store("Supabase: statement timeout")),
        // After serialization failures and deadlocks, PostgreSQL asks to try again.
        ("40001" | "40P01", _) | (_, 429 | 502..=504 | 520..=530) => {
            Failed::Transient(store("Supabase is temporarily unavailable"))
        }
        (_, 500..) => Failed::Transient(store("internal error of Supabase")),
        _ => Failed::Final(store("Supabase rejects the call")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, body: &str) -> Result<Value, Failed> {
        read("driftlock_key", StatusCode::from_u16(status).expect("a status"), body.as_bytes())
    }

    #[test]
    fn responses_with_and_without_a_value() {
        assert_eq!(of(200, "[1]"), Ok(serde_json::json!([1])));
        assert_eq!(of(204, ""), Ok(Value::Null));
        assert!(matches!(of(200, "<html>"), Err(Failed::Final(_))));
    }

    #[test]
    fn errors_are_classified_and_quote_no_values() {
        let error = |code: &str| {
            format!(r#"{{"code":"{code}","message":"m","details":"Key (a)=(secret)","hint":null}}"#)
        };
        let Err(Failed::Final(fault)) = of(400, &error("DL409")) else { panic!("final") };
        assert_eq!(fault.kind, FaultKind::Conflict);
        let cause = |status, code| match of(status, &error(code)) {
            Err(failed) => failed.fault().cause,
            Ok(value) => panic!("{value}"),
        };
        assert!(cause(404, "PGRST202").contains("migrations/postgres"));
        for (status, code) in [(401, "PGRST301"), (403, "42501")] {
            let cause = cause(status, code);
            assert!(cause.contains("SERVICE_ROLE_KEY") && !cause.contains("secret"), "{cause}");
        }
        for (status, code) in [(500, "57014"), (503, "PGRST000"), (522, ""), (500, "40001")] {
            assert!(matches!(of(status, &error(code)), Err(Failed::Transient(_))), "{status}");
        }
        for (status, code) in
            [(400, "22P02"), (409, "23503"), (409, "23505"), (400, "23514"), (500, "54000")]
        {
            let Err(Failed::Final(fault)) = of(status, &error(code)) else { panic!("final") };
            assert_eq!(fault.kind, FaultKind::StoreRefused, "{code}");
        }
        let Err(Failed::Final(fault)) = of(404, &error("PGRST202")) else { panic!("final") };
        assert_eq!(fault.kind, FaultKind::Store, "an operator can fix it");
    }
}
