//! Failures of a backend and of the connection to it.

use socket2::{Domain, Socket, Type};

use super::*;

/// The outcome for a client if the backend answers every request with `answer` and closes.
async fn answering(answer: &'static str) -> Result<(u16, String), &'static str> {
    let backend = backend(&hasty(), move |mut stream, _| async move {
        head(&mut stream).await;
        say(&mut stream, answer).await;
    })
    .await;
    get(&backend).await
}

#[test]
fn a_backend_that_does_not_listen() {
    on_core(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        drop(listener);
        let backend = at(&[url], &hasty());
        assert_eq!(get(&backend).await, Err("backend-unreachable"));
    });
}

#[test]
fn a_backend_that_takes_no_connection() {
    on_core(async {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port");
        socket.listen(0).expect("it listens");
        let address = socket.local_addr().expect("bound").as_socket().expect("an address");
        // It never accepts: once its queue is full, further clients get no answer at all.
        let (mut queued, patience) = (Vec::new(), Duration::from_secs(1));
        while let Ok(stream) = tokio::time::timeout(patience, TcpStream::connect(address)).await {
            queued.push(stream.expect("queued"));
        }
        let mut config = hasty();
        config.timeouts.backend_connect_ms = 50;
        let backend = at(&[format!("http://{address}")], &config);
        let request = Request::get("/").body(RequestBody::Full(None)).expect("a request");
        let error = backend.send(request, &route()).await.err().expect("no connection");
        assert_eq!(code(&error), "backend-unreachable");
        let SendError::Fault(fault) = error else { panic!("it is a fault, not a denial") };
        assert_eq!(fault.cause, "connecting took too long");
    });
}

#[test]
fn a_connection_is_reset_before_and_within_an_answer() {
    on_core(async {
        let half = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf";
        for (said, expected) in [("", "backend-unreachable"), (half, "broken")] {
            let backend = backend(&hasty(), move |mut stream, _| async move {
                head(&mut stream).await;
                say(&mut stream, said).await;
                // The bytes arrive, because they are read before the reset.
                tokio::task::yield_now().await;
                let now = Some(Duration::ZERO);
                socket2::SockRef::from(&stream).set_linger(now).expect("a socket");
            })
            .await;
            assert_eq!(get(&backend).await, Err(expected));
            assert_eq!(backend.0.targets[0].pool.idle(), 0);
        }
    });
}

#[test]
fn connections_are_kept_until_the_idle_timeout() {
    on_core(async {
        let mut config = hasty();
        config.timeouts.backend_idle_ms = 60;
        let backend = backend(&config, |mut stream, _| async move {
            while !head(&mut stream).await.is_empty() {
                say(&mut stream, OK).await;
            }
        })
        .await;
        assert_eq!(get(&backend).await, Ok((200, "ok".into())));
        let parked = tokio::time::Instant::now();
        while backend.0.targets[0].pool.idle() == 1 {
            backend.sweep();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(parked.elapsed() >= Duration::from_millis(55), "{:?}", parked.elapsed());
    });
}

#[test]
fn malformed_answers() {
    on_core(async {
        assert_eq!(answering("").await, Err("backend-unreachable"));
        assert_eq!(answering("HTTP/1.1 200 O").await, Err("backend-unreachable"));
        assert_eq!(answering("SSH-2.0-OpenSSH_9.6\r\n\r\n").await, Err("backend-broken"));
        let switched =
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n";
        assert_eq!(answering(switched).await, Err("backend-broken"));
    });
}

#[test]
fn half_a_body() {
    on_core(async {
        let half = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf";
        assert_eq!(answering(half).await, Err("broken"));
        let chunk = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n";
        assert_eq!(answering(chunk).await, Err("broken"));
    });
}

#[test]
fn a_client_sees_that_a_body_broke_off() {
    on_core(async {
        let backend = backend(&hasty(), |mut stream, _| async move {
            head(&mut stream).await;
            let half = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n";
            say(&mut stream, half).await;
        })
        .await;
        let mut client = client(&backend, route());
        client.write_all(GET.as_bytes()).await.expect("written");
        let answer = until(&mut client, "\r\n0\r\n\r\n").await;
        assert!(answer.contains("half") && !answer.contains("\r\n0\r\n\r\n"), "{answer}");
    });
}

#[test]
fn a_backend_that_stalls() {
    on_core(async {
        let silent = backend(&hasty(), |mut stream, _| async move {
            head(&mut stream).await;
            std::future::pending::<()>().await;
        })
        .await;
        let request = Request::get("/").body(RequestBody::Full(None)).expect("a request");
        let hurried = Route { head_timeout_ms: 30, ..route() };
        let error = silent.send(request, &hurried).await.err().expect("no answer");
        assert_eq!(code(&error), "backend-timeout");

        let stuck = backend(&hasty(), |mut stream, _| async move {
            head(&mut stream).await;
            say(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await;
            std::future::pending::<()>().await;
        })
        .await;
        assert_eq!(get(&stuck).await, Err("broken"));
        assert_eq!(stuck.0.targets[0].pool.idle(), 0);
    });
}

#[test]
fn a_connection_that_died_in_the_pool_is_replaced_once() {
    on_core(async {
        let accepted = Rc::new(Cell::new(0));
        let seen = Rc::clone(&accepted);
        let backend = backend(&hasty(), move |mut stream, number| {
            seen.set(seen.get() + 1);
            async move {
                head(&mut stream).await;
                if number < 2 {
                    say(&mut stream, OK).await;
                }
            }
        })
        .await;
        assert_eq!(get(&backend).await, Ok((200, "ok".into())));
        // Lets the close arrive, or not: either way the request goes out on a new connection.
        tokio::task::yield_now().await;
        assert_eq!(get(&backend).await, Ok((200, "ok".into())));
        tokio::task::yield_now().await;
        // The third connection takes the request and hangs up: that is not tried again.
        assert_eq!(get(&backend).await, Err("backend-unreachable"));
        assert_eq!(accepted.get(), 3);
    });
}

#[test]
fn more_connections_than_allowed_wait_and_are_refused() {
    on_core(async {
        let mut config = hasty();
        config.backend.connections_max = 1;
        config.timeouts.backend_connect_ms = 30;
        let backend = backend(&config, |mut stream, _| async move {
            head(&mut stream).await;
            std::future::pending::<()>().await;
        })
        .await;
        let busy = backend.clone();
        let held = tokio::task::spawn_local(async move { get(&busy).await });
        tokio::task::yield_now().await;
        assert_eq!(get(&backend).await, Err("overloaded"));
        held.abort();
        let _ = held.await;
        assert_eq!(backend.0.targets[0].pool.permit(Duration::ZERO).await.map(|_| ()), Some(()));
    });
}
