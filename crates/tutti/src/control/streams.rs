//! Answers without an end: events and logs, one JSON value a line. A stream is pulled by its reader: nothing is kept for one who is slow, and
//! nothing runs for one who has gone.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use http::{Response, header};
use http_body::Frame;
use http_body_util::StreamBody;
use serde::Serialize;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tutti_net::Body;
use tutti_supervisor::Event;
use tutti_supervisor::logs::{Followed, Follower, LogLine};

use crate::cli::logs::Item;

/// Events from now on.
pub(super) fn events(events: Receiver<Arc<Event>>) -> Response<Body> {
    lines(stream::unfold(events, |mut events| async move {
        loop {
            match events.recv().await {
                Ok(event) => return Some((line(&*event), events)),
                // The reader was too slow for what it missed; what comes now still matters.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    }))
}

/// Lines that were printed.
pub(super) fn printed(printed: Vec<LogLine>) -> Response<Body> {
    lines(stream::iter(printed).map(|printed| line(&Item::Line(printed))))
}

/// Lines that were printed, and those that come.
pub(super) fn followed(follower: Follower) -> Response<Body> {
    lines(stream::unfold(follower, |mut follower| async move {
        let item = match follower.next().await? {
            Followed::Line(line) => Item::Line((*line).clone()),
            Followed::Lost(count) => Item::Lost(count),
        };
        Some((line(&item), follower))
    }))
}

fn lines(lines: impl Stream<Item = Bytes> + Send + 'static) -> Response<Body> {
    let frames = lines.map(|line| Ok(Frame::data(line)));
    let mut response = Response::new(Body::boxed(StreamBody::new(frames)));
    let kind = header::HeaderValue::from_static("application/x-ndjson");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn line(value: &impl Serialize) -> Bytes {
    // The wire types hold nothing that JSON cannot say.
    let mut text = serde_json::to_vec(value).unwrap_or_default();
    text.push(b'\n');
    text.into()
}
