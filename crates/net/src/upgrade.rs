//! `101 Switching Protocols` (RFC 9110 section 7.8) and CONNECT: leaving HTTP with the stream in hand.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use http::{Extensions, Response};

use crate::body::Body;
use crate::stream::Stream;

pub(crate) type Continuation = Box<dyn FnOnce(Stream) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

#[derive(Clone)]
struct Accepted(Arc<Mutex<Option<Continuation>>>);

#[derive(Clone)]
struct Taken(Arc<Mutex<Option<Stream>>>);

/// In a response's extensions: there is no answer; the client's connection is reset, over HTTP/2 its stream.
#[derive(Clone, Copy, Debug)]
pub struct Reset;

/// Server side: after this response (101, or a 2xx to CONNECT) has been sent, `then` gets the client's stream, with
/// every byte that was read behind the request. It runs as part of the connection and ends with it.
/// Over HTTP/2 only a WebSocket can be accepted (RFC 8441); anything else is answered as an internal error.
pub fn accept<F, Fut>(response: &mut Response<Body>, then: F)
where
    F: FnOnce(Stream) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let then: Continuation = Box::new(move |stream| Box::pin(then(stream)));
    response.extensions_mut().insert(Accepted(Arc::new(Mutex::new(Some(then)))));
}

/// Client side: the stream that a 101 (or a 2xx to CONNECT) response came with; once.
pub fn take(response: &mut Response<Body>) -> Option<Stream> {
    let taken = response.extensions_mut().remove::<Taken>()?;
    taken.0.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// The server connection takes what [`accept`] left.
pub(crate) fn accepted(extensions: &mut Extensions) -> Option<Continuation> {
    let accepted = extensions.remove::<Accepted>()?;
    accepted.0.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// The client connection leaves what [`take`] takes.
pub(crate) fn give(response: &mut Response<Body>, stream: Stream) {
    response.extensions_mut().insert(Taken(Arc::new(Mutex::new(Some(stream)))));
}
