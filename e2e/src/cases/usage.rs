//! The usage report: the sums are the same in every grouping (I7).

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::admin::{ANALYZE, DETECT, Organization, two_lines};
use crate::target::Target;

pub(super) fn every_grouping_sums_up_to_the_units(target: &Target) {
    let organization = Organization::new(target);
    let (one, two) = (organization.key(), organization.key());
    for _ in 0..3 {
        one.detect().expect(200);
    }
    two.detect().expect(200);
    two.call("POST", ANALYZE).json(&two_lines()).send().expect(200);
    for grouping in ["hour", "day", "key", "route"] {
        let usage = grouped(&organization, grouping);
        assert_eq!(usage["units"], 5, "{grouping}: {usage}");
        assert_eq!(sums(&usage), (5, 5), "{grouping}: {usage}");
    }
    let by = |grouping: &str, name: &str| by_name(&grouped(&organization, grouping), name);
    let keys = BTreeMap::from([(one.id.clone(), 3), (two.id.clone(), 2)]);
    assert_eq!(by("key", "key_id"), keys);
    let routes = BTreeMap::from([(format!("POST {DETECT}"), 4), (format!("POST {ANALYZE}"), 1)]);
    assert_eq!(by("route", "route"), routes);
}

pub(super) fn buckets_start_at_whole_hours_and_days_within_the_period(target: &Target) {
    let organization = Organization::new(target);
    organization.key().detect().expect(200);
    for (grouping, end) in [("hour", ":00:00Z"), ("day", "T00:00:00Z")] {
        let usage = grouped(&organization, grouping);
        let (start, stop) = (&usage["period"]["start"], &usage["period"]["end"]);
        for bucket in usage["buckets"].as_array().expect("buckets") {
            let begins = bucket["start"].as_str().expect("a start");
            assert!(begins.ends_with(end), "{grouping}: {begins}");
            // RFC 3339 texts of one form sort by time.
            assert!(Some(begins) >= start.as_str() && Some(begins) < stop.as_str(), "{usage}");
        }
    }
}

pub(super) fn a_fresh_organization_has_used_nothing(target: &Target) {
    let usage = Organization::new(target).usage();
    let (units, overage) = (&usage["units"], &usage["overage_units"]);
    assert_eq!((units, overage, &usage["buckets"]), (&json!(0), &json!(0), &json!([])));
    let period = &usage["period"];
    for edge in ["start", "end"] {
        let text = period[edge].as_str().unwrap_or_default();
        assert!(text.ends_with("-01T00:00:00Z"), "the calendar month, not {period}");
    }
}

pub(super) fn an_unknown_grouping_is_400(target: &Target) {
    let refused = Organization::new(target).admin("GET", "/usage?group_by=colour").send();
    assert!(refused.expect(400).text().contains("group_by"), "{}", refused.text());
}

fn grouped(organization: &Organization<'_>, grouping: &str) -> Value {
    organization.admin("GET", &format!("/usage?group_by={grouping}")).send().expect(200).json()
}

fn sums(usage: &Value) -> (u64, u64) {
    let buckets = usage["buckets"].as_array().expect("buckets");
    let sum = |name: &str| buckets.iter().filter_map(|bucket| bucket[name].as_u64()).sum();
    (sum("units"), sum("requests"))
}

fn by_name(usage: &Value, name: &str) -> BTreeMap<String, u64> {
    let buckets = usage["buckets"].as_array().expect("buckets");
    let row = |bucket: &Value| Some((bucket[name].as_str()?.to_owned(), bucket["units"].as_u64()?));
    buckets.iter().filter_map(row).collect()
}
