//! One connection: its control streams, its requests, its farewell.

use std::rc::Rc;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::BytesMut;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tutti_core::limits;

use super::control::{self, Seen};
use super::frame::{self, kind};
use super::{Broken, Code, stream, varint};
use crate::allowance::Allowance;
use crate::h2::streams::{Active, Streams};
use crate::server::{ConnectionInfo, LocalHandler, Shared};

/// What the tasks of a connection share.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) quic: quinn::Connection,
    watch: Mutex<Watch>,
    /// What it was closed for that is a flood.
    flooded: OnceLock<&'static str>,
}

#[derive(Debug)]
struct Watch {
    control: Allowance,
    cancelled: Allowance,
}

/// Things without a meaning that a request allows.
const PER_MESSAGE: u32 = 4;

impl Link {
    fn new(quic: quinn::Connection) -> Self {
        let (now, slow) = (Instant::now(), limits::HTTP2_CONTROL_PER_SECOND);
        let watch = Watch {
            control: Allowance::new(limits::HTTP2_CONTROL_FRAMES, slow, now),
            cancelled: Allowance::new(limits::HTTP2_CANCELLED, slow, now),
        };
        Self { quic, watch: Mutex::new(watch), flooded: OnceLock::new() }
    }

    /// Closes the connection for what the client did.
    pub(super) fn fail(&self, code: Code, reason: &'static str) {
        if code == Code::ExcessiveLoad {
            let _ = self.flooded.set(reason);
        }
        tracing::debug!(?code, reason, "an HTTP/3 connection is closed");
        self.quic.close(code.wire(), reason.as_bytes());
    }

    fn watch<T>(&self, act: impl FnOnce(&mut Watch) -> T) -> T {
        act(&mut self.watch.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Something came that carries nothing.
    pub(super) fn nothing(&self) -> Result<(), Broken> {
        let over = self.watch(|watch| watch.control.take(Instant::now()));
        let reason = "an HTTP/3 connection carries too many frames and streams without a meaning";
        if over { Err(Broken::Connection(Code::ExcessiveLoad, reason)) } else { Ok(()) }
    }

    /// A request has come.
    pub(super) fn asked(&self) {
        self.watch(|watch| watch.control.give(PER_MESSAGE));
    }

    /// An answer has begun: cancelling it is no more than it cost.
    pub(super) fn answered(&self) {
        self.watch(|watch| watch.cancelled.give(1));
    }

    /// A request was cancelled before it was answered.
    pub(super) fn cancelled(&self) {
        if self.watch(|watch| watch.cancelled.take(Instant::now())) {
            self.fail(Code::ExcessiveLoad, "an HTTP/3 connection carries too many cancelled streams");
        }
    }
}

/// The connection ends without complaint, if not for another reason before.
struct Ending(Arc<Link>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.quic.close(Code::NoError.wire(), b"");
    }
}

/// Serves a connection to its end.
pub(super) async fn serve<H: LocalHandler>(
    quic: quinn::Connection,
    shared: &Arc<Shared<H>>,
    info: ConnectionInfo,
) {
    let link = Arc::new(Link::new(quic));
    // The streams of one direction. They must neither end nor be stopped before the connection (section 6.2.1, RFC 9204 section
    // 4.2): the client would have to take that for an error. So what closes the connection is declared behind them, and thereby goes
    // before them, however this ends.
    let (mut ours, mut theirs) = (None, JoinSet::new());
    let ending = Ending(Arc::clone(&link));
    let Ok(control) = link.quic.open_uni().await else { return };
    let control = ours.insert(control);
    if control.write_all(&opening()).await.is_err() {
        return;
    }
    let mut served =
        Served { link: Arc::clone(&link), shared: Arc::clone(shared), info, streams: Streams::new() };
    served.run(control, &mut theirs).await;
    // What it sends last is on its way before the connection is closed.
    tokio::task::yield_now().await;
    drop(ending);
    if let Some(reason) = link.flooded.get() {
        shared.handler.flooded(reason, &served.info);
    }
}

/// How our control stream begins (section 6.2.1): its type, and our settings.
fn opening() -> BytesMut {
    let mut settings = BytesMut::new();
    for (id, value) in [
        // The largest field section, which the client need not keep to.
        (0x06, limits::HTTP_HEAD_BYTES as u64),
        // No dynamic table (RFC 9204 section 5), and so no stream that waits for one.
        (0x01, 0),
        (0x07, 0),
        // One that means nothing, so that nobody gets used to there being none (section 7.2.4.1).
        (0x1f * 0x5eed + 0x21, 0),
    ] {
        varint::write(&mut settings, id);
        varint::write(&mut settings, value);
    }
    let mut out = BytesMut::new();
    varint::write(&mut out, 0);
    frame::write_head(&mut out, kind::SETTINGS, settings.len() as u64);
    out.extend_from_slice(&settings);
    out
}

/// How far a farewell is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Farewell {
    /// Not begun.
    No,
    /// The client was told that the end is near, and what is on its way is still taken.
    Near,
    /// Requests from this identifier on are not taken.
    From(u64),
}

struct Served<H> {
    link: Arc<Link>,
    shared: Arc<Shared<H>>,
    info: ConnectionInfo,
    streams: Arc<Streams>,
}

impl<H: LocalHandler> Served<H> {
    /// Until there is nothing more to do; `others` are the client's streams of one direction.
    async fn run(&mut self, control: &mut quinn::SendStream, others: &mut JoinSet<()>) {
        let mut requests = JoinSet::new();
        let seen = Rc::new(Seen::default());
        let quic = self.link.quic.clone();
        let idle = self.shared.settings.h2.idle_timeout;
        let (mut farewell, mut next) = (Farewell::No, 0);
        let mut grace = std::pin::pin!(tokio::time::sleep(std::time::Duration::MAX));
        loop {
            if farewell != Farewell::No && farewell != Farewell::Near && requests.is_empty() {
                return;
            }
            tokio::select! {
                biased;
                () = async { tokio::select! {
                    () = self.shared.drain.draining() => {}
                    () = self.streams.idle(idle) => {}
                } }, if farewell == Farewell::No => {
                    // Section 5.2: first that the end is near, and when what was sent before the client heard of that has
                    // come, where the end is.
                    farewell = Farewell::Near;
                    goaway(control, varint::MOST - 3).await;
                    grace.as_mut().reset(Instant::now() + (quic.rtt() * 2).min(LONGEST_GRACE));
                }
                () = grace.as_mut(), if farewell == Farewell::Near => {
                    farewell = Farewell::From(next);
                    goaway(control, next).await;
                }
                Some(end) = requests.join_next() => ended(end),
                Some(end) = others.join_next() => ended(end),
                stream = quic.accept_bi() => {
                    let Ok((send, recv)) = stream else { return };
                    let id = quinn::VarInt::from(send.id()).into_inner();
                    if matches!(farewell, Farewell::From(end) if id >= end) {
                        reject(send, recv);
                        continue;
                    }
                    next = next.max(id + 4);
                    self.link.asked();
                    self.begin(&mut requests, send, recv);
                }
                stream = quic.accept_uni() => {
                    let Ok(stream) = stream else { return };
                    others.spawn_local(control::run(Arc::clone(&self.link), stream, Rc::clone(&seen)));
                }
            }
        }
    }

    fn begin(&mut self, requests: &mut JoinSet<()>, send: quinn::SendStream, recv: quinn::RecvStream) {
        // The client may have come to another address since (RFC 9000 section 9), which was validated then.
        let peer = super::endpoint::addr(self.link.quic.remote_address());
        if self.info.peer != peer {
            self.info.peer = peer;
        }
        let (shared, link) = (Arc::clone(&self.shared), Arc::clone(&self.link));
        let (info, active) = (self.info.clone(), self.streams.begin());
        requests.spawn_local(async move {
            let _active: Active = active;
            stream::serve(&shared, link, &info, send, recv).await;
        });
    }
}

/// Longest time between the two words of a farewell.
const LONGEST_GRACE: std::time::Duration = std::time::Duration::from_millis(500);

async fn goaway(control: &mut quinn::SendStream, id: u64) {
    let mut payload = BytesMut::new();
    varint::write(&mut payload, id);
    let mut out = BytesMut::new();
    frame::write_head(&mut out, kind::GOAWAY, payload.len() as u64);
    out.extend_from_slice(&payload);
    // A few octets: only a client that gives the stream no window at all would make us wait, and it is not waited for.
    let _ = tokio::time::timeout(LONGEST_GRACE, control.write_all(&out)).await;
}

/// The client may send the request again, on another connection (section 4.1.1).
fn reject(mut send: quinn::SendStream, mut recv: quinn::RecvStream) {
    let _ = send.reset(Code::Rejected.wire());
    let _ = recv.stop(Code::Rejected.wire());
}

fn ended(end: Result<(), tokio::task::JoinError>) {
    if let Err(error) = end
        && error.is_panic()
    {
        tracing::error!(%error, "a task of an HTTP/3 connection panicked");
    }
}
