//! The one thread that writes. What arrives while a commit syncs shares the next one.
//!
//! Leases run out in the order of the queue: before a request is carried out, those end whose deadline was over
//! when it was asked. So a slow disk never ends a lease that was kept alive in time.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};
use tutti_core::time::Clock;
use tutti_ports::state::{LeaseId, Outcome, Revision, StateError, Txn};

use super::apply::{Batch, Effect, Fault};
use super::error::{Closed, Ended, Failure, OpenError};
use super::{Loaded, schema};
use crate::config::Options;
use crate::metrics::Metrics;
use crate::model::history::{History, Mark};
use crate::model::leases::Leases;

/// How long leases that are due wait after their removal failed (the disk is full).
const EXPIRY_RETRY: Duration = Duration::from_secs(1);

type Reply<T> = oneshot::Sender<Result<T, StateError>>;

/// What a caller asks of the writer.
pub enum Request {
    /// Carry out a transaction.
    Txn(Txn, Reply<Outcome>),
    /// Make a lease.
    Grant(Duration, Reply<LeaseId>),
    /// Begin a lease's time anew.
    KeepAlive(LeaseId, Reply<()>),
    /// End a lease.
    Revoke(LeaseId, Reply<()>),
    /// Close the database, say so, and go on when the other side says so; if it never does, end.
    Suspend(Reply<()>, Receiver<Resume>),
}

/// Open the database again, and say how that went.
pub type Resume = oneshot::Sender<Result<(), OpenError>>;

/// A request in the queue, with its place there.
pub struct Queued {
    /// The request.
    pub request: Request,
    /// When it was asked, on the monotonic clock; grows along the queue.
    pub asked: Duration,
    /// The place; free again when the request leaves the queue.
    pub place: OwnedSemaphorePermit,
}

impl Queued {
    fn suspends(&self) -> bool {
        matches!(self.request, Request::Suspend(..))
    }
}

/// An answer that waits for the commit.
enum Answer {
    Txn(Reply<Outcome>, Result<Outcome, StateError>),
    Lease(Reply<LeaseId>, Result<LeaseId, StateError>),
    Done(Reply<()>, Result<(), StateError>),
}

impl Answer {
    /// A caller that went away does not need it.
    fn send(self) {
        match self {
            Answer::Txn(reply, result) => drop(reply.send(result)),
            Answer::Lease(reply, result) => drop(reply.send(result)),
            Answer::Done(reply, result) => drop(reply.send(result)),
        }
    }

    fn fail(self, error: StateError) {
        match self {
            Answer::Txn(reply, _) => drop(reply.send(Err(error))),
            Answer::Lease(reply, _) => drop(reply.send(Err(error))),
            Answer::Done(reply, _) => drop(reply.send(Err(error))),
        }
    }
}

impl Request {
    fn fail(self, error: StateError) {
        match self {
            Request::Txn(_, reply) => drop(reply.send(Err(error))),
            Request::Grant(_, reply) => drop(reply.send(Err(error))),
            Request::KeepAlive(_, reply) | Request::Revoke(_, reply) | Request::Suspend(reply, _) => {
                drop(reply.send(Err(error)));
            }
        }
    }
}

/// What was staged by a batch and becomes true with its commit.
struct Staged {
    revision: Revision,
    marks: Vec<Mark>,
    effects: Vec<Effect>,
    cut: Option<Revision>,
    wrote: bool,
    expired: u64,
}

/// The writer's state.
pub struct Writer {
    /// The database's file.
    pub path: PathBuf,
    /// The one connection that writes.
    pub conn: Connection,
    /// Requests; the writer ends when it is empty and nobody can send any more.
    pub queue: Receiver<Queued>,
    /// Where commits are announced.
    pub head: watch::Sender<Revision>,
    /// Deadlines of leases.
    pub leases: Leases,
    /// What the change feed holds.
    pub history: History,
    /// Tells when a lease has run out.
    pub clock: Arc<dyn Clock>,
    /// Bounds.
    pub options: Options,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Why nothing may be written any more.
    pub ended: Option<Failure>,
    /// When to try again to remove leases that are due.
    pub expiry_not_before: Duration,
}

impl Writer {
    /// Works until the queue is closed and empty, then closes the database.
    pub fn run(mut self) {
        while let Some(mut requests) = self.next_batch() {
            // Whoever suspends the store is alone in its batch: what came before is written, what comes after waits.
            while let Some(at) = requests.iter().position(Queued::suspends) {
                let after = requests.split_off(at + 1);
                let suspend = requests.pop();
                self.carry_out(requests);
                if let Some(Queued { request: Request::Suspend(reply, resumed), .. }) = suspend
                    && !self.suspend(reply, &resumed)
                {
                    after.into_iter().for_each(|queued| queued.request.fail(Closed.into()));
                    return self.queue.try_iter().for_each(|queued| queued.request.fail(Closed.into()));
                }
                requests = after;
            }
            self.carry_out(requests);
        }
        if let Err((_, error)) = self.conn.close() {
            tracing::warn!(%error, "the state database did not close cleanly; it is checked at the next start");
        }
    }

    /// Closes the database until it is to be opened again. `false`: that never comes.
    fn suspend(&mut self, reply: Reply<()>, resumed: &Receiver<Resume>) -> bool {
        // A database in memory stands for the closed one.
        let closed = Connection::open_in_memory().map(|nothing| std::mem::replace(&mut self.conn, nothing));
        let closed = match closed.map(Connection::close) {
            Ok(Ok(())) => Ok(()),
            Ok(Err((conn, error))) => {
                self.conn = conn;
                Err(Failure::from(error).to_state())
            }
            Err(error) => Err(Failure::from(error).to_state()),
        };
        let suspended = closed.is_ok();
        let _ = reply.send(closed);
        if !suspended {
            return true;
        }
        while let Ok(done) = resumed.recv() {
            let opened = self.reopen();
            let back = opened.is_ok();
            let _ = done.send(opened);
            if back {
                return true;
            }
        }
        false
    }

    /// Opens the database, in which another process may have written meanwhile.
    fn reopen(&mut self) -> Result<(), OpenError> {
        let fail = |error| OpenError::new(self.path.clone(), error);
        let conn = schema::open_writer(&self.path)?;
        let Loaded { revision, leases, history } = Loaded::of(&conn, self.clock.monotonic()).map_err(fail)?;
        (self.conn, self.leases, self.history) = (conn, leases, history);
        self.show(revision);
        self.head.send_if_modified(|head| std::mem::replace(head, revision) != revision);
        Ok(())
    }

    /// Waits for requests or for a lease to run out.
    fn next_batch(&self) -> Option<Vec<Queued>> {
        let first = match self.until_expiry() {
            None => Some(self.queue.recv().ok()?),
            Some(wait) => match self.queue.recv_timeout(wait) {
                Ok(queued) => Some(queued),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return None,
            },
        };
        Some(first.into_iter().chain(self.queue.try_iter()).take(self.options.batch.max(1)).collect())
    }

    fn until_expiry(&self) -> Option<Duration> {
        let due = self.leases.next_deadline()?.max(self.expiry_not_before);
        self.ended.is_none().then(|| due.saturating_sub(self.clock.monotonic()))
    }

    fn carry_out(&mut self, requests: Vec<Queued>) {
        if let Some(failure) = &self.ended {
            let error = || StateError::Unavailable(Box::new(Ended::from(failure)));
            requests.into_iter().for_each(|queued| queued.request.fail(error()));
            return;
        }
        let begun = self.clock.monotonic();
        let mut waiting = requests.into_iter();
        let mut answers = Vec::new();
        match self.attempt(&mut waiting, &mut answers) {
            Ok(staged) => {
                self.committed(staged, begun);
                self.metrics.transactions.add(answers.len() as u64);
                answers.into_iter().for_each(Answer::send);
            }
            Err(failure) => {
                self.failed(&failure, begun);
                answers.into_iter().for_each(|answer| answer.fail(failure.to_state()));
                waiting.for_each(|queued| queued.request.fail(failure.to_state()));
            }
        }
    }

    fn attempt(
        &self,
        waiting: &mut std::vec::IntoIter<Queued>,
        answers: &mut Vec<Answer>,
    ) -> Result<Staged, Failure> {
        let all = waiting.len() < self.options.batch;
        self.conn.execute_batch("BEGIN IMMEDIATE")?;
        let mut batch = Batch::new(&self.conn, *self.head.borrow());
        let mut expired = 0;
        for Queued { request, asked, place } in waiting {
            drop(place);
            expired += self.expire(&mut batch, asked)?;
            let (answer, failure) = answer(&mut batch, request);
            answers.push(answer);
            failure.map_or(Ok(()), Err)?;
        }
        let now = self.clock.monotonic();
        if all {
            expired += self.expire(&mut batch, now)?;
        }
        let cut =
            if batch.marks.is_empty() { None } else { self.history.cut(&batch.marks, &self.options, now) };
        batch.finish(cut)?;
        self.conn.execute_batch("COMMIT")?;
        let Batch { revision, marks, effects, wrote, .. } = batch;
        Ok(Staged { revision, marks, effects, cut, wrote, expired })
    }

    /// Ends the leases that are due; those that this batch has touched wait for the next one.
    fn expire(&self, batch: &mut Batch<'_>, now: Duration) -> Result<u64, Failure> {
        if now < self.expiry_not_before {
            return Ok(0);
        }
        let mut expired = 0;
        for lease in self.leases.due(now) {
            if batch.touches(lease) {
                continue;
            }
            match batch.atomic(|batch| batch.end_lease(lease)) {
                Ok(()) => expired += 1,
                Err(Fault::Refused(_)) => batch.effects.push(Effect::End(lease)),
                Err(Fault::Failed(failure)) => return Err(failure),
            }
        }
        Ok(expired)
    }

    fn committed(&mut self, staged: Staged, begun: Duration) {
        let now = self.clock.monotonic();
        for mark in staged.marks {
            self.history.push(mark, now);
        }
        if let Some(cut) = staged.cut {
            self.history.forget(cut);
        }
        for effect in staged.effects {
            match effect {
                Effect::Begin(id, ttl) => self.leases.begin(id, ttl, now),
                Effect::KeepAlive(id) => self.leases.keep_alive(id, now),
                Effect::End(id) => self.leases.end(id),
            }
        }
        if staged.wrote {
            self.metrics.commits.inc();
            self.metrics.commit_seconds.record(now.saturating_sub(begun));
        }
        self.metrics.leases_expired.add(staged.expired);
        self.show(staged.revision);
        self.head.send_if_modified(|head| std::mem::replace(head, staged.revision) != staged.revision);
    }

    fn failed(&mut self, failure: &Failure, begun: Duration) {
        self.metrics.commit_failures.inc();
        tracing::error!(?failure, "the state could not be written");
        if !self.conn.is_autocommit() && self.conn.execute_batch("ROLLBACK").is_err() {
            self.ended = Some(failure.clone());
        }
        if failure.ends_writing() {
            self.ended = Some(failure.clone());
        }
        self.expiry_not_before = begun.saturating_add(EXPIRY_RETRY);
    }

    /// Shows what memory holds.
    pub fn show(&self, revision: Revision) {
        let gauge = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        self.metrics.revision.set(super::apply::to_sql(revision.0));
        self.metrics.leases.set(gauge(self.leases.len()));
        self.metrics.history_changes.set(gauge(self.history.changes()));
    }
}

/// Carries out one request. A failure is given beside the answer, for it ends the whole batch.
fn answer(batch: &mut Batch<'_>, request: Request) -> (Answer, Option<Failure>) {
    fn split<T>(result: Result<T, Fault>) -> (Result<T, StateError>, Option<Failure>) {
        match result {
            Ok(done) => (Ok(done), None),
            Err(Fault::Refused(error)) => (Err(error), None),
            Err(Fault::Failed(failure)) => (Err(failure.to_state()), Some(failure)),
        }
    }
    match request {
        Request::Txn(txn, reply) => {
            let (result, failure) = split(batch.atomic(|batch| batch.txn(&txn)));
            (Answer::Txn(reply, result), failure)
        }
        Request::Grant(ttl, reply) => {
            let (result, failure) = split(batch.atomic(|batch| batch.grant(ttl)));
            (Answer::Lease(reply, result), failure)
        }
        Request::KeepAlive(lease, reply) => {
            let (result, failure) = split(batch.atomic(|batch| batch.keep_alive(lease)));
            (Answer::Done(reply, result), failure)
        }
        Request::Revoke(lease, reply) => {
            let (result, failure) = split(batch.atomic(|batch| batch.end_lease(lease)));
            (Answer::Done(reply, result), failure)
        }
        // Taken out of the batch before.
        Request::Suspend(reply, _) => (Answer::Done(reply, Err(Closed.into())), None),
    }
}
