//! The same requests through nginx and HAProxy as reverse proxies with ordinary configuration,
//! compared with the gateway. The test target runs only by name, since it needs both: `cargo xtask
//! cases`.

#[path = "../support"]
mod support {
    #[expect(dead_code, reason = "this test neither limits files nor starts stores in vain")]
    pub(crate) mod gateway;
    pub(crate) mod process;
    pub(crate) mod recorder;
}
#[expect(dead_code, reason = "the table is printed here, not judged")]
mod table;
#[expect(dead_code, reason = "no case here trickles")]
mod wire;

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use driftlock_e2e::admin::Organization;
use driftlock_e2e::poll::eventually;
use serde_json::json;

use support::gateway::Gateway;
use support::process::free_address;
use support::recorder::Recorder;
use table::cases;
use wire::{Outcome, send};

/// A proxy that stops with the test.
struct Peer {
    process: Child,
    address: String,
    recorder: Recorder,
    _folder: tempfile::TempDir,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "the table is what this is run for")]
fn every_case_beside_nginx_and_haproxy() {
    let (nginx, haproxy) = (nginx(), haproxy());
    let recorder = Recorder::start();
    let config = "[timeouts]\nclient_head_ms = 1000\nbody_idle_ms = 1000\n";
    let gateway = Gateway::start(config, &format!("http://{}", recorder.address));
    let target = gateway.target();
    let organization = Organization::with(&target, json!({"quota": {"included": 1_000}}));
    let key = organization.key_with(json!({"scopes": ["*"], "requests_per_minute": 10_000}));
    println!("| case | gateway | nginx | HAProxy |\n|---|---|---|---|");
    for case in cases() {
        let ours = send(gateway.address(), &recorder, &case, &key.secret);
        let others = [&nginx, &haproxy]
            .map(|peer| shown(&send(&peer.address, &peer.recorder, &case, &key.secret)));
        println!("| {} | {} | {} | {} |", case.name, shown(&ours), others[0], others[1]);
    }
}

fn shown(outcome: &Outcome) -> String {
    let status = outcome.status.map_or("closed".to_owned(), |status| status.to_string());
    let forwarded = match &outcome.requests[..] {
        [] => String::new(),
        [one] => {
            let target = one.split(' ').nth(1).unwrap_or_default();
            format!(", forwarded `{}`", target.chars().take(40).collect::<String>())
        }
        more => format!(", **{} requests forwarded**", more.len()),
    };
    format!("{status}{forwarded}{}", if outcome.closed { "" } else { ", kept open" })
}

fn nginx() -> Peer {
    peer("nginx", |address, recorder, folder| {
        let config = format!(
            "daemon off; master_process off; pid {0}/pid; error_log /dev/null;\n\
             events {{}}\n\
             http {{ access_log off; client_body_temp_path {0}; proxy_temp_path {0};\n\
             fastcgi_temp_path {0}; uwsgi_temp_path {0}; scgi_temp_path {0};\n\
             client_max_body_size 10m;\n\
             server {{ listen {address}; location / {{ proxy_pass http://{recorder};\n\
             proxy_http_version 1.1; proxy_set_header Connection \"\"; }} }} }}\n",
            folder.display()
        );
        let file = folder.join("nginx.conf");
        fs::write(&file, config).expect("written");
        let mut command = Command::new("nginx");
        command.arg("-p").arg(folder).arg("-c").arg(file);
        command
    })
}

fn haproxy() -> Peer {
    peer("haproxy", |address, recorder, folder| {
        let config = format!(
            "defaults\n mode http\n timeout connect 2s\n timeout client 2s\n timeout server 5s\n\
             frontend f\n bind {address}\n default_backend b\n\
             backend b\n server s {recorder}\n"
        );
        let file = folder.join("haproxy.cfg");
        fs::write(&file, config).expect("written");
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(file);
        command
    })
}

fn peer(name: &str, command: impl FnOnce(&str, &str, &Path) -> Command) -> Peer {
    let folder = tempfile::tempdir().expect("a folder");
    let (address, recorder) = (free_address(), Recorder::start());
    let mut command = command(&address, &recorder.address, folder.path());
    let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let process = process.unwrap_or_else(|_| panic!("{name} is missing: apt-get install {name}"));
    eventually("the proxy listens", || TcpStream::connect(&address).ok());
    Peer { process, address, recorder, _folder: folder }
}
