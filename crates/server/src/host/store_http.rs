//! Calls of a store over HTTP, with a circuit breaker. After a call found the store unreachable or
//! silent, the circuit is open: calls fail at once, except for one at a time that tries the store.
//! When that call gets an answer, the circuit is closed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use driftlock_gateway::ports::{HttpClient, NoAnswer};
use http::{Request, Response};

use super::http_client::{Bounds, Failed, NativeHttp};

/// How long no call tries the store after a failed try.
const REST: Duration = Duration::from_millis(200);

/// The client. Clones share its connections and its circuit.
#[derive(Clone)]
pub(crate) struct StoreHttp {
    http: NativeHttp,
    circuit: Arc<Mutex<Circuit>>,
    /// After this time without a result, another call may try the store.
    try_timeout: Duration,
}

#[derive(Debug, Clone, Copy)]
enum Circuit {
    /// The last call got an answer.
    Closed,
    /// The last call got none; the next try is not before this time.
    Open(Instant),
}

impl StoreHttp {
    pub(crate) fn new(bounds: Bounds) -> Self {
        let circuit = Arc::new(Mutex::new(Circuit::Closed));
        Self { http: NativeHttp::new(bounds), circuit, try_timeout: bounds.time }
    }

    fn circuit(&self) -> MutexGuard<'_, Circuit> {
        self.circuit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn may_try(&self) -> Result<(), NoAnswer> {
        let now = Instant::now();
        let mut circuit = self.circuit();
        match *circuit {
            Circuit::Closed => Ok(()),
            Circuit::Open(next) if now < next => {
                Err(NoAnswer("the store is unreachable; will retry soon".to_owned()))
            }
            Circuit::Open(_) => {
                *circuit = Circuit::Open(now + self.try_timeout);
                Ok(())
            }
        }
    }

    fn record(&self, failed: Option<&Failed>) {
        let mut circuit = self.circuit();
        match (failed, &mut *circuit) {
            (None, _) => *circuit = Circuit::Closed,
            (Some(Failed::Away(_)), _) | (Some(Failed::Other(_)), Circuit::Open(_)) => {
                *circuit = Circuit::Open(Instant::now() + REST);
            }
            // The failure of one connection does not mean that the store is unreachable.
            (Some(Failed::Other(_)), Circuit::Closed) => {}
        }
    }
}

impl HttpClient for StoreHttp {
    async fn call(&self, request: Request<Bytes>) -> Result<Response<Bytes>, NoAnswer> {
        self.may_try()?;
        let answer = self.http.ask(request).await;
        self.record(answer.as_ref().err());
        answer.map_err(NoAnswer::from)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use futures_util::future::join_all;

    use super::*;

    const BOUNDS: Bounds =
        Bounds { calls: 4, time: Duration::from_secs(2), room_within: Duration::from_secs(2) };

    /// A store that is silent until the flag lets it answer, and the count of calls that reached
    /// it.
    fn silent() -> (String, Arc<AtomicBool>, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let (answers, calls) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let (may, count) = (Arc::clone(&answers), Arc::clone(&calls));
        std::thread::spawn(move || {
            let mut kept = Vec::new();
            for mut stream in listener.incoming().flatten() {
                count.fetch_add(1, Ordering::Relaxed);
                if may.load(Ordering::Relaxed) {
                    let _ = stream.read(&mut [0; 4_096]);
                    let _ =
                        stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
                } else {
                    kept.push(stream);
                }
            }
        });
        (url, answers, calls)
    }

    #[test]
    fn a_silent_store_is_waited_for_once_and_tried_by_one_at_a_time() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let (url, answers, calls) = silent();
            let http = StoreHttp::new(BOUNDS);
            let call = || http.call(Request::post(&url).body(Bytes::new()).expect("a request"));
            assert!(call().await.is_err(), "silent");
            let began = Instant::now();
            while began.elapsed() < BOUNDS.time / 2 {
                // The call that tries keeps waiting; the others fail at once.
                let all = join_all((0..8).map(|_| call()));
                let _ = tokio::time::timeout(BOUNDS.time / 8, all).await;
            }
            assert!(calls.load(Ordering::Relaxed) <= 3, "one at a time: {calls:?}");
            answers.store(true, Ordering::Relaxed);
            let back = Instant::now();
            while call().await.is_err() {
                assert!(back.elapsed() < 4 * BOUNDS.time, "it is back");
                tokio::task::yield_now().await;
            }
            let all = join_all((0..8).map(|_| call())).await;
            assert!(all.iter().all(Result::is_ok), "all calls pass: {all:?}");
        });
    }
}
