//! The double's routes.

use std::collections::HashMap;

use bytes::Bytes;
use driftlock_domain::stripe::sample::{ApiShape, Life, SampleSubscription};
use driftlock_domain::time::Timestamp;
use http::{Method, Request};
use serde_json::{Value, json};

use super::answer::{Refused, fields, list};
use super::{State, meter};

/// The most rows of a page.
const PAGE_MAX: usize = 100;

pub(super) fn route(
    state: &mut State,
    request: &Request<Bytes>,
    now: Timestamp,
) -> Result<Value, Refused> {
    let path = request.uri().path();
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let query = fields(request.uri().query().unwrap_or_default().as_bytes());
    let form = fields(request.body());
    let shape = shape(request);
    match (request.method(), &segments[..]) {
        (&Method::GET, ["v1", "subscriptions"]) => {
            page(path, subscriptions(state, &query, shape), &query)
        }
        (&Method::GET, ["v1", "subscriptions", id]) => {
            let all =
                subscriptions(state, &HashMap::from([("status".into(), "all".into())]), shape);
            find(all, "subscription", id)
        }
        (&Method::GET, ["v1", "invoices"]) => page(path, invoices(state, &query, shape), &query),
        (&Method::GET, ["v1", "customers", id]) => customer_object(state, id, now),
        (&Method::GET, ["v1", "charges", id]) => {
            let customer = state.charges.get(*id).ok_or_else(|| Refused::unknown("charge", id))?;
            Ok(json!({ "id": id, "object": "charge", "customer": customer, "disputed": true }))
        }
        (&Method::GET, ["v1", "prices", id]) => Ok(price(id)),
        (&Method::GET, ["v2", "core", "events", id]) => {
            state.fetchable.get(*id).cloned().ok_or_else(|| Refused::unknown("event", id))
        }
        (&Method::GET, ["v1", "billing", "meters"]) => Ok(list(path, vec![meter::object()])),
        (&Method::GET, ["v1", "billing", "meters", meter::METER, "event_summaries"]) => {
            state.meter.summaries(&query)
        }
        (&Method::POST, ["v1", "billing", "meter_events"]) => {
            let customer = form.get("payload[stripe_customer_id]").cloned().unwrap_or_default();
            known(state, &customer)?;
            state.meter.take(&form, now)
        }
        (&Method::POST, ["v1", "customers"]) => customer(state, &form, now),
        (&Method::POST, ["v1", "checkout", "sessions"]) => checkout(state, &form, now),
        (&Method::POST, ["v1", "billing_portal", "sessions"]) => portal(state, &form, now),
        (&Method::POST, ["v1", "invoices", "create_preview"]) => preview(state, &form),
        (method, _) => Err(Refused::unknown("route", &format!("{method} {path}"))),
    }
}

/// The shapes of the requested API version.
fn shape(request: &Request<Bytes>) -> ApiShape {
    let version = request.headers().get("stripe-version").and_then(|value| value.to_str().ok());
    match version {
        Some(version) if version < "2025-01-27" => ApiShape::Y2024,
        Some(version) if version < "2025-03-31" => ApiShape::Acacia,
        Some(_) | None => ApiShape::Basil,
    }
}

/// Checks that a customer exists and was not deleted: a deleted one can only be read.
fn known(state: &State, customer: &str) -> Result<(), Refused> {
    let is_known = state.lives.contains_key(customer) || state.customers.contains_key(customer);
    let is_usable = is_known && !is_deleted(state, customer);
    if is_usable { Ok(()) } else { Err(Refused::unknown("customer", customer)) }
}

fn is_deleted(state: &State, customer: &str) -> bool {
    let events = state.lives.get(customer).map(Life::events).unwrap_or_default();
    events.iter().any(|event| event["type"] == "customer.deleted")
}

/// `GET /v1/customers/{id}`: Stripe also returns a deleted customer.
fn customer_object(state: &State, id: &str, now: Timestamp) -> Result<Value, Refused> {
    if is_deleted(state, id) {
        return Ok(json!({ "id": id, "object": "customer", "deleted": true }));
    }
    known(state, id)?;
    let organization = state.customers.get(id).cloned().unwrap_or_default();
    Ok(driftlock_domain::stripe::sample::customer(id, &organization, now, false))
}

fn subscriptions(state: &State, query: &HashMap<String, String>, shape: ApiShape) -> Vec<Value> {
    let all = query.get("status").is_some_and(|status| status == "all");
    let wanted = |found: &&SampleSubscription| all || found.ended_at.is_none();
    let own = lives(state, query).flat_map(|life| life.subscriptions().iter().rev());
    own.filter(wanted).map(|found| found.render(shape)).collect()
}

fn invoices(state: &State, query: &HashMap<String, String>, shape: ApiShape) -> Vec<Value> {
    let own = lives(state, query).flat_map(|life| life.invoices().iter().rev());
    own.map(|found| found.render(shape)).collect()
}

fn lives<'a>(
    state: &'a State,
    query: &'a HashMap<String, String>,
) -> impl Iterator<Item = &'a driftlock_domain::stripe::sample::Life> {
    let customer = query.get("customer");
    let own = state.lives.iter();
    own.filter(move |(id, _)| customer.is_none_or(|wanted| wanted == *id)).map(|(_, life)| life)
}

/// A page of rows, the newest first, after the row that `starting_after` names.
fn page(path: &str, rows: Vec<Value>, query: &HashMap<String, String>) -> Result<Value, Refused> {
    let limit = query.get("limit").map_or(Ok(10), |text| text.parse::<usize>());
    let limit = limit.ok().filter(|limit| (1..=PAGE_MAX).contains(limit));
    let limit = limit.ok_or_else(|| Refused::bad("Invalid limit: 1 to 100.".into()))?;
    let begin = match query.get("starting_after") {
        Some(after) => {
            let place = rows.iter().position(|row| row["id"] == after.as_str());
            place.ok_or_else(|| Refused::unknown("object", after))? + 1
        }
        None => 0,
    };
    let has_more = rows.len() > begin + limit;
    let rows: Vec<Value> = rows.into_iter().skip(begin).take(limit).collect();
    Ok(json!({ "object": "list", "data": rows, "has_more": has_more, "url": path }))
}

fn find(rows: Vec<Value>, what: &str, id: &str) -> Result<Value, Refused> {
    let found = rows.into_iter().find(|row| row["id"] == id);
    found.ok_or_else(|| Refused::unknown(what, id))
}

fn customer(
    state: &mut State,
    form: &HashMap<String, String>,
    now: Timestamp,
) -> Result<Value, Refused> {
    let organization = form.get("metadata[organization]").cloned().unwrap_or_default();
    let id = state.entropy.id("cus_");
    state.customers.insert(id.clone(), organization.clone());
    let mut object = driftlock_domain::stripe::sample::customer(&id, &organization, now, false);
    object["name"] = form.get("name").cloned().into();
    Ok(object)
}

fn checkout(
    state: &mut State,
    form: &HashMap<String, String>,
    now: Timestamp,
) -> Result<Value, Refused> {
    let field = |name: &str| form.get(name).ok_or_else(|| Refused::missing(name));
    let customer = field("customer")?.clone();
    known(state, &customer)?;
    if field("mode")? != "subscription" {
        return Err(Refused::bad("the double knows mode `subscription`".into()));
    }
    let price = field("line_items[0][price]")?;
    // Stripe refuses a quantity for a metered price, which is billed by usage.
    if is_metered(price) && form.contains_key("line_items[0][quantity]") {
        let why = "Quantity should not be specified where usage_type is `metered`.";
        return Err(Refused::bad(why.to_owned()));
    }
    if !is_metered(price) {
        field("line_items[0][quantity]")?;
    }
    field("success_url")?;
    let organization = form.get("client_reference_id").cloned().unwrap_or_default();
    let id = state.entropy.id("cs_test_");
    let mut session = driftlock_domain::stripe::sample::checkout_session(
        &id,
        &organization,
        &customer,
        None,
        now,
        false,
    );
    session["mode"] = json!("subscription");
    session["status"] = json!("open");
    session["payment_status"] = json!("unpaid");
    session["url"] = json!(format!("https://checkout.stripe.com/c/pay/{id}"));
    Ok(session)
}

/// A price with any id exists; one whose id says so is metered.
fn price(id: &str) -> Value {
    let usage_type = if is_metered(id) { "metered" } else { "licensed" };
    json!({
        "id": id,
        "object": "price",
        "active": true,
        "currency": "usd",
        "type": "recurring",
        "recurring": { "interval": "month", "interval_count": 1, "usage_type": usage_type },
    })
}

fn is_metered(price: &str) -> bool {
    price.contains("metered")
}

fn portal(
    state: &mut State,
    form: &HashMap<String, String>,
    now: Timestamp,
) -> Result<Value, Refused> {
    let customer = form.get("customer").ok_or_else(|| Refused::missing("customer"))?.clone();
    known(state, &customer)?;
    let id = state.entropy.id("bps_");
    Ok(json!({
        "id": id,
        "object": "billing_portal.session",
        "configuration": "bpc_double",
        "created": now.secs(),
        "customer": customer,
        "livemode": false,
        "return_url": form.get("return_url"),
        "url": format!("https://billing.stripe.com/p/session/{id}"),
    }))
}

/// Base fee and graduated usage: 250,000 units free, then 0.35 cents each.
fn preview(state: &State, form: &HashMap<String, String>) -> Result<Value, Refused> {
    let id = form.get("subscription").ok_or_else(|| Refused::missing("subscription"))?;
    let all = state.lives.values().flat_map(|life| life.subscriptions());
    let subscription = all.into_iter().find(|found| found.id == *id);
    let subscription = subscription.ok_or_else(|| Refused::unknown("subscription", id))?;
    // A negative sum is billed as 0.
    let units = state.meter.sum(&subscription.customer, subscription.period);
    let units = u64::try_from(units).unwrap_or(0);
    let overage = i64::try_from(units.saturating_sub(250_000)).unwrap_or(i64::MAX);
    let usage = (overage * 35 + 50) / 100;
    let base = subscription.price.cents;
    let line = |description: &str, quantity: u64, amount: i64| {
        json!({ "id": "il_double", "object": "line_item", "description": description,
                "quantity": quantity, "amount": amount, "currency": "usd" })
    };
    let lines = vec![line("Base fee", 1, base), line("Units", units, usage)];
    let total = base + usage;
    Ok(json!({
        "object": "invoice",
        "amount_due": total,
        "currency": "usd",
        "customer": subscription.customer,
        "lines": list("/v1/invoices/upcoming/lines", lines),
        "subtotal": total,
        "total": total,
    }))
}
