//! Errors as JSON: `{"error":{"code","message"}}`.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::input::Malformed;

/// Why a request failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The caller's error, and what would be right.
    Malformed(String),
    /// The named thing does not exist.
    NotFound(&'static str),
    /// The body is too large.
    TooLarge(String),
    /// Too many detections run or wait.
    Busy,
    /// The backend's error; the cause is logged.
    Internal(String),
}

impl From<Malformed> for Failure {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed.to_string())
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Internal(error.to_string())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, code, message) = match self {
            Self::Malformed(message) => (StatusCode::BAD_REQUEST, "malformed", message),
            Self::NotFound(what) => {
                (StatusCode::NOT_FOUND, "not_found", format!("there is no such {what}"))
            }
            Self::TooLarge(message) => (StatusCode::PAYLOAD_TOO_LARGE, "too_large", message),
            Self::Busy => {
                let message = "too many detections at once; try again shortly".to_owned();
                (StatusCode::SERVICE_UNAVAILABLE, "busy", message)
            }
            Self::Internal(error) => {
                tracing::error!(error, "a request failed");
                (StatusCode::INTERNAL_SERVER_ERROR, "internal", "the backend failed".to_owned())
            }
        };
        let body = json!({ "error": { "code": code, "message": message } });
        (status, Json(body)).into_response()
    }
}

pub(super) async fn no_route() -> Response {
    Failure::NotFound("route").into_response()
}
