//! `GET`, judged by the status. Over HTTP/2 where requests are.

use std::net::SocketAddr;
use std::sync::Weak;

use bytes::BytesMut;
use http::{Request, StatusCode, header};
use tutti_core::error::chain;
use tutti_net::carry::Carries;
use tutti_net::h1::Settings;
use tutti_net::h1::client::{Connection, Nowhere};
use tutti_net::{Body, SendError, Stream, h2};

use super::{BODY_BYTES, Dial, Found};
use crate::model::check::Verdict;
use crate::text::{printable, quoted};

/// What is asked for.
pub(super) struct Asked<'a> {
    pub addr: SocketAddr,
    pub path: &'a str,
    pub host: Option<&'a str>,
    pub any_status: bool,
}

pub(super) async fn probe(dial: &Dial<'_>, asked: Asked<'_>) -> Found {
    let Asked { addr, path, host, any_status } = asked;
    let what = format!("GET {} at {addr}", printable(path, 80));
    let (stream, authority) = match dial.connect(addr, dial.carries()).await {
        Ok(begun) => begun,
        Err(found) => return found,
    };
    let request = Request::get(path)
        .header(header::HOST, host.map_or(authority, str::to_owned))
        .header(header::USER_AGENT, concat!("tutti/", env!("CARGO_PKG_VERSION"), " (health)"))
        .header(header::ACCEPT, "*/*")
        .header(header::CONNECTION, "close")
        .body(Body::empty());
    let request = match request {
        Ok(request) => request,
        Err(error) => return Found::new(Verdict::Fail, format!("{what} cannot be asked: {error}")),
    };
    let answer = match dial.carries() {
        Carries::Http2 => over_h2(stream, request).await,
        _ => over_h1(stream, request).await,
    };
    match answer {
        Ok((status, said)) => {
            let verdict = judge(status, any_status);
            let said = if verdict == Verdict::Pass { String::new() } else { quoted(&said) };
            Found::new(verdict, format!("{what} answered {}{said}", status.as_u16()))
        }
        Err(error) => {
            let why = printable(&chain(&error.cause), 150);
            Found::new(Verdict::Fail, format!("{what} got no answer: {why}"))
        }
    }
}

async fn over_h1(stream: Stream, request: Request<Body>) -> Result<(StatusCode, BytesMut), SendError> {
    let connection = Connection::new(stream, &Settings::default(), Weak::<Nowhere>::new());
    let response = connection.send(request).await?;
    Ok((response.status(), beginning(response.into_body()).await))
}

async fn over_h2(stream: Stream, request: Request<Body>) -> Result<(StatusCode, BytesMut), SendError> {
    let (mut connection, driver) = h2::client::handshake(stream, &h2::Settings::default()).await?;
    let whole = async {
        let response = connection.send(request).await?;
        Ok((response.status(), beginning(response.into_body()).await))
    };
    h2::client::driven(driver, whole).await
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
