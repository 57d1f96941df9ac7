//! Starts tasks one after the other, watches them, and stops them in the reverse order.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};

use crate::shutdown::{self, Shutdown, Trigger};
use crate::task::{Cause, Ended, How, OnEnd, Ready, Report, StartError, TaskError};

/// How long a task that gave up its readiness may take to say why.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Bounds of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// How long a task may take to be ready.
    pub start: Duration,
    /// How long draining may take in all, from the first request on.
    pub drain: Duration,
    /// How long threads, which cannot be stopped from outside, may take after the abort.
    pub abort: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { start: Duration::from_secs(60), drain: Duration::from_secs(30), abort: Duration::from_secs(1) }
    }
}

/// The owner of every long-running task of the process.
pub struct Host {
    options: Options,
    trigger: Trigger,
    asked: Shutdown,
    tasks: JoinSet<Result<(), TaskError>>,
    running: Vec<Running>,
    ended: Vec<Ended>,
    cause: Option<Cause>,
}

struct Running {
    id: Id,
    name: String,
    on_end: OnEnd,
    thread: bool,
    stop: Trigger,
    stopping: bool,
    handle: AbortHandle,
}

type Joined = Result<(Id, Result<(), TaskError>), JoinError>;

impl Host {
    /// A host without tasks.
    pub fn new(options: Options) -> Self {
        let (trigger, asked) = shutdown::channel();
        let (tasks, running, ended) = (JoinSet::new(), Vec::new(), Vec::new());
        Self { options, trigger, asked, tasks, running, ended, cause: None }
    }

    /// Shuts the host down from elsewhere; see [`Trigger::forward_signals`] for the signals of the process.
    pub fn trigger(&self) -> Trigger {
        self.trigger.clone()
    }

    /// Learns of the shutdown elsewhere, whatever caused it.
    pub fn shutdown(&self) -> Shutdown {
        self.asked.clone()
    }

    /// Starts a task and returns when it is ready. Started later is stopped earlier.
    ///
    /// After an error call [`Host::run`]: it stops whatever was started, and reports.
    pub async fn start<F, Fut>(&mut self, name: &str, on_end: OnEnd, make: F) -> Result<(), StartError>
    where
        F: FnOnce(Ready, Shutdown) -> Fut,
        Fut: Future<Output = Result<(), TaskError>> + Send + 'static,
    {
        self.refuse_late(name)?;
        let (ready, becomes_ready) = Ready::new();
        let (stop, asked) = shutdown::channel();
        let handle = self.tasks.spawn(make(ready, asked));
        self.watch(name, on_end, false, stop, handle);
        self.until_ready(name, becomes_ready).await
    }

    /// Starts a thread of its own, for work that blocks or brings its own runtime; otherwise as [`Host::start`].
    /// The thread is joined when it ends.
    pub async fn start_thread<F>(&mut self, name: &str, on_end: OnEnd, work: F) -> Result<(), StartError>
    where
        F: FnOnce(Ready, Shutdown) -> Result<(), TaskError> + Send + 'static,
    {
        self.refuse_late(name)?;
        let (ready, becomes_ready) = Ready::new();
        let (stop, asked) = shutdown::channel();
        let (ends, ended) = oneshot::channel::<()>();
        let body = move || {
            // Dropped when the thread ends, also by a panic.
            let _ends = ends;
            work(ready, asked)
        };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(body).map_err(|source| {
            self.give_up(Cause::Start(name.to_owned()));
            StartError::Thread { name: name.to_owned(), source }
        })?;
        let handle = self.tasks.spawn(async move {
            let _ = ended.await;
            match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        });
        self.watch(name, on_end, true, stop, handle);
        self.until_ready(name, becomes_ready).await
    }

    /// Waits until the end is asked for or caused, stops every task, and reports.
    pub async fn run(mut self) -> Report {
        while self.cause.is_none() {
            tokio::select! {
                () = self.asked.drain() => self.give_up(Cause::Asked),
                Some(joined) = self.tasks.join_next_with_id() => self.record(joined),
            }
        }
        self.stop().await;
        Report { cause: self.cause.unwrap_or(Cause::Asked), ended: self.ended }
    }

    /// Nothing is started any more once the end has begun.
    fn refuse_late(&mut self, name: &str) -> Result<(), StartError> {
        if self.asked.is_draining() {
            self.give_up(Cause::Asked);
        }
        let late = self.cause.is_some();
        if late { Err(StartError::Interrupted { name: name.to_owned() }) } else { Ok(()) }
    }

    fn watch(&mut self, name: &str, on_end: OnEnd, thread: bool, stop: Trigger, handle: AbortHandle) {
        let (id, name) = (handle.id(), name.to_owned());
        self.running.push(Running { id, name, on_end, thread, stop, stopping: false, handle });
    }

    async fn until_ready(&mut self, name: &str, mut ready: oneshot::Receiver<()>) -> Result<(), StartError> {
        let deadline = Instant::now() + self.options.start;
        let owned = || name.to_owned();
        let error = loop {
            tokio::select! {
                biased;
                said = &mut ready => match said {
                    Ok(()) => return Ok(()),
                    Err(_) => break self.last_words(name).await,
                },
                () = self.asked.drain() => {
                    self.give_up(Cause::Asked);
                    break StartError::Interrupted { name: owned() };
                }
                () = sleep_until(deadline) => {
                    let why = format!("it took longer than {:?}", self.options.start);
                    break StartError::NeverReady { name: owned(), why };
                }
                Some(joined) = self.tasks.join_next_with_id() => {
                    self.record(joined);
                    if self.cause.is_some() {
                        break StartError::Interrupted { name: owned() };
                    }
                }
            }
        };
        self.give_up(Cause::Start(owned()));
        Err(error)
    }

    /// A task has dropped its readiness. Mostly it is about to end and says why.
    async fn last_words(&mut self, name: &str) -> StartError {
        // Its end is the failure of its start, and not unexpected beside that.
        self.give_up(Cause::Start(name.to_owned()));
        let ends = async {
            while self.running.last().is_some_and(|task| task.name == name) {
                let Some(joined) = self.tasks.join_next_with_id().await else { return };
                self.record(joined);
            }
        };
        let _ = timeout(LAST_WORDS, ends).await;
        let name = name.to_owned();
        match self.ended.iter().rev().find(|ended| ended.name == name).map(|ended| &ended.how) {
            Some(How::Failed(source)) => StartError::Failed { name, source: Arc::clone(source) },
            Some(how) => StartError::NeverReady { name, why: format!("it {how}") },
            None => StartError::NeverReady { name, why: "it goes on without it".to_owned() },
        }
    }

    /// Notes the first cause of the end.
    fn give_up(&mut self, cause: Cause) {
        self.cause.get_or_insert(cause);
    }

    fn record(&mut self, joined: Joined) {
        let (id, how) = match joined {
            Ok((id, Ok(()))) => (id, How::Finished),
            Ok((id, Err(error))) => (id, How::Failed(Arc::from(error))),
            Err(error) => (error.id(), how_joined(error)),
        };
        let Some(at) = self.running.iter().position(|task| task.id == id) else { return };
        let task = self.running.remove(at);
        let how = if task.thread && matches!(how, How::Aborted) { How::Stuck } else { how };
        let fine = matches!(how, How::Finished);
        let fatal = match task.on_end {
            OnEnd::Shutdown => true,
            OnEnd::MayFinish => !fine,
            OnEnd::Continue => false,
        };
        match (task.stopping, fine) {
            (true, true) => tracing::debug!(task = task.name, "stopped"),
            (true, false) => tracing::error!(task = task.name, %how, "task did not stop well"),
            (false, true) if !fatal => tracing::debug!(task = task.name, "finished"),
            (false, _) => tracing::error!(task = task.name, %how, fatal, "task ended unasked"),
        }
        if fatal && !task.stopping {
            self.give_up(Cause::Task(task.name.clone()));
        }
        self.ended.push(Ended { name: task.name, how });
    }

    async fn stop(&mut self) {
        let deadline = Instant::now() + self.options.drain;
        while let Some(task) = self.running.last_mut() {
            task.stopping = true;
            task.stop.drain();
            tokio::select! {
                biased;
                Some(joined) = self.tasks.join_next_with_id() => self.record(joined),
                () = self.asked.abort() => return self.abort("asked a second time").await,
                () = sleep_until(deadline) => return self.abort("draining took too long").await,
            }
        }
    }

    async fn abort(&mut self, why: &str) {
        tracing::warn!(why, "stopping what is left without draining");
        for task in &mut self.running {
            task.stopping = true;
            task.stop.abort();
            if !task.thread {
                task.handle.abort();
            }
        }
        let deadline = Instant::now() + self.options.abort;
        while !self.running.is_empty() {
            tokio::select! {
                biased;
                Some(joined) = self.tasks.join_next_with_id() => self.record(joined),
                () = sleep_until(deadline) => break,
            }
        }
        self.tasks.abort_all();
        while let Some(joined) = self.tasks.join_next_with_id().await {
            self.record(joined);
        }
    }
}

fn how_joined(error: JoinError) -> How {
    if error.is_cancelled() {
        return How::Aborted;
    }
    How::Panicked(error.try_into_panic().map_or_else(|error| error.to_string(), |panic| message(&*panic)))
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a message".to_owned())
}

#[cfg(test)]
mod tests;
