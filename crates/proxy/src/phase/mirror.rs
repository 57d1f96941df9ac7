//! Copies of requests for services that are being tried out: sent once, and nobody waits for their answers.
//!
//! A copy never harms the request it was made of: it is sent when the request's body has gone by, a body that is longer than
//! [`limits::MIRROR_BYTES`] is not copied, and a worker has at most [`limits::MIRRORS`] copies under way. What is
//! given up is counted. A copy is tried once and does not count for or against its service.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Request;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::oneshot;
use tutti_core::limits;
use tutti_net::{Body, BodyError};

use super::choose::{self, Asked, Tried};
use super::{Exchange, filter};
use crate::snapshot::cluster::is_h2c;
use crate::snapshot::plan::{MirrorPlan, RoutePlan};
use crate::worker::Worker;

/// Longest time for one copy, its answer included.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Runs the phase.
pub fn run(exchange: &mut Exchange<'_>, route: &RoutePlan) {
    // What a connection becomes cannot be copied.
    if exchange.upgrade.is_some() {
        return;
    }
    for mirror in &route.mirrors {
        if !mirror.always() && exchange.worker.rng.below(mirror.denominator) >= mirror.numerator {
            continue;
        }
        let Some(worker) = exchange.worker.strong() else { return };
        let metrics = &worker.shared.metrics;
        if worker.mirrors.get() >= limits::MIRRORS {
            metrics.mirrors_dropped.inc();
            continue;
        }
        let copy = head(exchange, mirror);
        let Some(body) = tee(exchange) else {
            metrics.mirrors_dropped.inc();
            continue;
        };
        let under_way = UnderWay::begin(Rc::clone(&worker));
        let target = mirror.target;
        let carry = async move {
            let Ok(body) = body.await else { return worker.shared.metrics.mirrors_dropped.inc() };
            let sent = tokio::time::timeout(TIMEOUT, send(&worker, target, copy.map(|()| body))).await;
            let metrics = &worker.shared.metrics;
            if sent == Ok(true) { metrics.mirrors.inc() } else { metrics.mirrors_dropped.inc() }
        };
        exchange.worker.spawn(async move {
            carry.await;
            drop(under_way);
        });
    }
}

/// The copy's head: that of the request, as the mirror's own filters change it.
fn head(exchange: &Exchange<'_>, mirror: &MirrorPlan) -> Request<()> {
    let mut copy = Request::new(());
    *copy.method_mut() = exchange.request.method().clone();
    *copy.uri_mut() = exchange.request.uri().clone();
    *copy.headers_mut() = exchange.request.headers().clone();
    // An unfinished body of the client's must not be asked for twice.
    copy.headers_mut().remove(http::header::EXPECT);
    filter::backend_request(&mirror.edits, &mut copy, exchange.prefix);
    copy
}

/// The copy's body, when it has gone by; `None` if it is known to be too long.
fn tee(exchange: &mut Exchange<'_>) -> Option<oneshot::Receiver<Body>> {
    let (sender, receiver) = oneshot::channel();
    let body = exchange.request.body_mut();
    if let Some(whole) = body.in_memory() {
        let _ = sender.send(Body::full(whole));
        return Some(receiver);
    }
    if body.size_hint().lower() > limits::MIRROR_BYTES as u64 {
        return None;
    }
    let inner = std::mem::take(body);
    *body = Body::boxed(Tee { inner, copied: Some((BytesMut::new(), sender)) });
    Some(receiver)
}

/// A body of which a copy is made as it goes by.
struct Tee {
    inner: Body,
    copied: Option<(BytesMut, oneshot::Sender<Body>)>,
}

impl Tee {
    fn finish(&mut self) {
        if let Some((bytes, sender)) = self.copied.take() {
            let _ = sender.send(Body::full(bytes.freeze()));
        }
    }
}

impl HttpBody for Tee {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        match &frame {
            None => self.finish(),
            Some(Err(_)) => self.copied = None,
            Some(Ok(frame)) => {
                let data = frame.data_ref();
                let over = self.copied.as_mut().is_some_and(|(bytes, _)| {
                    bytes.extend_from_slice(data.map_or(&[][..], |data| data));
                    bytes.len() > limits::MIRROR_BYTES
                });
                if over {
                    self.copied = None;
                } else if frame.is_trailers() || self.inner.is_end_stream() {
                    self.finish();
                }
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Sends a copy once. Says whether it was answered.
async fn send(worker: &Rc<Worker>, target: crate::snapshot::plan::Target, request: Request<Body>) -> bool {
    let asked = Asked::turn(worker.begin(target.slot));
    let Some(chosen) = choose::now(worker, target.slot, asked, &Tried::default()) else { return false };
    let endpoint = chosen.endpoint();
    // Nobody waits for the answer, so the connection is for nobody.
    let pool = worker.pool_for(endpoint, || None);
    let timeout = worker.shared.options.connect_timeout;
    let response = if is_h2c(endpoint.protocol, target.protocol) {
        let Ok((mut connection, _place)) = pool.share(timeout, |driver| worker.own(driver)).await else {
            return false;
        };
        connection.send(request).await
    } else {
        // A connection of its own making, or one that was used a moment ago: there is no second try.
        let connection = match pool.take(true) {
            Some(connection) => connection,
            None => match pool.dial(timeout).await {
                Ok(connection) => connection,
                Err(_) => return false,
            },
        };
        connection.send(request).await
    };
    let Ok(response) = response else { return false };
    let mut body = response.into_body();
    let mut read = 0;
    while let Some(Ok(frame)) = body.frame().await {
        read += frame.data_ref().map_or(0, Bytes::len);
        if read > limits::MIRROR_BYTES {
            break;
        }
    }
    true
}

/// A copy under way.
struct UnderWay(Rc<Worker>);

impl UnderWay {
    fn begin(worker: Rc<Worker>) -> Self {
        worker.mirrors.set(worker.mirrors.get() + 1);
        Self(worker)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.mirrors.set(self.0.mirrors.get().saturating_sub(1));
    }
}
