//! What moves a client's connection: one task, in which requests go out before anything that came is looked at.
//!
//! hyper gives its connection to the executor and keeps for itself what takes requests, and h2 opens streams only when it has read
//! everything. So settings could come in between the look at what the server allows and the request for which that was done, which would
//! then wait for a stream that the server does not give. Here such a request is on its way before anything else is read.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use hyper::client::conn::http2::Connection;
use hyper::rt::Executor;
use tokio::sync::watch;

use super::io::{HyperStream, Seen, Tasks};
use crate::body::Body;

/// What moves the bytes of a connection.
type Moving = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs a connection's streams as tasks, and keeps what comes first: the connection itself.
#[derive(Clone, Default)]
pub(super) struct Running {
    tasks: Tasks,
    first: Arc<Mutex<First>>,
}

#[derive(Default)]
enum First {
    #[default]
    ToCome,
    Kept(Moving),
    Taken,
}

impl Running {
    /// The connection, once.
    fn moving(&self) -> Option<Moving> {
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *first, First::Taken) {
            First::Kept(moving) => Some(moving),
            First::ToCome | First::Taken => None,
        }
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Running {
    fn execute(&self, future: F) {
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*first, First::ToCome) {
            *first = First::Kept(Box::pin(future));
            return;
        }
        drop(first);
        self.tasks.execute(future);
    }
}

/// Moves a connection until it takes no requests and its streams are done. Tells `sockets` whether the server takes WebSockets as soon as
/// its settings are in force.
pub(super) async fn drive(
    requests: Connection<HyperStream, Body, Running>,
    running: Running,
    seen: &Seen,
    sockets: watch::Sender<Option<bool>>,
) -> hyper::Result<()> {
    let (mut requests, mut moving, mut sockets) = (Some(requests), running.moving(), Some(sockets));
    let mut end = Ok(());
    std::future::poll_fn(|cx| {
        let asked = seen.was_asked();
        if let Some(taking) = &mut requests
            && let Poll::Ready(over) = Pin::new(taking).poll(cx)
        {
            (end, requests, sockets) = (over, None, None);
        }
        for held in [true, false] {
            seen.hold(held);
            if (asked || !held)
                && let Some(bytes) = &mut moving
                && bytes.as_mut().poll(cx).is_ready()
            {
                moving = None;
            }
        }
        if let Some(taking) = &requests
            && seen.is_settled()
            && let Some(told) = sockets.take()
        {
            told.send_replace(Some(taking.is_extended_connect_protocol_enabled()));
        }
        if requests.is_none() && moving.is_none() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    end
}
