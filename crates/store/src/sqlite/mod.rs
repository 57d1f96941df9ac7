//! [`Store`] on SQLite: write-ahead log, `synchronous=FULL`, one writer thread, readers beside it.
//!
//! The life of a write: checked against the limits → queued (bounded by [`limits::STATE_QUEUE`]) → carried out by the
//! writer in a savepoint of its own, together with whatever else has arrived → committed and synced → head
//! moved → answered. A request that is refused leaves its neighbours alone; a commit that fails fails for all of them.
//!
//! Reads take a snapshot on a connection of a small pool. A snapshot holds only what was synced.

mod apply;
mod error;
mod read;
mod readers;
mod schema;
mod writer;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tutti_core::limits;
use tutti_core::time::Clock;
use tutti_ports::state::{Changes, Entries, LeaseId, Outcome, Range, Revision, StateError, Store, Txn};

pub use error::OpenError;
pub use schema::FORMAT;

use self::error::Closed;
use self::readers::Readers;
use self::writer::{Queued, Request, Writer};
use crate::config::Options;
use crate::dir::DataDir;
use crate::metrics::Metrics;
use crate::model::history::{History, Mark};
use crate::model::leases::Leases;
use crate::model::rules;

/// The state of one machine. Close it with [`SqliteStore::shutdown`]; dropping it waits for the queue to drain.
pub struct SqliteStore {
    queue: Mutex<Option<mpsc::Sender<Queued>>>,
    places: Arc<Semaphore>,
    writer: Mutex<Option<JoinHandle<()>>>,
    readers: Readers,
    head: watch::Receiver<Revision>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    /// Keeps the lock until the database is closed.
    dir: DataDir,
    suspended: tokio::sync::Mutex<Option<Suspended>>,
}

/// A store whose database another process has.
struct Suspended {
    /// Readers wait for its end.
    _readers: OwnedSemaphorePermit,
    /// The writer waits for this; gone when it has the database again, and only readers are missing.
    writer: Option<mpsc::Sender<writer::Resume>>,
}

/// What memory holds of the database.
struct Loaded {
    revision: Revision,
    leases: Leases,
    history: History,
}

impl Loaded {
    fn of(conn: &Connection, now: Duration) -> Result<Self, rusqlite::Error> {
        let revision = conn.query_row("SELECT revision FROM meta", [], |row| row.get(0))?;
        let revision = Revision(apply::from_sql(revision));
        Ok(Self { revision, leases: load_leases(conn, now)?, history: load_history(conn, now)? })
    }
}

impl SqliteStore {
    /// Opens the state in a data directory, or creates it. Blocks on the disk; call it before serving.
    pub fn open(dir: &DataDir, options: Options, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        Self::open_tuned(dir, options, clock, |_| Ok(()))
    }

    fn open_tuned(
        dir: &DataDir,
        options: Options,
        clock: Arc<dyn Clock>,
        tune: impl FnOnce(&Connection) -> Result<(), rusqlite::Error>,
    ) -> Result<Self, OpenError> {
        let path = dir.state_path();
        let fail = |error| OpenError::new(path.clone(), error);
        let conn = schema::open_writer(&path)?;
        tune(&conn).map_err(fail)?;
        let readers = Readers::open(&path, options.readers)?;
        let Loaded { revision, leases, history } = Loaded::of(&conn, clock.monotonic()).map_err(fail)?;
        let (head_tx, head) = watch::channel(revision);
        let (queue, requests) = mpsc::channel();
        let metrics = Arc::new(Metrics::default());
        let writer = Writer {
            path: path.clone(),
            conn,
            queue: requests,
            head: head_tx,
            leases,
            history,
            clock: Arc::clone(&clock),
            options,
            metrics: Arc::clone(&metrics),
            ended: None,
            expiry_not_before: Duration::ZERO,
        };
        writer.show(revision);
        let writer = spawn(&path, writer)?;
        Ok(Self {
            queue: Mutex::new(Some(queue)),
            places: Arc::new(Semaphore::new(limits::STATE_QUEUE)),
            writer: Mutex::new(Some(writer)),
            readers,
            head,
            metrics,
            clock,
            dir: dir.clone(),
            suspended: tokio::sync::Mutex::default(),
        })
    }

    /// What the store counts.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Writes what is queued and closes the database, so that another process may have it. Until [`SqliteStore::resume`]
    /// whoever reads or writes waits, at most [`limits::STATE_QUEUE`] of those who write in the queue and the rest before it.
    pub async fn suspend(&self) -> Result<(), StateError> {
        let mut suspended = self.suspended.lock().await;
        if suspended.is_some() {
            return Ok(());
        }
        let readers = self.readers.suspend().await.ok_or(Closed)?;
        let (writer, resumed) = mpsc::channel();
        // First: whoever does not wait for the end of this can resume all the same.
        let missing = suspended.insert(Suspended { _readers: readers, writer: Some(writer) });
        let closed = self.ask(|reply| Request::Suspend(reply, resumed)).await;
        if closed.is_err() {
            // The file is as it was: only the readers have to come back.
            missing.writer = None;
            if self.readers.resume(&self.dir.state_path()).is_ok() {
                *suspended = None;
            }
        }
        closed
    }

    /// Opens the database again and goes on with what has waited. After an error it may be tried again.
    pub async fn resume(&self) -> Result<(), OpenError> {
        let mut suspended = self.suspended.lock().await;
        let Some(missing) = &mut *suspended else { return Ok(()) };
        if let Some(writer) = &missing.writer {
            let (done, opened) = oneshot::channel();
            let gone = |_| OpenError::Engine { path: self.dir.state_path(), source: Box::new(Closed) };
            // If it was never asked to close the database it does not listen.
            if writer.send(done).is_ok() {
                opened.await.map_err(gone)??;
            }
            missing.writer = None;
        }
        self.readers.resume(&self.dir.state_path())?;
        *suspended = None;
        Ok(())
    }

    /// Whether the database is closed, or opening it again has failed.
    pub fn is_suspended(&self) -> bool {
        // Whoever holds it is just changing that.
        self.suspended.try_lock().is_ok_and(|suspended| suspended.is_some())
    }

    /// Refuses new requests, carries out and answers what is queued, and closes the database. What waits in a suspended store is
    /// refused.
    pub async fn shutdown(&self) {
        self.places.close();
        self.suspended.lock().await.take();
        // The last connection to close tidies up the log, and only the writer's can: readers first.
        self.readers.close().await;
        self.close_queue();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer
            && !matches!(tokio::task::spawn_blocking(|| writer.join()).await, Ok(Ok(())))
        {
            tracing::error!("the writer of the state ended by a panic");
        }
    }

    /// The writer ends when it has drained the queue.
    fn close_queue(&self) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, StateError>>) -> Request,
    ) -> Result<T, StateError> {
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| Closed)?;
        let (reply, answer) = oneshot::channel();
        {
            let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            let queue = queue.as_ref().ok_or(Closed)?;
            // Under the lock, so that the times grow along the queue.
            let asked = self.clock.monotonic();
            queue.send(Queued { request: request(reply), asked, place }).map_err(|_| Closed)?;
        }
        answer.await.map_err(|_| Closed)?
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.places.close();
        // The writer waits for nothing else.
        self.suspended.get_mut().take();
        self.readers.close_idle();
        self.close_queue();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer
            && writer.join().is_err()
        {
            tracing::error!("the writer of the state ended by a panic");
        }
    }
}

#[async_trait::async_trait]
impl Store for SqliteStore {
    async fn txn(&self, txn: Txn) -> Result<Outcome, StateError> {
        rules::check_txn(&txn)?;
        self.ask(|reply| Request::Txn(txn, reply)).await
    }

    async fn range(&self, range: Range) -> Result<Entries, StateError> {
        self.readers.run(move |conn| read::range(conn, &range)).await
    }

    async fn changes(&self, after: Revision, prefix: &str, limit: usize) -> Result<Changes, StateError> {
        let prefix = prefix.to_owned();
        self.readers.run(move |conn| read::changes(conn, after, &prefix, limit)).await
    }

    fn head(&self) -> watch::Receiver<Revision> {
        self.head.clone()
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StateError> {
        rules::check_ttl(ttl)?;
        self.ask(|reply| Request::Grant(ttl, reply)).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StateError> {
        self.ask(|reply| Request::KeepAlive(lease, reply)).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StateError> {
        self.ask(|reply| Request::Revoke(lease, reply)).await
    }
}

fn spawn(path: &Path, writer: Writer) -> Result<JoinHandle<()>, OpenError> {
    std::thread::Builder::new()
        .name("store-writer".to_owned())
        .spawn(move || writer.run())
        .map_err(|error| OpenError::Engine { path: path.to_owned(), source: Box::new(error) })
}

/// Every lease gets its full time again: how long the store was down is not held against it.
fn load_leases(conn: &Connection, now: Duration) -> Result<Leases, rusqlite::Error> {
    let mut leases = Leases::default();
    let mut statement = conn.prepare("SELECT id, ttl_ms FROM lease")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (id, ttl_ms): (i64, i64) = (row.get(0)?, row.get(1)?);
        leases.begin(LeaseId(apply::from_sql(id)), Duration::from_millis(apply::from_sql(ttl_ms)), now);
    }
    Ok(leases)
}

fn load_history(conn: &Connection, now: Duration) -> Result<History, rusqlite::Error> {
    let mut history = History::default();
    let sql = "SELECT revision, count(*), sum(length(key) + coalesce(length(value), 0))
        FROM change GROUP BY revision ORDER BY revision";
    let mut statement = conn.prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let number = |at| row.get(at).map(apply::from_sql);
        let size = |at| number(at).map(|size| usize::try_from(size).unwrap_or(usize::MAX));
        history.push(Mark { revision: Revision(number(0)?), changes: size(1)?, bytes: size(2)? }, now);
    }
    Ok(history)
}

#[cfg(test)]
mod tests;
