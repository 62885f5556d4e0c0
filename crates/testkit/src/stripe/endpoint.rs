//! A webhook endpoint. Each attempt at a delivery has its own connection, which may break at any
//! point.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use driftlock_domain::stripe::sample::ApiShape;
use driftlock_domain::stripe::signature::sign_with;
use driftlock_domain::time::Timestamp;
use serde_json::Value;

use super::Fate;

/// How long the double waits for an answer, like Stripe.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The beginning of a status line.
const VERSION: &[u8] = b"HTTP/1.1 ";

/// An endpoint to which events are delivered.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Host and port.
    pub address: String,
    /// The path.
    pub path: String,
    /// The secrets that sign deliveries: several during a rotation.
    pub secrets: Vec<String>,
    /// The API version of its events.
    pub api_version: ApiShape,
}

impl Endpoint {
    /// Makes one attempt, signed at `now`; returns the status of the answer, if one came back.
    pub(super) fn attempt(&self, event: &Value, now: Timestamp, fate: Fate) -> Option<u16> {
        let body = event.to_string();
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\
             User-Agent: Stripe/1.0 (+https://stripe.com/docs/webhooks)\r\n\
             Content-Type: application/json; charset=utf-8\r\nStripe-Signature: {}\r\n\
             Content-Length: {}\r\n\r\n",
            self.path,
            self.address,
            sign_with(&self.secrets, now.secs(), body.as_bytes()),
            body.len(),
        );
        let whole = head + &body;
        let answered = || self.send(&whole).and_then(read);
        // An attempt that fails has no answer.
        match fate {
            Fate::Answered => answered().ok(),
            Fate::Doubled => thread::scope(|scope| {
                let other = scope.spawn(answered);
                let (one, other) = (answered().ok()?, other.join().ok()?.ok()?);
                Some(one.max(other))
            }),
            Fate::AnswerLost => {
                let _ = answered();
                None
            }
            Fate::HungUp => {
                let _ = self.send(&whole);
                None
            }
            Fate::CutShort => {
                let _ = self.send(&whole[..whole.len() - body.len() / 2 - 1]);
                None
            }
            Fate::Lost => None,
        }
    }

    fn send(&self, text: &str) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        stream.write_all(text.as_bytes())?;
        Ok(stream)
    }
}

/// Reads the status. It counts once the head has arrived, whatever happens to the rest.
fn read(mut stream: TcpStream) -> io::Result<u16> {
    let mut line = [0; VERSION.len() + 3];
    stream.read_exact(&mut line)?;
    let digits = line.strip_prefix(VERSION).and_then(|digits| str::from_utf8(digits).ok());
    digits.and_then(|digits| digits.parse().ok()).ok_or_else(|| io::Error::other("no status line"))
}
