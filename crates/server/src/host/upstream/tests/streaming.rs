//! Streaming of bodies in both directions.

use tokio::sync::Notify;

use super::*;

/// A backend that reads everything and answers with nothing.
async fn sink() -> Backend {
    backend(&hasty(), |mut stream, _| async move {
        let mut buffer = vec![0; 64 << 10];
        while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
    })
    .await
}

async fn refusal(backend: &Backend, request: &str) -> String {
    let mut client = client(backend, route());
    client.write_all(request.as_bytes()).await.expect("written");
    let answer = until(&mut client, "-t").await;
    answer.rsplit("\r\n\r\n").next().unwrap_or_default().to_owned()
}

#[test]
fn a_body_over_the_limit() {
    on_core(async {
        let announced = "POST / HTTP/1.1\r\nhost: c\r\ncontent-length: 1001\r\n\r\n";
        let backend = sink().await;
        assert_eq!(refusal(&backend, announced).await, "body-too-large");
        let piece = "1f4\r\n".to_owned() + &"x".repeat(500) + "\r\n";
        let chunked = "POST / HTTP/1.1\r\nhost: c\r\ntransfer-encoding: chunked\r\n\r\n".to_owned()
            + &piece.repeat(3);
        assert_eq!(refusal(&backend, &chunked).await, "body-too-large");
    });
}

#[test]
fn a_client_that_stalls_in_its_body() {
    on_core(async {
        let half = "POST / HTTP/1.1\r\nhost: c\r\ncontent-length: 10\r\n\r\nhalf";
        assert_eq!(refusal(&sink().await, half).await, "client-timeout");
    });
}

/// A backend that sends the first step at once, and each further one when the test notifies it.
async fn in_steps<const N: usize>(steps: [&'static str; N]) -> (Backend, Rc<Notify>) {
    let next = Rc::new(Notify::new());
    let go_on = Rc::clone(&next);
    let mut slow = hasty();
    slow.timeouts.body_idle_ms = 5_000;
    let backend = backend(&slow, move |mut stream, _| {
        let go_on = Rc::clone(&go_on);
        async move {
            head(&mut stream).await;
            for (at, step) in steps.into_iter().enumerate() {
                if at > 0 {
                    go_on.notified().await;
                }
                say(&mut stream, step).await;
            }
            head(&mut stream).await;
        }
    });
    (backend.await, next)
}

#[test]
fn an_event_passes_before_the_next_is_sent() {
    on_core(async {
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n7\r\ndata: 1\r\n";
        let (backend, next) = in_steps([head, "7\r\ndata: 2\r\n", "0\r\n\r\n"]).await;
        let mut client = client(&backend, route());
        client.write_all(GET.as_bytes()).await.expect("written");
        until(&mut client, "data: 1").await;
        next.notify_one();
        until(&mut client, "data: 2").await;
        next.notify_one();
        until(&mut client, "0\r\n\r\n").await;
        assert_eq!(backend.0.targets[0].pool.idle(), 1);
    });
}

#[test]
fn a_body_goes_through_and_a_length_stays() {
    on_core(async {
        let backend = backend(&hasty(), |mut stream, _| async move {
            let mut asked = head(&mut stream).await;
            assert!(asked.contains("content-length: 4"), "{asked}");
            while !asked.ends_with("ping") {
                let mut more = [0; 4];
                let read = stream.read(&mut more).await.expect("the body");
                asked += std::str::from_utf8(&more[..read]).expect("text");
            }
            say(&mut stream, OK).await;
        })
        .await;
        let mut client = client(&backend, route());
        let post = "POST / HTTP/1.1\r\nhost: c\r\ncontent-length: 4\r\n\r\nping";
        client.write_all(post.as_bytes()).await.expect("written");
        let answer = until(&mut client, "ok").await;
        assert!(answer.contains("content-length: 2"), "{answer}");
    });
}

#[test]
fn a_slow_reader_slows_the_backend_down() {
    on_core(async {
        const WHOLE: usize = 64 << 20;
        let sent = Rc::new(Cell::new(0));
        let count = Rc::clone(&sent);
        let mut patient = hasty();
        patient.timeouts.body_idle_ms = 5_000;
        let backend = backend(&patient, move |mut stream, _| {
            let count = Rc::clone(&count);
            async move {
                head(&mut stream).await;
                say(&mut stream, &format!("HTTP/1.1 200 OK\r\ncontent-length: {WHOLE}\r\n\r\n"))
                    .await;
                let piece = vec![b'x'; 64 << 10];
                while count.get() < WHOLE && stream.write_all(&piece).await.is_ok() {
                    count.set(count.get() + piece.len());
                }
            }
        })
        .await;
        let mut client = client(&backend, route());
        client.write_all(GET.as_bytes()).await.expect("written");
        until(&mut client, "\r\n\r\n").await;
        let mut before = usize::MAX;
        while before != sent.get() {
            before = sent.get();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(sent.get() < WHOLE / 2, "{} bytes lie between backend and client", sent.get());
        drop(client);
    });
}

#[test]
fn the_end_of_a_watched_body_is_reported_once() {
    on_core(async {
        let ends = Rc::new(std::cell::RefCell::new(Vec::new()));
        let watch = |body| {
            let ends = Rc::clone(&ends);
            Backend::watch(body, Box::new(move |end| ends.borrow_mut().push(end)))
        };
        let whole = watch(Backend::response_body("ok".into()));
        assert!(whole.collect().await.is_ok());
        drop(watch(Backend::response_body("ok".into())));
        drop(watch(Backend::response_body(Bytes::new())));
        let expected = [BodyEnd::Complete, BodyEnd::Truncated, BodyEnd::Complete];
        assert_eq!(*ends.borrow(), expected);
    });
}

/// The gateway waits for an answer to be stored only for a bounded time; then it is streamed.
#[test]
fn an_answer_that_takes_too_long_is_passed_on_unfinished() {
    on_core(async {
        let half = "HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nhalf";
        let (backend, rest) = in_steps([half, "rest"]).await;
        let request = Request::get("/api/x").body(RequestBody::Full(None)).expect("a request");
        let response = backend.send(request, &route()).await.expect("an answer");
        let within = Duration::from_millis(30);
        let read = backend.collect_answer(response.into_body(), 1_000, within, &buffers()).await;
        let Collected::Unfinished(body) = read else { panic!("it waits for the rest") };
        rest.notify_one();
        let read = backend.collect_answer(body, 1_000, PATIENCE, &buffers()).await;
        let Collected::Whole(bytes) = read else { panic!("the rest did not come") };
        assert_eq!(bytes, "halfrest");
    });
}

#[test]
fn a_chunked_body_passes_whatever_the_method() {
    on_core(async {
        for method in ["GET", "DELETE", "POST"] {
            let backend = backend(&hasty(), |mut stream, _| async move {
                let mut asked = String::new();
                while !asked.ends_with("0\r\n\r\n") {
                    asked += &head(&mut stream).await;
                }
                assert!(asked.contains("transfer-encoding: chunked\r\n"), "{asked}");
                assert!(!asked.contains("content-length"), "{asked}");
                assert!(asked.contains("4\r\nping\r\n"), "{asked}");
                say(&mut stream, OK).await;
            })
            .await;
            let mut client = client(&backend, route());
            let request = "/api/x HTTP/1.1\r\nhost: c\r\ntransfer-encoding: chunked\r\n\r\n";
            let request = format!("{method} {request}4\r\nping\r\n0\r\n\r\n");
            client.write_all(request.as_bytes()).await.expect("written");
            let answer = until(&mut client, "ok").await;
            assert!(answer.ends_with("\r\n\r\nok"), "{method}: {answer}");
        }
    });
}
