//! Several backends: round robin, dead ones, ejection after failures, health checks.

use std::cell::RefCell;

use super::*;

/// A backend that answers with its name and counts the requests in `asked`.
async fn named(name: &'static str, asked: &Rc<Cell<usize>>) -> String {
    let asked = Rc::clone(asked);
    listening(move |mut stream, _| {
        let asked = Rc::clone(&asked);
        async move {
            while !head(&mut stream).await.is_empty() {
                asked.set(asked.get() + 1);
                let length = name.len();
                say(
                    &mut stream,
                    &format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{name}"),
                )
                .await;
            }
        }
    })
    .await
}

/// A URL where no server listens.
async fn unused_url() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    format!("http://{}", listener.local_addr().expect("bound"))
}

#[test]
fn backends_get_requests_in_turn() {
    on_core(async {
        let (one, other) = (Rc::default(), Rc::default());
        let urls = [named("one", &one).await, named("other", &other).await];
        let backend = at(&urls, &hasty());
        for _ in 0..10 {
            get(&backend).await.expect("an answer");
        }
        assert_eq!((one.get(), other.get()), (5, 5));
    });
}

#[test]
fn no_request_fails_because_of_a_dead_backend() {
    on_core(async {
        let alive = Rc::default();
        let urls = [unused_url().await, named("alive", &alive).await];
        let backend = at(&urls, &hasty());
        for _ in 0..10 {
            assert_eq!(get(&backend).await, Ok((200, "alive".into())));
        }
        assert_eq!(alive.get(), 10);
        assert!(!backend.0.targets[0].health.is_well(), "it is ejected now");
        assert!(backend.0.targets[1].health.is_well());
    });
}

#[test]
fn no_request_fails_because_of_a_full_backend() {
    on_core(async {
        let (asked, alive) = (Rc::new(Cell::new(0)), Rc::default());
        let seen = Rc::clone(&asked);
        let stuck = listening(move |mut stream, _| {
            let seen = Rc::clone(&seen);
            async move {
                head(&mut stream).await;
                seen.set(seen.get() + 1);
                std::future::pending::<()>().await;
            }
        });
        let mut config = hasty();
        config.backend.connections_max = 1;
        config.timeouts.backend_connect_ms = 300;
        let backend = at(&[stuck.await, named("alive", &alive).await], &config);
        let busy = backend.clone();
        let held = tokio::task::spawn_local(async move { get(&busy).await });
        while asked.get() == 0 {
            tokio::task::yield_now().await;
        }
        for _ in 0..4 {
            assert_eq!(get(&backend).await, Ok((200, "alive".into())));
        }
        assert!(backend.0.targets[0].health.is_well(), "a full pool is no failure of the backend");
        held.abort();
    });
}

#[test]
fn a_request_that_was_written_is_not_tried_again() {
    on_core(async {
        let (resets, alive) = (Rc::new(Cell::new(0)), Rc::default());
        let seen = Rc::clone(&resets);
        let reset = listening(move |mut stream, _| {
            let seen = Rc::clone(&seen);
            async move {
                head(&mut stream).await;
                seen.set(seen.get() + 1);
            }
        });
        let urls = [reset.await, named("alive", &alive).await];
        let backend = at(&urls, &hasty());
        let mut outcomes = Vec::new();
        for _ in 0..12 {
            outcomes.push(get(&backend).await.map_or_else(|code| code, |_| "answered"));
        }
        let failed = outcomes.iter().filter(|outcome| **outcome == "backend-unreachable").count();
        assert_eq!(failed, resets.get(), "each reached the client, none was sent twice");
        assert_eq!(resets.get(), 3, "three failures in a row eject it");
        assert_eq!(alive.get(), 9);
    });
}

#[test]
fn if_all_are_ejected_one_is_tried_anyway() {
    on_core(async {
        let backend = at(&[unused_url().await, unused_url().await], &hasty());
        for _ in 0..10 {
            assert_eq!(get(&backend).await, Err("backend-unreachable"));
        }
    });
}

#[test]
fn a_health_check_decides_who_gets_requests() {
    on_core(async {
        let (status, asked) = (Rc::new(RefCell::new("503 Down")), Rc::new(Cell::new(0)));
        let (says, requests) = (Rc::clone(&status), Rc::clone(&asked));
        let moody = listening(move |mut stream, _| {
            let (says, requests) = (Rc::clone(&says), Rc::clone(&requests));
            async move {
                loop {
                    let wanted = head(&mut stream).await;
                    let answer = match &wanted {
                        empty if empty.is_empty() => return,
                        check if check.starts_with("GET /healthz ") => {
                            assert!(check.contains("x-tenant: driftlock\r\n"), "{check}");
                            *says.borrow()
                        }
                        _ => {
                            requests.set(requests.get() + 1);
                            "200 OK"
                        }
                    };
                    let text = format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n");
                    say(&mut stream, &text).await;
                }
            }
        });
        let alive = Rc::default();
        let mut config = hasty();
        config.backend.health_path = Some("/healthz".into());
        config.backend.health_every_ms = 100;
        let backend = at(&[moody.await, named("alive", &alive).await], &config);
        let probing = backend.clone();
        tokio::task::spawn_local(async move { probing.probe(&config.backend).await });
        let well = |wanted| {
            let backend = backend.clone();
            async move {
                while backend.0.targets[0].health.is_well() != wanted {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        };
        well(false).await;
        for _ in 0..6 {
            get(&backend).await.expect("an answer");
        }
        assert_eq!(asked.get(), 0, "the unhealthy one got none");
        status.replace("204 No Content");
        well(true).await;
        for _ in 0..6 {
            get(&backend).await.expect("an answer");
        }
        assert_eq!(asked.get(), 3);
    });
}

#[test]
fn a_clients_broken_body_does_not_count_as_a_failure_of_the_backend() {
    on_core(async {
        let alive = Rc::default();
        let backend = at(&[named("alive", &alive).await], &hasty());
        for _ in 0..5 {
            let mut client = client(&backend, route());
            let start = "POST /api/x HTTP/1.1\r\nhost: c\r\ntransfer-encoding: chunked\r\n\r\n";
            let body = format!("{:x}\r\n{}\r\n", 2_000, "x".repeat(2_000));
            client.write_all(format!("{start}{body}").as_bytes()).await.expect("written");
            let answer = until(&mut client, "body-too-large").await;
            assert!(answer.contains("body-too-large"), "{answer}");
        }
        assert!(backend.0.targets[0].health.is_well());
    });
}
