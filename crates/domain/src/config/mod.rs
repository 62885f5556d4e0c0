//! `gateway.toml`: routes, plans, limits, filter, timeouts; one file for both hosts.
//!
//! Every field has a default, and a test checks that the documented `gateway.toml` at the project's
//! root equals the defaults. Secrets do not belong in the file: they come from the environment. An
//! unknown key is an error, since a misspelt limit would not limit anything.

mod backend;
mod error;
mod front;
mod limits;
mod plans;
mod routes;
mod stripe;
mod validate;

use serde::{Deserialize, Serialize};

pub use backend::{Backend, BackendHeaderError, Timeouts, Urls};
pub use error::ConfigError;
pub use front::{Cors, Idempotency, Responses};
pub use limits::{
    Admin, AfterSubscription, Audit, Durability, Filter, Keys, Limits, Metering, OnOutage,
};
pub use plans::Plans;
pub use routes::RouteConfig;
pub use stripe::Stripe;

use crate::plan::Plan;
use crate::route::{RouteError, RouteTable};

/// The whole configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The backend.
    pub backend: Backend,
    /// Timeouts.
    pub timeouts: Timeouts,
    /// The request filter.
    pub filter: Filter,
    /// Cross-origin requests.
    pub cors: Cors,
    /// Headers of every response.
    pub responses: Responses,
    /// Requests with an `Idempotency-Key`.
    pub idempotency: Idempotency,
    /// Abuse limits and memory budgets.
    pub limits: Limits,
    /// The cache of keys and organizations.
    pub keys: Keys,
    /// Metering.
    pub metering: Metering,
    /// The audit log.
    pub audit: Audit,
    /// The admin API.
    pub admin: Admin,
    /// Billing by Stripe.
    pub stripe: Stripe,
    /// The plans, by name.
    pub plans: Plans,
    /// The routes; listing any replaces all default routes.
    pub routes: Vec<RouteConfig>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            backend: Backend::default(),
            timeouts: Timeouts::default(),
            filter: Filter::default(),
            cors: Cors::default(),
            responses: Responses::default(),
            idempotency: Idempotency::default(),
            limits: Limits::default(),
            keys: Keys::default(),
            metering: Metering::default(),
            audit: Audit::default(),
            admin: Admin::default(),
            stripe: Stripe::default(),
            plans: Plans::default(),
            routes: routes::defaults(),
        }
    }
}

impl Config {
    /// Parses and validates a configuration.
    ///
    /// # Errors
    /// All mistakes that were found, each with its line and what would be right.
    pub fn parse(text: &str) -> Result<Self, Vec<ConfigError>> {
        let config: Self =
            toml::from_str(text).map_err(|error| vec![ConfigError::syntax(text, &error)])?;
        let mistakes = validate::mistakes(&config);
        if mistakes.is_empty() {
            return Ok(config);
        }
        Err(mistakes.into_iter().map(|mistake| mistake.located(text)).collect())
    }

    /// A plan by name.
    #[must_use]
    pub fn plan(&self, name: &str) -> Option<&Plan> {
        self.plans.get(name)
    }

    /// The table of routes.
    ///
    /// # Errors
    /// [`RouteError`] when two routes conflict.
    pub fn route_table(&self) -> Result<RouteTable, RouteError> {
        let (keys, timeouts) = (&self.routes, &self.timeouts);
        RouteTable::new(keys.iter().map(|route| route.to_route(timeouts)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(text: &str) -> Vec<String> {
        Config::parse(text).expect_err("mistaken").iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_documented_file_equals_the_defaults() {
        let documented = include_str!("../../../../gateway.toml");
        assert_eq!(Config::parse(documented), Ok(Config::default()));
        assert_eq!(Config::parse(""), Ok(Config::default()));
    }

    #[test]
    fn the_examples_are_valid() {
        let example = include_str!("../../../../examples/go-backend.toml");
        let config = Config::parse(example).expect("valid");
        let table = config.route_table().expect("a table");
        let detect = table.find(&http::Method::POST, "/api/v1/anomalies/detect").expect("a route");
        let rewrite = detect.rewrite.as_ref().expect("it is rewritten");
        assert_eq!(rewrite.apply("/api/v1/anomalies/detect"), "/v1/detect");
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let found = mistakes("[limits]\naddress_requests_per_minut = 3\n");
        assert!(found[0].starts_with("line 2"), "{found:?}");
        assert!(found[0].contains("address_requests_per_minut"), "{found:?}");
        assert!(found[0].contains("address_requests_per_minute"), "names what is right: {found:?}");
    }

    #[test]
    fn impossible_limits_are_refused() {
        let zero = mistakes("[limits]\naddress_requests_per_minute = 0\n");
        assert!(zero[0].contains("line 2"), "{zero:?}");
        let negative = mistakes("[limits]\naddress_requests_per_minute = -1\n");
        assert!(negative[0].contains("line 2"), "{negative:?}");
        let overflow = mistakes("[limits]\naddress_requests_per_minute = 99999999999\n");
        assert!(overflow[0].contains("line 2"), "{overflow:?}");
    }

    #[test]
    fn a_budget_has_room_for_a_body_of_the_greatest_size() {
        for name in ["buffered_bytes_max", "isolate_buffered_bytes_max"] {
            let small = mistakes(&format!("[limits]\n{name} = 1048576\n"));
            assert!(small[0].contains("line 2") && small[0].contains("4194304"), "{small:?}");
            assert_eq!(Config::parse(&format!("[limits]\n{name} = 4194304\n")).map(drop), Ok(()));
        }
        let great = mistakes("[limits]\nisolate_buffered_bytes_max = 134217728\n");
        assert!(great[0].contains("100663296"), "an isolate has no more: {great:?}");
    }

    #[test]
    fn all_mistakes_are_reported_together() {
        let text = "[metering]\ndefault_plan = \"gold\"\n\n[plans.tiny]\nbase_micros = 0\n\
                    included = 1\npolicy = \"allow\"\ncap_percent = 90\nrequests_per_minute = 0\n\
                    needs_subscription = false\n";
        let found = mistakes(text);
        assert!(found.iter().any(|m| m.contains("line 2") && m.contains("gold")), "{found:?}");
        assert!(found.iter().any(|m| m.contains("requests_per_minute")), "{found:?}");
        assert!(found.iter().any(|m| m.contains("overage_micros")), "{found:?}");
    }

    #[test]
    fn headers_that_delimit_a_message_cannot_be_configured() {
        for table in ["backend", "responses"] {
            for name in ["content-length", "Transfer-Encoding", "connection"] {
                let found = mistakes(&format!("[{table}.headers]\n{name} = \"1\"\n"));
                assert!(found[0].contains(name) && found[0].contains("line 2"), "{found:?}");
            }
            let text = format!("[{table}.headers]\nx-content-length = \"1\"\n");
            assert!(Config::parse(&text).is_ok(), "{text}");
        }
    }

    #[test]
    fn lists_of_header_names_accept_nothing_else() {
        for list in ["[filter]\nuntrusted_headers", "[idempotency]\nignored_headers"] {
            let found = mistakes(&format!("{list} = [\"x-*\", \"*\", \"a b\"]\n"));
            assert_eq!(found.len(), 2, "{found:?}");
            assert!(found[0].contains("line 2") && found[0].contains("`*`"), "{found:?}");
            assert!(found[1].contains("`a b`"), "{found:?}");
        }
        let needed = mistakes("[filter]\nuntrusted_headers = [\"content-*\"]\n");
        assert!(needed[0].contains("`content-*`") && needed[0].contains("content-type"));
    }

    #[test]
    fn conflicting_routes_are_refused() {
        let text = "[[routes]]\nmethod = \"GET\"\npath = \"/api/a/{x}\"\n\n\
                    [[routes]]\nmethod = \"GET\"\npath = \"/api/a/{y}\"\n";
        assert!(mistakes(text)[0].contains("/api/a/{y}"), "{:?}", mistakes(text));
    }
}
