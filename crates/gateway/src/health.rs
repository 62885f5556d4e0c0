//! `/healthz`: the process answers. `/readyz`: its store does, too.

use driftlock_domain::denial::Denial;
use driftlock_domain::id::OrganizationId;
use http::{Method, StatusCode};
use serde_json::json;

use crate::gateway::{Answer, Arrival, Gateway};
use crate::ports::{Directory, Platform};
use crate::{proxy, reply};

pub(crate) async fn answer<P: Platform>(gateway: &Gateway<P>, arrival: Arrival<P>) -> Answer<P> {
    proxy::filter(gateway, &arrival)?;
    if arrival.head.method != Method::GET && arrival.head.method != Method::HEAD {
        return Err(Denial::MethodNotAllowed(vec![Method::GET, Method::HEAD]).into());
    }
    if arrival.head.uri.path() == "/readyz" {
        gateway.directory.organization(OrganizationId::from_bytes([0; 16])).await?;
    }
    Ok(reply::json::<P>(StatusCode::OK, &json!({ "status": "ok" }))?)
}
