//! A client that writes raw bytes.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use driftlock_e2e::admin::Key;

use crate::support::gateway::Gateway;

const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Client(pub(crate) TcpStream);

impl Client {
    pub(crate) fn connect(gateway: &Gateway) -> Self {
        let stream = TcpStream::connect(gateway.address()).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Self(stream)
    }

    pub(crate) fn write(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).expect("it reads");
    }

    /// Up to the end of a head.
    pub(crate) fn head(&mut self) -> String {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            self.0.read_exact(&mut byte).unwrap_or_else(|error| {
                panic!("{error} after {:?}", String::from_utf8_lossy(&head));
            });
            head.push(byte[0]);
        }
        String::from_utf8(head).expect("text")
    }

    pub(crate) fn exactly(&mut self, bytes: usize) -> String {
        let mut body = vec![0; bytes];
        self.0.read_exact(&mut body).expect("as much as was announced");
        String::from_utf8(body).expect("text")
    }

    /// Up to the end of the connection.
    pub(crate) fn rest(mut self) -> String {
        let mut rest = Vec::new();
        // A reset ends the connection, too.
        let _ = self.0.read_to_end(&mut rest);
        String::from_utf8_lossy(&rest).into_owned()
    }
}

/// A request head with a key, without the empty line at its end.
pub(crate) fn request(key: &Key<'_>, line: &str, headers: &str) -> String {
    format!(
        "{line} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\n{headers}",
        key.secret
    )
}
