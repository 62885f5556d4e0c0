//! Large bodies in both directions: the gateway's memory does not grow with their size.

use std::fs;
use std::io::{Read, Write};

use driftlock_e2e::admin::LIST;

use crate::client::{Client, request};
use crate::support::script::{End, Script};
use crate::with;

/// `DRIFTLOCK_LARGE_MIB` sets a larger size.
const MIB: u64 = 40;
/// What a gateway may grow by while a body passes, in KiB.
const GROWTH_MAX: u64 = 16 << 10;
const ROUTE: &str = "[[routes]]\nmethod = \"POST\"\npath = \"/api/large\"\n\
                     body_bytes_max = 1099511627776\n\n\
                     [[routes]]\nmethod = \"GET\"\npath = \"/api/v1/anomalies\"\n\
                     scope = \"anomalies:read\"\n";

fn size() -> u64 {
    let asked = std::env::var("DRIFTLOCK_LARGE_MIB").ok();
    asked.map_or(MIB, |text| text.parse().expect("DRIFTLOCK_LARGE_MIB is a number")) << 20
}

/// Resident memory, in KiB: its peak since it was last reset.
fn peak(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux");
    line.trim().trim_end_matches(" kB").parse().expect("KiB")
}

fn reset_peak(process: u32) {
    fs::write(format!("/proc/{process}/clear_refs"), "5").expect("it is ours");
}

#[test]
fn a_large_upload_passes_with_flat_memory() {
    with(ROUTE, |gateway, backend, key, _| {
        let size = size();
        reset_peak(gateway.process_id());
        let before = peak(gateway.process_id());
        let mut client = Client::connect(gateway);
        client.write(&request(key, "POST /api/large", &format!("Content-Length: {size}\r\n\r\n")));
        let piece = vec![b'x'; 1 << 20];
        for _ in 0..size >> 20 {
            client.0.write_all(&piece).expect("it reads");
        }
        let head = client.head();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert_eq!(backend.take().pop().map(|seen| seen.body_bytes), Some(size));
        print_memory("upload", size, before, peak(gateway.process_id()));
    });
}

#[test]
fn a_large_answer_passes_with_flat_memory() {
    with(ROUTE, |gateway, backend, key, _| {
        let size = size();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n");
        let mut script = Script::text(&head, End::Keep);
        script.repeated = (size >> 20, 1 << 20);
        backend.say(script);
        reset_peak(gateway.process_id());
        let before = peak(gateway.process_id());
        let mut client = Client::connect(gateway);
        client.write(&request(key, &format!("GET {LIST}"), "\r\n"));
        client.head();
        let mut body = client.0.take(size);
        let read = std::io::copy(&mut body, &mut std::io::sink()).expect("the whole of it");
        assert_eq!(read, size);
        print_memory("answer", size, before, peak(gateway.process_id()));
    });
}

fn print_memory(what: &str, size: u64, before: u64, after: u64) {
    let grown = after.saturating_sub(before);
    assert!(grown < GROWTH_MAX, "the gateway grew by {grown} KiB");
    eprintln!("{what} of {} MiB: {before} KiB before, {after} KiB at its peak", size >> 20);
}
