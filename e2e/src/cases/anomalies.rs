//! The backend's work through the gateway: finding, resolving and streaming anomalies.

use std::io::{BufRead, BufReader};

use serde_json::{Value, json};

use crate::admin::{DETECT, Organization};
use crate::target::{Target, headers};

/// A log with a burst of foreign lines in it, and settings under which that is an anomaly.
pub(super) fn burst(stream: &str) -> Value {
    let usual = |index: u32| {
        let paths = ["orders", "users", "invoices", "health"];
        let path = paths[index as usize % paths.len()];
        format!("INFO GET /v1/{path}/{index} served in {} ms by worker {}", index % 37, index % 4)
    };
    let foreign = |index: u32| {
        let words = ["segfault", "corrupted stack", "page fault", "oops", "tainted module"];
        let word = words[index as usize % words.len()];
        format!(
            "kernel: [{index}.0{index}] BUG {word} ip {:016x} sp error in libcrypto",
            index * 7919
        )
    };
    let events = (0..300).map(usual).chain((0..40).map(foreign)).chain((300..340).map(usual));
    json!({"stream_id": stream, "events": events.collect::<Vec<_>>(), "config_override": {
        "baseline_size": 200, "window_size": 40, "hop_size": 10,
    }})
}

/// The ids in a detection's answer, or in a list.
pub(super) fn anomaly_ids(answer: &Value) -> Vec<String> {
    let anomalies = answer["anomalies"].as_array().expect("an answer has anomalies");
    let id = |anomaly: &Value| anomaly["id"].as_str().map(str::to_owned);
    anomalies.iter().filter_map(id).collect()
}

pub(super) fn an_anomaly_is_found_listed_and_resolved(target: &Target) {
    let organization = Organization::new(target);
    let key = organization.key();
    let found = key.call("POST", DETECT).json(&burst("resolve")).send().expect(200).json();
    assert_eq!(found["total_events"], 380, "{found}");
    let ids = anomaly_ids(&found);
    let id = ids.first().expect("the burst is an anomaly");
    let path = format!("/api/v1/anomalies/{id}");
    let one = key.get(&path).free().expect(200).json();
    assert_eq!((&one["id"], &one["resolved"]), (&json!(id), &json!(false)), "{one}");
    let call = key.call("PUT", &format!("{path}/resolve"));
    let resolved = call.json(&json!({"resolution_notes": "a test"})).send();
    assert_eq!(resolved.free().expect(200).json()["resolved"], true);
    let active = key.get("/api/v1/anomalies?status=active").expect(200).json();
    assert!(!anomaly_ids(&active).contains(id), "it is resolved");
    assert_eq!(organization.units(), 1);
}

/// An event reaches the client while the stream is open: nothing on the way waits for its end.
pub(super) fn a_stream_delivers_an_anomaly(target: &Target) {
    let organization = Organization::new(target);
    let key = organization.key();
    let stream = key.call("GET", "/api/v1/stream/anomalies").open();
    assert_eq!(stream.status(), 200);
    let head = headers(&stream);
    let value = |name: &str| head.iter().find(|(found, _)| found == name).map(|(_, value)| value);
    let content_type = value("content-type").expect("a stream has a content type");
    assert!(content_type.starts_with("text/event-stream"), "{content_type}");
    assert!(value("x-request-id").is_some() && value("x-usage-receipt").is_none(), "{head:?}");

    let found = key.call("POST", DETECT).json(&burst("stream")).send().expect(200).json();
    let ids = anomaly_ids(&found);
    assert!(!ids.is_empty(), "the burst is an anomaly");
    let lines = BufReader::new(stream.into_body().into_reader()).lines();
    let mut data = lines
        .map(|line| line.expect("the stream goes on"))
        .filter_map(|line| line.strip_prefix("data:").map(|data| data.trim().to_owned()));
    let delivered = data.find(|data| ids.iter().any(|id| data.contains(id.as_str())));
    let event: Value = delivered
        .and_then(|data| serde_json::from_str(&data).ok())
        .expect("the anomaly arrives, as JSON");
    assert!(event.is_object(), "{event}");
}
