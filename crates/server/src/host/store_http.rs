//! Calls of a store over HTTP. Nobody waits for long for one that is away: once a call found it silent
//! or gone, all fail at once but for one at a time that tries, and its answer brings everybody back.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use driftlock_gateway::ports::{HttpClient, NoAnswer};
use http::{Request, Response};

use super::http_client::{Bounds, Failed, NativeHttp};

/// How long nobody tries after a try that failed.
const REST: Duration = Duration::from_millis(200);

/// The client; clones share its connections, and what they know of the store.
#[derive(Clone)]
pub(crate) struct StoreHttp {
    http: NativeHttp,
    standing: Arc<Mutex<Standing>>,
    /// A try that told nothing by then is given up, and another may follow.
    tried_for: Duration,
}

#[derive(Debug, Clone, Copy)]
enum Standing {
    /// It answered last.
    Here,
    /// It did not; the next try is not before this.
    Away(Instant),
}

impl StoreHttp {
    pub(crate) fn new(bounds: Bounds) -> Self {
        let standing = Arc::new(Mutex::new(Standing::Here));
        Self { http: NativeHttp::new(bounds), standing, tried_for: bounds.time }
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn may_try(&self) -> Result<(), NoAnswer> {
        let now = Instant::now();
        let mut standing = self.standing();
        match *standing {
            Standing::Here => Ok(()),
            Standing::Away(next) if now < next => {
                Err(NoAnswer("the store is away, and tried again soon".to_owned()))
            }
            Standing::Away(_) => {
                *standing = Standing::Away(now + self.tried_for);
                Ok(())
            }
        }
    }

    fn heard(&self, failed: Option<&Failed>) {
        let mut standing = self.standing();
        match (failed, &mut *standing) {
            (None, _) => *standing = Standing::Here,
            (Some(Failed::Away(_)), _) | (Some(Failed::Other(_)), Standing::Away(_)) => {
                *standing = Standing::Away(Instant::now() + REST);
            }
            // One connection's end is not the store's.
            (Some(Failed::Other(_)), Standing::Here) => {}
        }
    }
}

impl HttpClient for StoreHttp {
    async fn call(&self, request: Request<Bytes>) -> Result<Response<Bytes>, NoAnswer> {
        self.may_try()?;
        let answer = self.http.ask(request).await;
        self.heard(answer.as_ref().err());
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

    /// A store that stays silent until it is told to answer; calls that reached it.
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
                // The one that tries is left to itself; the others are told at once.
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
            assert!(all.iter().all(Result::is_ok), "and everybody with it: {all:?}");
        });
    }
}
