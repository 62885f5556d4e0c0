//! A gateway's metrics.

use std::io::{Read, Write};
use std::net::TcpStream;

/// `/metrics`, at the address that the gateway's log names last.
pub(crate) fn metrics(log: &str) -> String {
    let line =
        log.lines().rfind(|line| line.contains("admin listener")).expect("the address is logged");
    let port = line.rsplit("127.0.0.1:").next().expect("an address");
    let port: String = port.chars().take_while(char::is_ascii_digit).collect();
    let mut stream = TcpStream::connect(format!("127.0.0.1:{port}")).expect("it listens");
    let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("text");
    answer
}
