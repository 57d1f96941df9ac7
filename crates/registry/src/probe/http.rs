//! `GET`, judged by the status.

use std::net::SocketAddr;
use std::sync::Weak;
use std::time::Duration;

use bytes::BytesMut;
use http::{Request, StatusCode, header};
use tutti_core::error::chain;
use tutti_net::h1::Settings;
use tutti_net::h1::client::{Connection, Nowhere};
use tutti_net::{Addr, Body, Stream};

use super::{BODY_BYTES, Found, no_connection};
use crate::model::check::Verdict;
use crate::text::{printable, quoted};

pub(super) async fn probe(
    addr: SocketAddr,
    path: &str,
    host: Option<&str>,
    any_status: bool,
    timeout: Duration,
) -> Found {
    let what = format!("GET {} at {addr}", printable(path, 80));
    let authority = host.map_or_else(|| addr.to_string(), str::to_owned);
    let request = Request::get(path)
        .header(header::HOST, authority)
        .header(header::USER_AGENT, concat!("tutti/", env!("CARGO_PKG_VERSION"), " (health)"))
        .header(header::ACCEPT, "*/*")
        .header(header::CONNECTION, "close")
        .body(Body::empty());
    let request = match request {
        Ok(request) => request,
        Err(error) => return Found::new(Verdict::Fail, format!("{what} cannot be asked: {error}")),
    };
    let stream = match Stream::connect(&Addr::Tcp(addr), timeout).await {
        Ok(stream) => stream,
        Err(error) => return no_connection(&error),
    };
    let connection = Connection::new(stream, &Settings::default(), Weak::<Nowhere>::new());
    match connection.send(request).await {
        Ok(response) => {
            let status = response.status();
            let verdict = judge(status, any_status);
            let said = beginning(response.into_body()).await;
            let said = if verdict == Verdict::Pass { String::new() } else { quoted(&said) };
            Found::new(verdict, format!("{what} answered {}{said}", status.as_u16()))
        }
        Err(error) => {
            let why = printable(&chain(&error.cause), 150);
            Found::new(Verdict::Fail, format!("{what} got no answer: {why}"))
        }
    }
}

/// 2xx and 3xx pass, 429 warns, the rest fails (Consul's rule).
pub(super) fn judge(status: StatusCode, any_status: bool) -> Verdict {
    match status.as_u16() {
        _ if any_status => Verdict::Pass,
        200..=399 => Verdict::Pass,
        429 => Verdict::Warn,
        _ => Verdict::Fail,
    }
}

/// What comes of the body, up to a bound; its end is not of interest.
async fn beginning(mut body: Body) -> BytesMut {
    let mut kept = BytesMut::new();
    let mut seen = 0;
    while seen < BODY_BYTES {
        let Some(Ok(frame)) = body.frame().await else { break };
        let Ok(data) = frame.into_data() else { break };
        seen += data.len();
        let room = 512_usize.saturating_sub(kept.len());
        kept.extend_from_slice(data.get(..room.min(data.len())).unwrap_or_default());
    }
    kept
}
