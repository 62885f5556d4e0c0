//! `gateway.toml`: read or refused with a line that the file has, and the same after a round trip.

use driftlock_domain::config::Config;

/// # Panics
/// If a mistake lies outside the file, or an accepted configuration does not survive.
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
    assert!(config.route_table().is_ok(), "accepted, it makes a table of routes");
    let shown = serde_json::to_value(&config).unwrap_or_else(|error| panic!("not shown: {error}"));
    let again: Config = serde_json::from_value(shown)
        .unwrap_or_else(|error| panic!("what is shown is no configuration: {error}"));
    assert_eq!(again, config);
}
