//! The project's signature cases over HTTP: accepted deliveries are stored, refused ones change
//! nothing.

use driftlock_domain::stripe::sample::{SIGNATURE_CASES, SignatureCase};
use driftlock_domain::stripe::signature::TOLERANCE_SECS;
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::admin::unique;
use crate::target::Target;

/// Signs with a former secret where none is in force.
const NOT_IN_FORCE: &str = "whsec_not_in_force_any_more_0123456789";
/// A timestamp this close to a bound may be beyond it on arrival.
const NEAR_SECS: u64 = 30;

/// Delivers every case signed with the current secret, and with the former one if it is in force
/// too; returns the number of cases.
///
/// # Panics
/// When the gateway's verdict differs.
pub fn judge(target: &Target, secret: &str, former: Option<&str>) -> usize {
    let is_clear = |case: &&SignatureCase| {
        let distance = case.age_secs.unsigned_abs().abs_diff(TOLERANCE_SECS);
        distance > NEAR_SECS
    };
    let cases = SIGNATURE_CASES.iter().filter(is_clear);
    cases.map(|case| deliver(target, case, secret, former)).count()
}

fn deliver(target: &Target, case: &SignatureCase, secret: &str, former: Option<&str>) {
    // A new event for each case, because a duplicate would be accepted for another reason.
    let id = format!("evt_{}", unique("case"));
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let event = json!({
        "id": id, "object": "event", "type": "plan.created", "created": now, "livemode": false,
        "data": { "object": { "id": "plan_1", "object": "plan", "nickname": "Größe ✓ \u{1F600}" } },
    });
    let made = case.make(secret, former.unwrap_or(NOT_IN_FORCE), now, &event.to_string());
    let post = target.request("POST", "/webhooks/stripe");
    let post = post.header("stripe-signature", &made.header);
    let answer = post.bytes("application/json", made.body.into_bytes()).send();
    let is_accepted = case.verdict.is_ok() && (former.is_some() || !case.takes_former);
    let kept = || target.admin("GET", &format!("/stripe/events/{id}")).send();
    if is_accepted {
        assert_eq!(answer.status, 200, "{}: {}", case.name, answer.text());
        assert_eq!(answer.json()["duplicate"], Value::Bool(false), "{}", case.name);
        assert_eq!(kept().status, 200, "{}", case.name);
    } else {
        assert_eq!(answer.status, 400, "{}: {}", case.name, answer.text());
        answer.problem(400, "invalid-webhook");
        assert_eq!(kept().status, 404, "{} touches nothing", case.name);
    }
}
