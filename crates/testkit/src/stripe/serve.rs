//! The double on a socket of this machine.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;
use http::Request;
use tiny_http::{Header, Method, Response, Server};

use super::StripeDouble;

/// A double that listens until this is dropped.
pub struct Served {
    /// Where.
    pub address: SocketAddr,
    server: Arc<Server>,
    thread: Option<JoinHandle<()>>,
}

/// Puts a double on a free port of this machine.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn serve(double: StripeDouble) -> Served {
    let server = Arc::new(Server::http("127.0.0.1:0").expect("a free port"));
    let address = server.server_addr().to_ip().expect("an IP address");
    let listening = Arc::clone(&server);
    let thread = std::thread::spawn(move || {
        for request in listening.incoming_requests() {
            respond(&double, request);
        }
    });
    Served { address, server, thread: Some(thread) }
}

fn respond(double: &StripeDouble, mut request: tiny_http::Request) {
    let mut body = Vec::new();
    if request.as_reader().read_to_end(&mut body).is_err() {
        return;
    }
    let method = if *request.method() == Method::Get { "GET" } else { "POST" };
    let mut asked = Request::builder().method(method).uri(request.url());
    for header in request.headers() {
        asked = asked.header(header.field.as_str().as_str(), header.value.as_str());
    }
    let asked = asked.body(Bytes::from(body)).expect("what came over HTTP is a request");
    // Dropped unanswered, the server says 500: as good as a broken connection.
    let Some(answer) = double.answer(&asked) else { return };
    let mut response =
        Response::from_data(answer.body().to_vec()).with_status_code(answer.status().as_u16());
    for (name, value) in answer.headers() {
        if let Ok(header) = Header::from_bytes(name.as_str(), value.as_bytes()) {
            response.add_header(header);
        }
    }
    // The one who asked may have gone away meanwhile.
    let _ = request.respond(response);
}

impl Drop for Served {
    fn drop(&mut self) {
        self.server.unblock();
        if let Some(thread) = self.thread.take() {
            // One that panicked has failed its test already.
            let _ = thread.join();
        }
    }
}
