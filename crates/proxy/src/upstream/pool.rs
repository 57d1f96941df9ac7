//! One worker's connections to one endpoint.
//!
//! HTTP/1.1 connections are kept in a stack: the one used last is the one least likely to have been closed, and what
//! lies at the bottom grows old and is closed when load falls. HTTP/2 connections are shared by many requests.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tutti_core::{Code, code, limits};
use tutti_net::h1::client::{Connection, Home};
use tutti_net::{ConnectError, SendError, Stream, h1, h2 as http2};

use super::carrier::{BeginError, Carries, Ends};
use super::endpoint::Endpoint;
use crate::metrics::Metrics;

/// Connections of one worker to one endpoint.
pub struct Pool {
    /// Whom they lead to.
    pub endpoint: Arc<Endpoint>,
    metrics: Arc<Metrics>,
    idle: Mutex<Vec<Idle>>,
    shared: tokio::sync::Mutex<Multiplexed>,
    closed: AtomicBool,
    /// For whom the connections are, if they belong to one client.
    client: Option<Ends>,
    /// When somebody asked for a connection; looked at only where they belong to one client.
    asked: Mutex<Instant>,
    /// Tells the worker that something may have to be closed later.
    touched: Arc<Notify>,
}

struct Idle {
    since: Instant,
    /// When it is given up.
    until: Instant,
    connection: Connection,
}

/// How long an idle connection is kept: a moment less than its server says, if it says so.
fn keep_for(said: Option<Duration>) -> Duration {
    match said {
        None => limits::POOL_IDLE_TIMEOUT,
        Some(said) => said.min(limits::POOL_KEEP_ALIVE).saturating_sub(limits::POOL_KEEP_ALIVE_MARGIN),
    }
}

/// The HTTP/2 connections.
#[derive(Default)]
struct Multiplexed {
    connections: Vec<Shared>,
    /// When the last attempt to make one failed.
    failed: Option<Instant>,
}

/// An HTTP/2 connection and how many requests use it.
#[derive(Clone)]
pub struct Shared {
    connection: http2::client::Connection,
    used: Arc<AtomicUsize>,
}

/// A place on a shared connection; given back when dropped.
pub struct Place {
    used: Arc<AtomicUsize>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.used.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// None could be made.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// It was accepted, and did not begin as it must.
    #[error(transparent)]
    Begin(BeginError),
    /// HTTP/2 could not be begun on it.
    #[error(transparent)]
    Handshake(#[from] SendError),
    /// While this request waited for another's connection to be made, that failed.
    #[error("the attempt before has just failed")]
    JustFailed,
}

impl DialError {
    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            DialError::Begin(error) if error.is_tls() => code::UPSTREAM_TLS,
            _ => code::UPSTREAM_REFUSED,
        }
    }

    /// Whether this process or machine lacks what a connection takes.
    pub fn is_ours(&self) -> bool {
        matches!(self, DialError::Connect(error) if error.is_ours())
    }
}

/// A fresh HTTP/2 connection must be driven by a task that its maker owns.
pub type Driver = http2::client::Driver;

impl Pool {
    /// An empty pool.
    pub fn new(endpoint: Arc<Endpoint>, metrics: Arc<Metrics>, touched: Arc<Notify>) -> Self {
        Self {
            endpoint,
            metrics,
            idle: Mutex::default(),
            shared: tokio::sync::Mutex::default(),
            closed: AtomicBool::new(false),
            client: None,
            asked: Mutex::new(Instant::now()),
            touched,
        }
    }

    /// An empty pool for one client.
    pub fn private(
        endpoint: Arc<Endpoint>,
        metrics: Arc<Metrics>,
        touched: Arc<Notify>,
        client: Option<Ends>,
    ) -> Self {
        let mut pool = Self::new(endpoint, metrics, touched);
        pool.client = client;
        pool
    }

    /// Somebody asks for a connection of one client's.
    pub fn touch(&self) {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Whether a client's pool may be needed again soon.
    pub fn is_wanted(&self, now: Instant) -> bool {
        let asked = *self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let busy =
            |shared: &Multiplexed| shared.connections.iter().any(|one| one.used.load(Ordering::Relaxed) > 0);
        now.saturating_duration_since(asked) < limits::POOL_IDLE_TIMEOUT
            || self.idle() > 0
            || self.shared.try_lock().map_or(true, |shared| busy(&shared))
    }

    /// An idle HTTP/1.1 connection that is still good, and was used within [`limits::POOL_FRESH`] if it must be `fresh`.
    pub fn take(&self, fresh: bool) -> Option<Connection> {
        let mut idle = self.lock();
        let now = Instant::now();
        while let Some(since) = idle.last().map(|top| top.since) {
            if fresh && now.saturating_duration_since(since) >= limits::POOL_FRESH {
                return None;
            }
            let top = idle.pop()?;
            self.metrics.pool_idle.add(-1);
            if top.until > now && top.connection.is_usable() {
                return Some(top.connection);
            }
        }
        None
    }

    /// Makes an HTTP/1.1 connection, which comes back here.
    pub async fn dial(self: &Arc<Self>, timeout: Duration) -> Result<Connection, DialError> {
        let stream = self.open(timeout, Carries::Http1, self.client).await?;
        let home: Weak<dyn Home> = Arc::downgrade(&(Arc::clone(self) as Arc<dyn Home>));
        Ok(Connection::new(stream, &h1::Settings::default(), home))
    }

    /// A place on an HTTP/2 connection; one that is free, or on a new connection whose driver `own` must run.
    pub async fn share(
        &self,
        timeout: Duration,
        own: impl FnOnce(Driver),
    ) -> Result<(http2::client::Connection, Place), DialError> {
        let began = Instant::now();
        // Held while connecting, so that a burst of requests makes one connection and not many.
        let mut shared = self.shared.lock().await;
        if shared.failed.is_some_and(|failed| failed > began) {
            // Or each of those that waited would wait for a timeout of its own, one after the other.
            return Err(DialError::JustFailed);
        }
        let chosen = match shared.free() {
            Some(one) => one,
            // In a box, since it is rare and large.
            None => match Box::pin(self.begin(timeout)).await {
                Ok((connection, driver)) => {
                    own(driver);
                    let one = Shared { connection, used: Arc::default() };
                    shared.connections.push(one.clone());
                    one
                }
                Err(error) => {
                    shared.failed = Some(Instant::now());
                    return Err(error);
                }
            },
        };
        let crowded = !chosen.has_stream();
        self.endpoint.crowd(crowded);
        if crowded {
            self.metrics.stream_waits.inc();
        }
        chosen.used.fetch_add(1, Ordering::Relaxed);
        Ok((chosen.connection, Place { used: chosen.used }))
    }

    /// Whether a further request would have to wait until another's stream is free: there may be no further connection, and all are at the limits
    /// that the server has set.
    pub fn is_full(&self) -> bool {
        self.shared.try_lock().is_ok_and(|shared| shared.is_full())
    }

    async fn begin(&self, timeout: Duration) -> Result<(http2::client::Connection, Driver), DialError> {
        let stream = self.open(timeout, Carries::Http2, self.client).await?;
        Ok(http2::client::handshake(stream, &http2::Settings::default()).await?)
    }

    /// Makes a connection that is not kept, for what it will carry and for whom.
    pub async fn open(
        &self,
        timeout: Duration,
        carries: Carries,
        client: Option<Ends>,
    ) -> Result<Stream, DialError> {
        let stream = self.connect(timeout).await?;
        let Some(carrier) = &self.endpoint.carrier else { return Ok(stream) };
        let begun = carrier.begin(stream, carries, client).await;
        begun.map_err(|error| {
            self.metrics.connect_failures.inc();
            DialError::Begin(error)
        })
    }

    async fn connect(&self, timeout: Duration) -> Result<Stream, ConnectError> {
        match Stream::connect(&self.endpoint.addr, timeout).await {
            Ok(stream) => {
                self.metrics.connects.inc();
                self.endpoint.warm();
                Ok(stream)
            }
            Err(error) => {
                self.metrics.connect_failures.inc();
                Err(error)
            }
        }
    }

    /// Closes what has been idle for too long. Says whether something is left that will have to be looked at again.
    pub fn sweep(&self, now: Instant) -> bool {
        let mut idle = self.lock();
        let before = idle.len();
        idle.retain(|one| one.until > now);
        self.metrics.pool_idle.add(-((before - idle.len()) as i64));
        !idle.is_empty()
    }

    /// Closes what is idle: most of it is dead, since one was.
    pub fn clear(&self) {
        self.forget(&mut self.lock());
    }

    /// Keeps nothing any more: the endpoint takes no new requests, and an open connection would only keep
    /// its server from stopping.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        self.clear();
        if let Ok(mut shared) = self.shared.try_lock() {
            shared.connections.clear();
        }
    }

    /// Idle connections.
    pub fn idle(&self) -> usize {
        self.lock().len()
    }

    fn forget(&self, idle: &mut Vec<Idle>) {
        self.metrics.pool_idle.add(-(idle.len() as i64));
        idle.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// Whether the server takes one more request at once.
    fn has_stream(&self) -> bool {
        self.used.load(Ordering::Relaxed) < self.connection.streams()
    }
}

impl Multiplexed {
    fn is_full(&self) -> bool {
        let open = || {
            self.connections.iter().filter(|one| one.connection.is_usable() && one.connection.streams() > 0)
        };
        open().count() >= limits::POOL_H2 && !open().any(Shared::has_stream)
    }

    /// A connection for one more request: the first with room; when there may be no further one, the least used.
    fn free(&mut self) -> Option<Shared> {
        let used = |one: &Shared| one.used.load(Ordering::Relaxed);
        // A server may say that it takes nothing more, and leave the connection as it is.
        let open = |one: &Shared| one.connection.streams() > 0;
        self.connections.retain(|one| one.connection.is_usable() && (open(one) || used(one) > 0));
        let full = self.connections.iter().filter(|one| open(one)).count() >= limits::POOL_H2;
        let has_room = |one: &&Shared| used(one) < one.connection.streams().min(limits::POOL_H2_STREAMS);
        let with_room = self.connections.iter().find(has_room);
        let least = || {
            let open = self.connections.iter().filter(|one| open(one));
            open.min_by_key(|one| used(one)).filter(|_| full)
        };
        with_room.or_else(least).cloned()
    }
}

impl Home for Pool {
    fn come_home(&self, connection: Connection) {
        if self.closed.load(Ordering::Relaxed) {
            return;
        }
        let keep = keep_for(connection.keep_for());
        if keep.is_zero() {
            return;
        }
        let mut idle = self.lock();
        if idle.len() < limits::POOL_IDLE {
            if idle.is_empty() {
                self.touched.notify_one();
            }
            let since = Instant::now();
            idle.push(Idle { since, until: since + keep, connection });
            self.metrics.pool_idle.add(1);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.clear();
    }
}
