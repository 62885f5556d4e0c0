//! Step 8: adds the gateway's headers to the backend's answer. The body is streamed.

use driftlock_domain::cell::LimitsNow;
use driftlock_domain::headers::write_limits;
use driftlock_domain::id::UsageId;
use http::{HeaderMap, HeaderName, HeaderValue, Response};

use super::call::Settled;
use crate::gateway::ResponseBody;
use crate::ports::Platform;

const RECEIPT: HeaderName = HeaderName::from_static("x-usage-receipt");

pub(crate) fn respond<P: Platform>(settled: Settled<P>) -> Response<ResponseBody<P>> {
    let Settled { mut response, limits, receipt } = settled;
    head(response.headers_mut(), &limits, receipt);
    response
}

/// Adds the gateway's headers: limits and receipt.
pub(crate) fn head(headers: &mut HeaderMap, limits: &LimitsNow, receipt: Option<UsageId>) {
    write_limits(headers, limits);
    if let Some(receipt) = receipt
        && let Ok(value) = HeaderValue::from_bytes(receipt.text().as_bytes())
    {
        headers.insert(RECEIPT, value);
    }
}
