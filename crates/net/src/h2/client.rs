//! A connection to an HTTP/2 server, shared by many requests.

use std::future::Future;
use std::pin::Pin;

use http::{Request, Response};

use super::Settings;
use crate::body::Body;
use crate::error::{SendCause, SendError, Stage};
use crate::stream::Stream;

/// Sends requests on a connection. Cheap to clone; the connection ends when the last clone and the last response are gone.
#[derive(Clone)]
pub struct Connection {}

/// What moves the connection's bytes: spawn it on a task that you own, and it ends with the connection.
pub type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Begins HTTP/2 on a fresh stream.
pub async fn handshake(stream: Stream, settings: &Settings) -> Result<(Connection, Driver), SendError> {
    let _ = (stream, settings);
    Err(SendError { stage: Stage::NothingSent, cause: SendCause::Closed, request: None })
}

impl Connection {
    /// Whether new requests can be sent: the peer has neither closed nor sent GOAWAY.
    pub fn is_usable(&self) -> bool {
        false
    }

    /// Sends a request and waits for the head of its response. Waits for a free stream when the peer's limit is reached.
    pub async fn send(&mut self, request: Request<Body>) -> Result<Response<Body>, SendError> {
        let request = Some(Box::new(request));
        Err(SendError { stage: Stage::NothingSent, cause: SendCause::Closed, request })
    }
}
