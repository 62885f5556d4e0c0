//! A client of the metered route with a persistent connection, which returns only outcomes.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Bound of one answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// The outcome of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It succeeded with this receipt.
    Success(String),
    /// The quota is used up.
    Exceeded,
    /// Units are held elsewhere.
    Held,
    /// Another answer, with its `Retry-After` in seconds.
    Refused(u16, Option<u64>),
    /// The gateway is gone; the request may be charged.
    Gone,
}

/// See the module.
pub(crate) struct Client {
    listen: String,
    request: String,
    connection: Option<BufReader<TcpStream>>,
}

struct Answer {
    status: u16,
    receipt: Option<String>,
    retry_after: Option<u64>,
    body: String,
}

impl Client {
    pub(crate) fn new(listen: &str, key: &str) -> Self {
        let body = r#"{"data":["a","b"]}"#;
        let request = format!(
            "POST /api/v1/anomalies/detect HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        Self { listen: listen.to_owned(), request, connection: None }
    }

    /// The same with a free route.
    pub(crate) fn free(listen: &str, key: &str) -> Self {
        let request = format!(
            "GET /api/v1/anomalies HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\r\n"
        );
        Self { listen: listen.to_owned(), request, connection: None }
    }

    /// Sends the request, and reads the answer.
    pub(crate) fn send(&mut self) -> Outcome {
        match self.exchange() {
            Ok(Answer { status: 200, receipt, .. }) => {
                Outcome::Success(receipt.unwrap_or_default())
            }
            Ok(Answer { status: 429, body, .. }) if body.contains("quota-exceeded") => {
                Outcome::Exceeded
            }
            Ok(Answer { status: 429, body, .. }) if body.contains("quota-held") => Outcome::Held,
            Ok(Answer { status, retry_after, .. }) => Outcome::Refused(status, retry_after),
            Err(_) => {
                self.connection = None;
                Outcome::Gone
            }
        }
    }

    fn exchange(&mut self) -> io::Result<Answer> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            None => {
                let stream = TcpStream::connect(&self.listen)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                self.connection.insert(BufReader::new(stream))
            }
        };
        connection.get_mut().write_all(self.request.as_bytes())?;
        let answer = read(connection)?;
        if answer.status >= 500 {
            self.connection = None;
        }
        Ok(answer)
    }
}

fn read(reader: &mut impl BufRead) -> io::Result<Answer> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or(io::ErrorKind::UnexpectedEof)?;
    let mut answer = Answer { status, receipt: None, retry_after: None, body: String::new() };
    let mut length = 0;
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().map_err(io::Error::other)?,
            "x-usage-receipt" => answer.receipt = Some(value.to_owned()),
            "retry-after" => answer.retry_after = value.parse().ok(),
            _ => {}
        }
    }
    reader.take(length).read_to_string(&mut answer.body)?;
    Ok(answer)
}
