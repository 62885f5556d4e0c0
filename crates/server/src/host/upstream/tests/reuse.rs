//! When a connection is reused, and what happens to bytes that a backend sends beyond its answer.

use std::cell::RefCell;
use std::io::Write;

use super::*;
use driftlock_domain::response::REST;

const STOLEN: &str = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nstolen";

/// Scripted backends and their connections, to which a test can write stray bytes.
#[derive(Clone, Default)]
struct Backends(Rc<RefCell<Vec<std::net::TcpStream>>>);

impl Backends {
    async fn answering(&self, config: &Config, answers: &'static [&'static str]) -> Backend {
        let connections = Rc::clone(&self.0);
        let next = Rc::new(Cell::new(0));
        backend(config, move |stream, _| {
            let (connections, next) = (Rc::clone(&connections), Rc::clone(&next));
            async move {
                let stream = stream.into_std().expect("a socket");
                connections.borrow_mut().push(stream.try_clone().expect("a second handle"));
                let mut stream = TcpStream::from_std(stream).expect("a socket");
                while !head(&mut stream).await.is_empty() {
                    let answer = next.replace(next.get() + 1);
                    say(&mut stream, answers[answer.min(answers.len() - 1)]).await;
                }
            }
        })
        .await
    }

    fn count(&self) -> usize {
        self.0.borrow().len()
    }

    /// Writes bytes. They reach the gateway's socket at once, before its runtime notices them.
    fn write(&self, connection: usize, text: &str) {
        self.0.borrow_mut()[connection].write_all(text.as_bytes()).expect("open");
    }
}

async fn ask(backend: &Backend, method: &str) -> (u16, String) {
    let request = Request::builder().method(method).uri("/api/x").body(RequestBody::Full(None));
    let sent = backend.send(request.expect("a request"), &route()).await;
    let response = sent.unwrap_or_else(|error| panic!("{}", code(&error)));
    let status = response.status().as_u16();
    match backend.collect_answer(response.into_body(), 1 << 20, PATIENCE, &buffers()).await {
        Collected::Whole(bytes) => (status, String::from_utf8(bytes.to_vec()).expect("text")),
        Collected::Unfinished(_) | Collected::Broken(_) => panic!("no whole answer"),
    }
}

#[test]
fn after_an_answer_without_a_body_a_connection_rests() {
    on_core(async {
        for (method, answer, status) in [
            ("GET", "HTTP/1.1 204 No Content\r\n\r\n", 204),
            ("GET", "HTTP/1.1 304 Not Modified\r\n\r\n", 304),
            ("HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n", 200),
        ] {
            let answers: &'static [&'static str] = vec![answer, OK].leak();
            let peers = Backends::default();
            let backend = peers.answering(&hasty(), answers).await;
            assert_eq!(ask(&backend, method).await, (status, String::new()));
            assert_eq!(ask(&backend, "GET").await, (200, "ok".into()));
            assert_eq!(peers.count(), 2, "{answer:?}: the first connection was not used at once");
            // The body that follows does not reach another answer.
            peers.write(0, "stolen");
            tokio::time::sleep(2 * REST).await;
            for _ in 0..3 {
                assert_eq!(ask(&backend, "GET").await, (200, "ok".into()));
            }
            assert!(!backend.0.targets[0].health.is_trusted(), "{answer:?}");
        }
    });
}

#[test]
fn a_connection_that_has_rested_is_used_again() {
    on_core(async {
        let peers = Backends::default();
        let answers = &["HTTP/1.1 204 No Content\r\n\r\n", OK];
        let backend = peers.answering(&hasty(), answers).await;
        assert_eq!(ask(&backend, "GET").await.0, 204);
        tokio::time::sleep(REST).await;
        assert_eq!(ask(&backend, "GET").await, (200, "ok".into()));
        assert_eq!(peers.count(), 1);
        assert!(backend.0.targets[0].health.is_trusted());
    });
}

#[test]
fn an_unrequested_answer_is_found_before_the_runtime_knows_of_it() {
    on_core(async {
        let peers = Backends::default();
        let backend = peers.answering(&hasty(), &[OK]).await;
        assert_eq!(ask(&backend, "GET").await, (200, "ok".into()));
        peers.write(0, STOLEN);
        assert_eq!(ask(&backend, "GET").await, (200, "ok".into()));
        assert_eq!(peers.count(), 2);
        assert!(!backend.0.targets[0].health.is_trusted(), "the backend is not trusted now");
        // From here on every connection rests after its answer.
        assert_eq!(ask(&backend, "GET").await, (200, "ok".into()));
        assert_eq!(peers.count(), 3);
        tokio::time::sleep(REST).await;
        assert_eq!(ask(&backend, "GET").await, (200, "ok".into()));
        assert_eq!(peers.count(), 3);
    });
}

#[test]
fn a_notice_that_an_idle_connection_is_closed_costs_no_trust() {
    on_core(async {
        let peers = Backends::default();
        let backend = peers.answering(&hasty(), &[OK]).await;
        assert_eq!(ask(&backend, "GET").await, (200, "ok".into()));
        peers.write(0, "HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n\r\n");
        assert_eq!(ask(&backend, "GET").await, (200, "ok".into()));
        assert_eq!(peers.count(), 2);
        assert!(backend.0.targets[0].health.is_trusted());
    });
}

#[test]
fn bytes_that_follow_an_answer_in_the_same_piece_end_the_connection() {
    on_core(async {
        let followed: &'static str = format!("{OK}{STOLEN}").leak();
        let peers = Backends::default();
        let backend = peers.answering(&hasty(), vec![followed].leak()).await;
        for count in 1..4 {
            assert_eq!(ask(&backend, "GET").await, (200, "ok".into()));
            assert_eq!(peers.count(), count);
        }
        assert!(!backend.0.targets[0].health.is_trusted());
    });
}

#[test]
fn a_connection_whose_answer_had_two_framings_is_closed() {
    on_core(async {
        for lines in ["content-length: 3\r\ntransfer-encoding: chunked", "content-length: 9, 9"] {
            let answer = format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n4\r\nok!\n\r\n0\r\n\r\n");
            let length = if lines.ends_with("chunked") { answer.len() } else { answer.len() - 5 };
            let answer: &'static str = answer[..length].to_owned().leak();
            let peers = Backends::default();
            let backend = peers.answering(&hasty(), vec![answer].leak()).await;
            for count in 1..3 {
                assert_eq!(ask(&backend, "GET").await.0, 200);
                assert_eq!(peers.count(), count, "{lines}");
            }
            assert_eq!(backend.0.targets[0].pool.idle(), 0, "{lines}");
        }
    });
}

#[test]
fn resting_connections_are_closed_at_the_limit() {
    on_core(async {
        let mut config = hasty();
        config.backend.connections_max = 1;
        let peers = Backends::default();
        let backend = peers.answering(&config, &["HTTP/1.1 204 No Content\r\n\r\n", OK]).await;
        assert_eq!(ask(&backend, "GET").await.0, 204);
        assert_eq!(ask(&backend, "GET").await, (200, "ok".into()));
        assert_eq!(peers.count(), 2);
        assert_eq!(backend.0.targets[0].pool.idle(), 1, "the other one was closed");
    });
}
