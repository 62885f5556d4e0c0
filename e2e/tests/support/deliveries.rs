//! Signed deliveries made by `driftlock stripe trigger`, captured instead of delivered.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;

use super::process::build;

/// One delivery.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    pub(crate) signature: String,
    pub(crate) body: String,
}

/// The server that captures them.
pub(crate) struct Catcher {
    url: String,
    secret: String,
    caught: Caught,
}

type Caught = Arc<Mutex<Vec<Delivery>>>;

impl Catcher {
    pub(crate) fn start(secret: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let caught = Caught::default();
        let all = Arc::clone(&caught);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // One sender at a time keeps the order.
                let _ = answer(stream, &all);
            }
        });
        Self { url, secret: secret.to_owned(), caught }
    }

    /// The deliveries of `driftlock stripe trigger` with these arguments, in order.
    pub(crate) fn catch(&self, organization: &str, words: &[&str]) -> Vec<Delivery> {
        let output = Command::new(build_once())
            .args(["stripe", "trigger", "--json", "--organization", organization])
            .args(["--url", &self.url])
            .args(words)
            .env("ENV_STRIPE_WEBHOOK_SECRET", &self.secret)
            .output()
            .expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        std::mem::take(&mut *self.caught.lock().expect("no panic holds it"))
    }
}

impl Delivery {
    pub(crate) fn id(&self) -> String {
        let event: Value = serde_json::from_str(&self.body).expect("JSON");
        event["id"].as_str().expect("an id").to_owned()
    }
}

/// The binary, built once in this process.
fn build_once() -> &'static std::path::Path {
    static BINARY: std::sync::OnceLock<std::path::PathBuf> = std::sync::OnceLock::new();
    BINARY.get_or_init(build)
}

fn answer(stream: TcpStream, caught: &Caught) -> io::Result<()> {
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    loop {
        let (mut signature, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let Some((name, value)) = line.trim_end().split_once(": ") else {
                if line.trim_end().is_empty() {
                    break;
                }
                continue;
            };
            match name.to_ascii_lowercase().as_str() {
                "stripe-signature" => value.clone_into(&mut signature),
                "content-length" => length = value.parse().map_err(io::Error::other)?,
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let body = String::from_utf8(body).map_err(io::Error::other)?;
        caught.lock().expect("no panic holds it").push(Delivery { signature, body });
        writer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")?;
    }
}
