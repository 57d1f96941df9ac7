//! Clients: one that asks once, and one that keeps its connections busy and counts.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::time::Duration;

use http::Request;
use tutti_net::client::{self as one_shot, Limits};
use tutti_net::h1::client::{Connection, Home};
use tutti_net::{Addr, Body, Stream, h1};

use crate::app::PATIENCE;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// `GET path`: the status and the body.
#[track_caller]
pub fn get(addr: SocketAddr, path: &str) -> (u16, String) {
    ask(addr, Request::get(path).body(Body::empty()).unwrap())
}

/// Sends a request: the status and the body.
#[track_caller]
pub fn ask(addr: SocketAddr, request: Request<Body>) -> (u16, String) {
    let limits = Limits { timeout: PATIENCE, body_bytes: 64 << 20 };
    match runtime().block_on(one_shot::request(&Addr::Tcp(addr), request, limits)) {
        Ok(answer) => (answer.status().as_u16(), String::from_utf8_lossy(answer.body()).into_owned()),
        Err(error) => panic!("no answer at {addr}: {error}"),
    }
}

/// Requests without a pause over connections that are kept.
pub struct Load {
    shared: Arc<Shared>,
    thread: std::thread::JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    tally: Mutex<Tally>,
    counted: Condvar,
}

/// What came of the requests.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub ok: u64,
    /// What went wrong, in words; never more than some.
    pub failed: Vec<String>,
    pub connects: u64,
    /// The different bodies: the instances that answered.
    pub answers: BTreeSet<String>,
}

impl Load {
    /// GETs of a path.
    pub fn start(addr: SocketAddr, path: &'static str, connections: usize) -> Self {
        Self::of(addr, connections, move || Request::get(path).body(Body::empty()).unwrap())
    }

    /// POSTs with a body, which nobody may send twice.
    pub fn posting(addr: SocketAddr, path: &'static str, connections: usize) -> Self {
        Self::of(addr, connections, move || Request::post(path).body(Body::full(vec![b'x'; 1024])).unwrap())
    }

    fn of(
        addr: SocketAddr,
        connections: usize,
        make: impl Fn() -> Request<Body> + Clone + Send + 'static,
    ) -> Self {
        let shared = Arc::new(Shared::default());
        let work = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            runtime().block_on(async {
                let mut all = tokio::task::JoinSet::new();
                for _ in 0..connections {
                    all.spawn(keep_asking(addr, make.clone(), Arc::clone(&work)));
                }
                while let Some(ended) = all.join_next().await {
                    ended.unwrap();
                }
            });
        });
        Self { shared, thread }
    }

    /// Waits until so many requests were made since the beginning.
    #[track_caller]
    pub fn reach(&self, count: u64, longest: Duration) {
        let tally = self.shared.tally.lock().unwrap();
        let short = |tally: &mut Tally| tally.ok + (tally.failed.len() as u64) < count;
        let (tally, time) = self.shared.counted.wait_timeout_while(tally, longest, short).unwrap();
        assert!(!time.timed_out(), "only {} of {count} requests: {:#?}", tally.ok, tally.failed);
    }

    /// So far.
    pub fn tally(&self) -> Tally {
        self.shared.tally.lock().unwrap().clone()
    }

    /// Ends it.
    pub fn finish(self) -> Tally {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        let tally = self.shared.tally.lock().unwrap();
        tally.clone()
    }
}

/// Where a connection waits between two requests.
#[derive(Default)]
struct Seat(Mutex<Option<Connection>>);

impl Home for Seat {
    fn come_home(&self, connection: Connection) {
        *self.0.lock().unwrap() = Some(connection);
    }
}

/// So many failures are kept; a test wants none.
const FAILURES: usize = 100_000;

async fn keep_asking(addr: SocketAddr, make: impl Fn() -> Request<Body>, shared: Arc<Shared>) {
    let seat = Arc::new(Seat::default());
    while !shared.stop.load(Ordering::Relaxed) {
        let answer = tokio::time::timeout(PATIENCE, one(addr, make(), &seat, &shared)).await;
        let answer = answer.unwrap_or_else(|_| Err("no answer in time".into()));
        let mut tally = shared.tally.lock().unwrap();
        match answer {
            Ok(text) => {
                tally.ok += 1;
                tally.answers.insert(text);
            }
            Err(error) if tally.failed.len() < FAILURES => tally.failed.push(error),
            Err(_) => {}
        }
        shared.counted.notify_all();
    }
}

async fn one(
    addr: SocketAddr,
    mut request: Request<Body>,
    seat: &Arc<Seat>,
    shared: &Shared,
) -> Result<String, String> {
    let kept = seat.0.lock().unwrap().take().filter(Connection::is_usable);
    let connection = match kept {
        Some(connection) => connection,
        None => {
            shared.tally.lock().unwrap().connects += 1;
            let stream =
                Stream::connect(&Addr::Tcp(addr), PATIENCE).await.map_err(|error| error.to_string())?;
            let home: Weak<Seat> = Arc::downgrade(seat);
            Connection::new(stream, &h1::Settings::default(), home)
        }
    };
    request.headers_mut().insert("host", http::HeaderValue::from_static("shop.test"));
    let response = connection.send(request).await.map_err(|error| tutti_core::error::chain(&error))?;
    let (status, body) = (response.status(), response.into_body());
    let (body, _) = body.collect(1 << 20).await.map_err(|error| tutti_core::error::chain(&error))?;
    let text = String::from_utf8_lossy(&body).into_owned();
    if status == 200 { Ok(text) } else { Err(format!("{status}: {text}")) }
}
