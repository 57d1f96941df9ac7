//! What can go wrong with a connection, a body and a send, and what that means for a retry.

use std::io;
use std::time::Duration;

use http::Request;
use tutti_core::{Classify, Kind, Origin, Retry};

use crate::body::Body;
use crate::pace::MinRate;
use crate::stream::Addr;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// No connection could be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot connect to {addr}")]
pub struct ConnectError {
    /// To whom.
    pub addr: Addr,
    /// Why.
    #[source]
    pub cause: ConnectCause,
}

/// Why no connection could be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectCause {
    /// The system said so.
    #[error(transparent)]
    Io(io::Error),
    /// Nobody answered in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
}

impl ConnectError {
    /// Whether somebody at the address said no at once (nobody listens there).
    pub fn is_refused(&self) -> bool {
        matches!(&self.cause, ConnectCause::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused)
    }
}

/// `ENFILE` and `EMFILE`, the same numbers on every Unix; `std::io::ErrorKind` has no name for them.
const OUT_OF_FILES: [i32; 2] = [23, 24];

impl ConnectError {
    /// Whether it says nothing of the peer: we are out of files, memory or ports.
    pub fn is_ours(&self) -> bool {
        matches!(&self.cause, ConnectCause::Io(error)
            if error.raw_os_error().is_some_and(|number| OUT_OF_FILES.contains(&number))
                || matches!(error.kind(), io::ErrorKind::OutOfMemory | io::ErrorKind::AddrNotAvailable))
    }
}

impl Classify for ConnectError {
    fn kind(&self) -> Kind {
        match &self.cause {
            ConnectCause::Timeout(_) => Kind::Timeout,
            ConnectCause::Io(error) if error.kind() == io::ErrorKind::TimedOut => Kind::Timeout,
            ConnectCause::Io(_) => Kind::Unavailable,
        }
    }

    fn origin(&self) -> Origin {
        if self.is_ours() { Origin::Us } else { Origin::Upstream }
    }

    fn retry(&self) -> Retry {
        Retry::Safe
    }
}

/// A body ended before its end. Whoever has received a part of it must not take it for the whole.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The peer closed the connection in the middle.
    #[error("the connection was closed in the middle of the body")]
    Incomplete(Origin),
    /// The peer's framing is not what RFC 9112 allows.
    #[error("the body's framing is malformed: {1}")]
    Malformed(Origin, &'static str),
    /// The connection failed.
    #[error("the connection failed in the middle of the body")]
    Io(Origin, #[source] io::Error),
    /// The HTTP/2 stream or connection failed.
    #[error("the HTTP/2 stream failed in the middle of the body")]
    Http2(Origin, #[source] hyper::Error),
    /// Nothing came for too long.
    #[error("the body stood still for {0:?}")]
    Idle(Duration),
    /// The peer sends at less than the least rate.
    #[error("the peer sends less than {} bytes a second", .1.bytes_per_second)]
    Slow(Origin, MinRate),
    /// It is longer than the reader allows.
    #[error("the body is longer than {0} bytes")]
    TooLarge(usize),
    /// Whoever makes the body gave up.
    #[error("the body's source gave up")]
    Aborted(#[source] Option<BoxError>),
}

impl BodyError {
    /// The kind of the operating system's error behind this one, if there is one.
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        match self {
            BodyError::Io(_, source) => Some(source.kind()),
            _ => None,
        }
    }
}

impl Classify for BodyError {
    fn kind(&self) -> Kind {
        match self {
            BodyError::Incomplete(Origin::Client) | BodyError::Malformed(Origin::Client, _) => Kind::Invalid,
            BodyError::Incomplete(_) | BodyError::Malformed(..) => Kind::Unavailable,
            BodyError::Io(..) | BodyError::Http2(..) => Kind::Unavailable,
            BodyError::Idle(_) | BodyError::Slow(..) => Kind::Timeout,
            BodyError::TooLarge(_) => Kind::Exhausted,
            BodyError::Aborted(_) => Kind::Internal,
        }
    }

    fn origin(&self) -> Origin {
        match self {
            BodyError::Incomplete(origin)
            | BodyError::Malformed(origin, _)
            | BodyError::Io(origin, _)
            | BodyError::Slow(origin, _)
            | BodyError::Http2(origin, _) => *origin,
            BodyError::Idle(_) | BodyError::TooLarge(_) | BodyError::Aborted(_) => Origin::Us,
        }
    }
}

/// How far a request got before it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// No byte of it was sent, or the peer said that it did not look at it (HTTP/2 REFUSED_STREAM, GOAWAY):
    /// any request may be sent again.
    NothingSent,
    /// Some or all of it was sent and no byte of a response came. On a connection that was used before, the peer has most
    /// often closed it without seeing the request; but it may also have carried it out, so only an
    /// idempotent request (RFC 9110 section 9.2.2) may be sent again.
    Sent,
    /// A response had begun: not to be sent again.
    ResponseBegan,
}

/// Why a request got no response.
#[derive(Debug, thiserror::Error)]
pub enum SendCause {
    /// The peer closed the connection.
    #[error("the peer closed the connection")]
    Closed,
    /// The connection failed.
    #[error("the connection failed")]
    Io(#[source] io::Error),
    /// What came back is not a response.
    #[error("the response is malformed: {0}")]
    Malformed(&'static str),
    /// The response's head is larger than allowed.
    #[error("the response's head is too large: {0}")]
    TooLarge(&'static str),
    /// The request's own body failed while it was being sent.
    #[error("the request's body could not be sent")]
    RequestBody(#[source] BodyError),
    /// The request cannot be written down in this protocol.
    #[error("the request cannot be sent: {0}")]
    Request(&'static str),
    /// HTTP/2 failed.
    #[error("the HTTP/2 stream failed")]
    Http2(#[source] hyper::Error),
    /// The peer has said that it did not process the request (RFC 9113 section 8.7), and may on another connection.
    #[error("it was refused before it was processed")]
    Refused(#[source] hyper::Error),
    /// The peer takes no more requests on this HTTP/2 connection, and may on another.
    #[error("the connection takes no more requests")]
    NoStreams,
}

/// A request got no response.
#[derive(Debug, thiserror::Error)]
#[error("the request got no response")]
pub struct SendError {
    /// How far it got.
    pub stage: Stage,
    /// What happened.
    #[source]
    pub cause: SendCause,
    /// The request, if it can be sent again as it was: its body is empty or in memory, or was never touched.
    pub request: Option<Box<Request<Body>>>,
}

impl Classify for SendError {
    fn kind(&self) -> Kind {
        match &self.cause {
            SendCause::Request(_) => Kind::Invalid,
            SendCause::RequestBody(source) => source.kind(),
            _ => Kind::Unavailable,
        }
    }

    fn origin(&self) -> Origin {
        match &self.cause {
            SendCause::Request(_) => Origin::Client,
            SendCause::RequestBody(source) => source.origin(),
            _ => Origin::Upstream,
        }
    }

    /// Safe only when nothing was sent; at [`Stage::Sent`] the caller knows whether the method is idempotent.
    fn retry(&self) -> Retry {
        match self.stage {
            Stage::NothingSent => Retry::Safe,
            Stage::Sent | Stage::ResponseBegan => Retry::Unsafe,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_we_lack_is_not_the_peers_fault() {
        let of = |cause| ConnectError { addr: Addr::Unix(None), cause: ConnectCause::Io(cause) };
        for ours in [23, 24, 12] {
            let error = of(io::Error::from_raw_os_error(ours));
            assert!(error.is_ours() && error.origin() == Origin::Us, "{error:?}");
        }
        assert!(of(io::ErrorKind::AddrNotAvailable.into()).is_ours());
        for theirs in
            [io::ErrorKind::ConnectionRefused, io::ErrorKind::ConnectionReset, io::ErrorKind::TimedOut]
        {
            assert!(!of(theirs.into()).is_ours(), "{theirs:?}");
        }
    }
}
