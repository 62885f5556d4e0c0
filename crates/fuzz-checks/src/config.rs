//! `gateway.toml`: accepted or refused with an existing line, and unchanged by a round trip.

use driftlock_domain::address::Networks;
use driftlock_domain::config::Config;
use driftlock_domain::cors::Cors;

/// # Panics
/// If a mistake's line is not in the file, or a round trip changes an accepted configuration.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let config = match Config::parse(text) {
        Ok(config) => config,
        Err(mistakes) => {
            assert!(!mistakes.is_empty(), "refused without a reason");
            let lines = text.split('\n').count();
            for mistake in mistakes {
                assert!(!mistake.message.is_empty());
                assert!(mistake.line.is_none_or(|line| (1..=lines).contains(&line)), "{mistake:?}");
            }
            return;
        }
    };
    consistent(&config);
    let written = toml::to_string(&config).expect("what came from TOML can be written as TOML");
    assert_eq!(Config::parse(&written).as_ref(), Ok(&config), "{written}");
    let shown = serde_json::to_value(&config).expect("it can be shown");
    let again: Config = serde_json::from_value(shown).expect("what is shown is a configuration");
    assert_eq!(again, config);
}

/// What hosts rely on once a configuration is accepted.
fn consistent(config: &Config) {
    let table = config.route_table().expect("accepted, it makes a table of routes");
    assert_eq!(table.iter().count(), config.routes.len());
    for route in &config.routes {
        let made = route.to_route(&config.timeouts);
        assert_eq!(made.method.as_str(), route.method);
        assert_eq!(made.rewrite.is_some(), route.rewrite.is_some(), "{route:?}");
    }
    assert!(config.plan(&config.metering.default_plan).is_some());
    let resolved = config.backend.resolved_headers(|_| Some("hunter2hunter2".to_owned()));
    assert!(!format!("{resolved:?}").contains("hunter2"), "a header's value is printed");
    let _ = Networks::new(&config.filter.denied_addresses);
    let _ = Cors::new(&config.cors);
}
