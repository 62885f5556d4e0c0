//! `GET /admin/v1/receipts/{id}`.

use http::StatusCode;

use super::call::{AdminCall, Failure, Reply};
use super::input;
use crate::ports::{Platform, UsageRecords};
use crate::reply;

pub(super) async fn receipt<P: Platform>(call: AdminCall<'_, P>, id: &str) -> Reply<P> {
    let receipt = call.gateway.usage.receipt(input::id(id, "receipt")?).await?;
    let receipt = receipt.ok_or_else(|| Failure::not_found("receipt"))?;
    Ok(reply::json::<P>(StatusCode::OK, &receipt)?)
}
