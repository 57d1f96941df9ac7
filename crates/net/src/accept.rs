//! Accepting connections without ever dying or spinning, within a limit, until a drain is over.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

use crate::drain::DrainSignal;
use crate::listen::Listener;
use crate::server::{ConnectionInfo, Protocol, Served, Settings};
use crate::stream::{Addr, Stream};

/// After a failed accept: the first wait, doubled with each further failure.
const FIRST_WAIT: Duration = Duration::from_millis(1);
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Numbers connections for logs.
static SERIAL: AtomicU64 = AtomicU64::new(1);

/// The next number of a connection.
pub(crate) fn serial() -> u64 {
    SERIAL.fetch_add(1, Ordering::Relaxed)
}

/// How many connections may be open, and what to call that limit.
pub(crate) struct Limit {
    name: Arc<str>,
    connections: usize,
}

impl Limit {
    pub(crate) fn of(settings: &Settings) -> Self {
        Self { name: Arc::clone(&settings.name), connections: settings.connections.max(1) }
    }
}

/// Where connections come from.
pub(crate) trait Source {
    fn accept(&self) -> impl Future<Output = io::Result<(Stream, Addr)>> + Send;
    fn local(&self) -> Addr;
}

impl Source for Listener {
    fn accept(&self) -> impl Future<Output = io::Result<(Stream, Addr)>> + Send {
        self.accept()
    }

    fn local(&self) -> Addr {
        self.local_addr().clone()
    }
}

/// Accepts until a drain begins, spawns a task for each connection, and waits for the tasks; after the drain's patience they
/// are cut. The listener is closed as soon as the drain begins.
pub(crate) async fn run<S: Source>(
    source: S,
    limit: Limit,
    drain: DrainSignal,
    spawn: impl Fn(&mut JoinSet<()>, Stream, ConnectionInfo),
) -> Served {
    let mut served = Served::default();
    let mut tasks = JoinSet::new();
    tokio::select! {
        biased;
        () = drain.draining() => {}
        never = accept_all(&source, &limit, &mut served, &mut tasks, spawn) => match never {},
    }
    drop(source);
    let all_done = async {
        while let Some(end) = tasks.join_next().await {
            ended(end)
        }
    };
    tokio::select! {
        biased;
        () = all_done => return served,
        () = drain.cut() => {}
    }
    served.cut = tasks.len();
    if served.cut > 0 {
        tracing::warn!(server = %limit.name, connections = served.cut, "connections are cut: they did not end in time");
    }
    tasks.shutdown().await;
    served
}

async fn accept_all<S: Source>(
    source: &S,
    limit: &Limit,
    served: &mut Served,
    tasks: &mut JoinSet<()>,
    spawn: impl Fn(&mut JoinSet<()>, Stream, ConnectionInfo),
) -> std::convert::Infallible {
    let local = source.local();
    let mut wait = FIRST_WAIT;
    loop {
        let full = tasks.len() >= limit.connections;
        let accepted = tokio::select! {
            biased;
            Some(end) = tasks.join_next() => {
                ended(end);
                continue;
            }
            accepted = source.accept(), if !full => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                wait = FIRST_WAIT;
                served.accepted += 1;
                let info = ConnectionInfo {
                    peer,
                    local: reached(&stream, &local),
                    protocol: Protocol::Http1,
                    serial: serial(),
                    tls: None,
                    proxied: None,
                    passed: None,
                };
                spawn(tasks, stream, info);
                if tasks.len() == limit.connections {
                    tracing::warn!(server = %limit.name, limit = limit.connections, "the limit of connections is reached");
                }
            }
            Err(error) => {
                // Out of files or memory, or a connection that was gone before we took it: all of it passes.
                tracing::warn!(server = %limit.name, %error, wait_ms = wait.as_millis() as u64, "cannot accept");
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(LONGEST_WAIT);
            }
        }
    }
}

/// The address that the client has connected to: the listener's, unless that is every address.
fn reached(stream: &Stream, listener: &Addr) -> Addr {
    let every = listener.socket_addr().is_some_and(|addr| addr.ip().is_unspecified());
    let own = every.then(|| stream.local_addr().ok()).flatten();
    own.unwrap_or_else(|| listener.clone())
}

fn ended(end: Result<(), tokio::task::JoinError>) {
    if let Err(error) = end
        && error.is_panic()
    {
        tracing::error!(%error, "a connection's task panicked");
    }
}

#[cfg(test)]
mod tests;
