//! An HTTP/1.1 server for doubles of other services.
//!
//! Each accepted connection has its own thread, so that connections do not wait for each other: a
//! client may open several connections at once and keep them open.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

/// A server that listens until this is dropped. Then its connections end, too.
#[derive(Debug)]
pub(crate) struct Serving {
    address: SocketAddr,
    open: Arc<Open>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Open {
    stops: AtomicBool,
    connections: Mutex<Vec<TcpStream>>,
}

impl Serving {
    /// Listens on a free port of this machine.
    ///
    /// # Panics
    /// When there is no free port.
    pub(crate) fn start(
        answer: impl Fn(Request<Bytes>) -> Response<Bytes> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (open, answer) = (Arc::<Open>::default(), Arc::new(answer));
        let accepting = Arc::clone(&open);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if accepting.stops.load(Ordering::Acquire) {
                    return;
                }
                let answer = Arc::clone(&answer);
                if let Ok(handle) = stream.try_clone() {
                    accepting.connections().push(handle);
                }
                // The client notices errors of its connection.
                std::thread::spawn(move || connection(stream, &*answer));
            }
        });
        Self { address, open, thread: Some(thread) }
    }

    /// The address that it listens on.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Open {
    fn connections(&self) -> std::sync::MutexGuard<'_, Vec<TcpStream>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.open.stops.store(true, Ordering::Release);
        // A connection wakes the accepting thread.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has failed its test already.
            let _ = thread.join();
        }
        for connection in self.open.connections().drain(..) {
            // The connection may have ended already.
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

fn connection(
    stream: TcpStream,
    answer: &(impl Fn(Request<Bytes>) -> Response<Bytes> + Send + Sync),
) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let stream = TokioIo::new(tokio::net::TcpStream::from_std(stream)?);
        let service = service_fn(async |request: Request<Incoming>| {
            let (head, body) = request.into_parts();
            let answered = match body.collect().await {
                // Blocking is fine on the connection's own thread.
                Ok(body) => answer(Request::from_parts(head, body.to_bytes())),
                Err(_) => status(400),
            };
            Ok::<_, Infallible>(answered.map(Full::new))
        });
        http1::Builder::new().serve_connection(stream, service).await.map_err(io::Error::other)
    })
}

/// An answer without a body.
pub(crate) fn status(code: u16) -> Response<Bytes> {
    let mut answer = Response::new(Bytes::new());
    *answer.status_mut() = http::StatusCode::from_u16(code).expect("a status");
    answer
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::time::Duration;

    use super::*;

    /// More than a server that hands connections to idle threads has of these.
    const AT_ONCE: usize = 64;

    #[test]
    fn connections_that_are_opened_at_once_and_kept_are_all_served() {
        let serving = Serving::start(|request| Response::new(request.into_body()));
        let open = |_| TcpStream::connect(serving.address()).expect("it listens");
        for _ in 0..8 {
            let mut kept: Vec<TcpStream> = (0..AT_ONCE).map(open).collect();
            for stream in &mut kept {
                let asked = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi";
                stream.write_all(asked).expect("it is taken");
            }
            for stream in &mut kept {
                stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
                let (mut text, mut bytes) = (String::new(), [0; 1_024]);
                while !text.ends_with("hi") {
                    let count = stream.read(&mut bytes).expect("every connection is served");
                    assert!(count > 0, "closed after {text:?}");
                    text.push_str(&String::from_utf8_lossy(&bytes[..count]));
                }
                assert!(text.starts_with("HTTP/1.1 200"), "{text}");
            }
        }
    }
}
