//! Organizations and keys for one case, made by the admin API.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use crate::answer::Answer;
use crate::target::{Call, Target};

/// Every route's scope.
pub const SCOPES: [&str; 4] =
    ["anomalies:read", "anomalies:detect", "anomalies:write", "events:write"];
/// More requests per minute than any case sends.
pub const PLENTY: u32 = 100_000;

/// The metered route that most cases use.
pub const DETECT: &str = "/api/v1/anomalies/detect";
/// The other metered route.
pub const ANALYZE: &str = "/api/v1/analyze";
/// A free route that needs a scope and an entitlement.
pub const LIST: &str = "/api/v1/anomalies";
/// The route that needs only a key.
pub const HEALTH: &str = "/api/v1/health";

/// An organization made for one case.
pub struct Organization<'a> {
    target: &'a Target,
    /// Its id.
    pub id: String,
}

/// A key made for one case.
pub struct Key<'a> {
    target: &'a Target,
    /// Its id.
    pub id: String,
    /// The key itself.
    pub secret: String,
}

impl<'a> Organization<'a> {
    /// Creates an organization on the developer plan.
    #[must_use]
    pub fn new(target: &'a Target) -> Self {
        Self::with(target, json!({}))
    }

    /// Creates an organization with these fields.
    ///
    /// # Panics
    /// When the admin API refuses it.
    #[must_use]
    pub fn with(target: &'a Target, mut fields: Value) -> Self {
        fields["name"] = unique("e2e").into();
        let made = target.admin("POST", "/organizations").json(&fields).send();
        let id = made.expect(201).json()["id"].as_str().unwrap_or_default().to_owned();
        assert!(id.starts_with("org_"), "{}", made.text());
        Self { target, id }
    }

    /// Creates one on the standard plan with an active subscription and this quota.
    #[must_use]
    pub fn subscribed(target: &'a Target, quota: &Value) -> Self {
        let subscription = subscription("active", None);
        Self::with(
            target,
            json!({"plan": "standard", "quota": quota, "subscription": subscription}),
        )
    }

    /// Begins an admin request about the organization; `rest` follows its id.
    pub fn admin(&self, method: &str, rest: &str) -> Call<'a> {
        self.target.admin(method, &format!("/organizations/{}{rest}", self.id))
    }

    /// Changes the organization; returns it after the change.
    ///
    /// # Panics
    /// When the admin API refuses the change.
    pub fn patch(&self, fields: &Value) -> Value {
        self.admin("PATCH", "").json(fields).send().expect(200).json()
    }

    /// Creates a key with every scope and a very high rate limit.
    #[must_use]
    pub fn key(&self) -> Key<'a> {
        self.key_with(json!({"requests_per_minute": PLENTY}))
    }

    /// Creates a key with these fields, and with every scope unless they name some.
    ///
    /// # Panics
    /// When the admin API refuses it.
    #[must_use]
    pub fn key_with(&self, mut fields: Value) -> Key<'a> {
        if fields.get("name").is_none() {
            fields["name"] = unique("key").into();
        }
        if fields.get("scopes").is_none() {
            fields["scopes"] = json!(SCOPES);
        }
        let made = self.admin("POST", "/keys").json(&fields).send();
        Key::read(self.target, &made.expect(201).json())
    }

    /// The usage of the current period.
    ///
    /// # Panics
    /// When there is no answer.
    #[must_use]
    pub fn usage(&self) -> Value {
        self.admin("GET", "/usage").send().expect(200).json()
    }

    /// The units used in the current period.
    ///
    /// # Panics
    /// When there is no answer.
    #[must_use]
    pub fn units(&self) -> u64 {
        self.usage()["units"].as_u64().expect("units are a whole number")
    }

    /// Every entry of its audit log.
    #[must_use]
    pub fn audit(&self) -> Vec<Value> {
        pages(self.target, &format!("/organizations/{}/audit", self.id), 100)
    }
}

impl<'a> Key<'a> {
    /// Reads the answer that shows a key once.
    ///
    /// # Panics
    /// When the answer has no key.
    #[must_use]
    pub fn read(target: &'a Target, made: &Value) -> Self {
        let text = |name: &str| made[name].as_str().unwrap_or_default().to_owned();
        let key = Self { target, id: text("id"), secret: text("key") };
        assert!(key.id.starts_with("key_"), "no key in {}", made["id"]);
        assert!(key.secret.starts_with("dlk_") && key.secret.len() == 40, "{}", key.secret.len());
        key
    }

    /// Begins a request with it.
    pub fn call(&self, method: &str, path: &str) -> Call<'a> {
        self.target.keyed(method, path, &self.secret)
    }

    /// A GET.
    #[must_use]
    pub fn get(&self, path: &str) -> Answer {
        self.call("GET", path).send()
    }

    /// A small detection: one unit.
    #[must_use]
    pub fn detect(&self) -> Answer {
        self.call("POST", DETECT).json(&two_lines()).send()
    }

    /// Begins a request about the key itself; `rest` follows its id.
    pub fn admin(&self, method: &str, rest: &str) -> Call<'a> {
        self.target.admin(method, &format!("/keys/{}{rest}", self.id))
    }
}

/// A detection's smallest useful body.
#[must_use]
pub fn two_lines() -> Value {
    json!({"data": ["line 1", "line 2"]})
}

/// A subscription to the standard plan whose period contains the present.
#[must_use]
pub fn subscription(status: &str, grace_until: Option<Duration>) -> Value {
    let period = json!({"start": at(-Duration::days(10)), "end": at(Duration::days(20))});
    let mut made = json!({
        "id": unique("sub_"), "status": status, "plan": "standard", "period": period,
    });
    if let Some(grace) = grace_until {
        made["grace_until"] = at(grace).into();
    }
    made
}

/// Now and this much, as RFC 3339 text in whole seconds.
///
/// # Panics
/// Never: these years can be formatted.
#[must_use]
pub fn at(from_now: Duration) -> String {
    let instant = OffsetDateTime::now_utc() + from_now;
    let whole = instant.replace_nanosecond(0).expect("zero is a nanosecond");
    whole.format(&Rfc3339).expect("a year of four digits")
}

/// A name that no other case, and no other run, uses.
#[must_use]
pub fn unique(what: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let began = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
    format!("{what}-{began:x}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Every row of a list, page by page.
///
/// # Panics
/// When a page does not have the published form, or is larger than requested.
#[must_use]
pub fn pages(target: &Target, path: &str, limit: usize) -> Vec<Value> {
    let joint = if path.contains('?') { '&' } else { '?' };
    let mut rows = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = target.admin("GET", &format!("{path}{joint}limit={limit}{cursor}")).send();
        let page = page.expect(200).json();
        let data = page["data"].as_array().expect("a list has data");
        assert!(data.len() <= limit, "{} rows of at most {limit}", data.len());
        rows.extend(data.iter().cloned());
        match &page["next_cursor"] {
            Value::Null => return rows,
            Value::String(next) => cursor = format!("&cursor={next}"),
            other => panic!("a cursor is text or null, not {other}"),
        }
    }
}
