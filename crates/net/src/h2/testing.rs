//! Peers that write HTTP/2 frame by frame.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::Body;
use crate::drain::DrainSignal;
use crate::h2::server;
use crate::server::{Protocol, Settings, Shared};
use crate::stream::Stream;
use crate::testing::{Closure, info};

/// What a client sends first.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// `GET http://h/`, compressed (RFC 7541).
pub(super) const GET: &[u8] = b"\x82\x86\x84\x41\x01h";

/// A frame of RFC 9113 section 4.1.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
    out
}

/// A setting of RFC 9113 section 6.5.1.
pub(super) fn setting(name: u8, value: u32) -> Vec<u8> {
    let mut out = vec![0, name];
    out.extend(value.to_be_bytes());
    out
}

/// The preface, settings with an initial window, and `GET http://h/` on stream 1.
pub(super) fn asking(window: u32) -> Vec<u8> {
    let mut out = PREFACE.to_vec();
    out.extend(frame(4, 0, 0, &setting(4, window)));
    out.extend(frame(1, 5, 1, GET));
    out
}

/// The preface and empty settings.
pub(super) fn opening() -> Vec<u8> {
    [PREFACE, &frame(4, 0, 0, &[])].concat()
}

/// A frame that came.
#[derive(Debug)]
pub(super) struct Got {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

/// The next frame; pings are answered as a living peer does.
pub(super) async fn next(peer: &mut Stream) -> Option<Got> {
    let mut head = [0; 9];
    peer.read_exact(&mut head).await.ok()?;
    let [a, b, c, kind, flags, d, e, f, g] = head;
    let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
    peer.read_exact(&mut payload).await.ok()?;
    if kind == 6 && flags & 1 == 0 {
        // A peer that has gone does not hear it.
        let _ = peer.write_all(&frame(6, 1, 0, &payload)).await;
    }
    Some(Got { kind, flags, stream: u32::from_be_bytes([d, e, f, g]), payload })
}

/// Reads until a frame of a kind comes or the other side closes; says on which stream.
pub(super) async fn until(peer: &mut Stream, wanted: u8) -> Option<Got> {
    let reading = async {
        loop {
            match next(peer).await {
                Some(got) if got.kind == wanted => return Some(got),
                Some(_) => {}
                None => return None,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(3_600), reading).await.expect("it goes on for ever")
}

/// The code of the GOAWAY with which the other side closes.
pub(super) async fn goodbye(peer: &mut Stream) -> Option<u32> {
    let mut code = None;
    while let Some(got) = until(peer, 7).await {
        let [_, _, _, _, a, b, c, d, ..] = got.payload[..] else { panic!("{got:?}") };
        code = Some(u32::from_be_bytes([a, b, c, d]));
    }
    code
}

/// A server, in memory, and its handler.
pub(super) fn serve<F, Fut>(answer: F) -> (Stream, Arc<Closure<F>>, tokio::task::JoinHandle<()>)
where
    F: Fn(Request<Body>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Response<Body>> + Send + 'static,
{
    let (client, stream) = Stream::pair().unwrap();
    let handler = Arc::new(Closure::new(answer));
    let shared = Shared {
        handler: Arc::clone(&handler),
        settings: Settings::named("test"),
        drain: DrainSignal::never(),
    };
    let info = crate::ConnectionInfo { protocol: Protocol::Http2, ..info() };
    let task = tokio::spawn(async move { server::serve(stream, &Arc::new(shared), info).await });
    (client, handler, task)
}
