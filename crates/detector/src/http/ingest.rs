//! `POST /api/v1/events/ingest`: takes events of a stream and examines each full window.
//!
//! Each stream keeps its latest events, as many as a baseline and a window need. Once a stream has
//! a whole window of new events, they are examined. Anomalies go to the list and to the event
//! stream. The number of streams and of their events is bounded; the stream that got no events for
//! the longest time is dropped first.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::detect::{parse, run};
use super::error::Failure;
use super::{Context, organization};
use crate::event::Event;
use crate::settings::Settings;

/// The most streams that are kept.
const STREAMS_MAX: usize = 256;

/// The latest events of each stream.
#[derive(Default)]
pub(super) struct Streams(Mutex<Known>);

#[derive(Default)]
struct Known {
    streams: HashMap<(String, String), Stream>,
    clock: u64,
}

#[derive(Default)]
struct Stream {
    events: VecDeque<Event>,
    fresh: usize,
    used: u64,
}

pub(super) async fn ingest(
    State(context): State<Context>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<Value>), Failure> {
    let body = body.map_err(|error| Failure::TooLarge(error.body_text()))?;
    let input = parse(&headers, &body)?;
    let organization = organization(&headers);
    let stream = input.stream_id.unwrap_or_else(|| "default".to_owned());
    let accepted = input.events.len();
    let settings = input.settings;
    let place = (organization.clone(), stream.clone());
    let due = context.streams.add(place, input.events, &settings);
    let mut found = Value::from(0);
    if let Some(events) = due {
        let outcome = run(&context, organization, stream.clone(), events, settings).await?;
        found = outcome["anomaly_count"].clone();
    }
    let body = json!({ "accepted": accepted, "stream_id": stream, "anomaly_count": found });
    Ok((StatusCode::ACCEPTED, Json(body)))
}

impl Streams {
    /// Adds events. Returns the events to examine once there is a whole window of new ones.
    fn add(
        &self,
        place: (String, String),
        events: Vec<Event>,
        settings: &Settings,
    ) -> Option<Vec<Event>> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.clock += 1;
        let clock = state.clock;
        if !state.streams.contains_key(&place) && state.streams.len() >= STREAMS_MAX {
            let quietest = state.streams.iter().min_by_key(|(_, stream)| stream.used);
            if let Some(quietest) = quietest.map(|(place, _)| place.clone()) {
                state.streams.remove(&quietest);
            }
        }
        let stream = state.streams.entry(place).or_default();
        stream.used = clock;
        stream.fresh += events.len();
        stream.events.extend(events);
        if stream.fresh < settings.window {
            return None;
        }
        // All new events, and a baseline before them.
        let looked_at = (stream.fresh + settings.baseline).min(stream.events.len());
        let due = stream.events.range(stream.events.len() - looked_at..).cloned().collect();
        let kept = settings.baseline + settings.window;
        let surplus = stream.events.len().saturating_sub(kept);
        stream.events.drain(..surplus);
        stream.fresh = 0;
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(count: usize) -> Vec<Event> {
        (0..count).map(|n| Event::from_line(&format!("line {n}"))).collect()
    }

    #[test]
    fn a_whole_window_is_due_and_memory_is_bounded() {
        let (streams, settings) = (Streams::default(), Settings::default());
        let place = || ("a".to_owned(), "s".to_owned());
        assert!(streams.add(place(), lines(49), &settings).is_none());
        assert_eq!(streams.add(place(), lines(1), &settings).map(|due| due.len()), Some(50));
        for _ in 0..100 {
            streams.add(place(), lines(60), &settings);
        }
        let state = streams.0.lock().expect("sound");
        assert!(state.streams[&place()].events.len() <= 450);
    }

    #[test]
    fn streams_are_bounded() {
        let (streams, settings) = (Streams::default(), Settings::default());
        for n in 0..1_000 {
            streams.add(("a".to_owned(), n.to_string()), lines(1), &settings);
        }
        assert_eq!(streams.0.lock().expect("sound").streams.len(), STREAMS_MAX);
    }
}
