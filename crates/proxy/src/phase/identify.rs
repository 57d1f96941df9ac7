//! Phase 3: who asks, and under which names the request is found again.

use std::net::{IpAddr, Ipv4Addr};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;
use tutti_core::limits;
use tutti_core::random::Rng;
use tutti_net::transport::Proxied;
use tutti_net::{TlsInfo, field};

use super::{Exchange, Stop};
use crate::error::Fault;
use crate::explain::live;
use crate::model::forwarded::{self, Stamp};
use crate::model::hints::Hints;
use crate::model::router;
use crate::model::trace::{self, Context, TRACESTATE_BYTES};
use crate::page::Form;
use crate::snapshot::plan::Side;

/// `X-Request-Id`.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Runs the phase.
pub fn run(exchange: &mut Exchange<'_>) -> Result<(), Stop> {
    let worker = exchange.worker;
    let peer =
        exchange.connection.peer.socket_addr().map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |peer| peer.ip());
    let trusted = &exchange.listener.trusted;
    let believed = match exchange.listener.side {
        Side::Door => true,
        Side::Edge => trusted.contains(peer),
    };
    let headers = exchange.request.headers_mut();
    let client = if believed && exchange.listener.side == Side::Edge {
        forwarded::believe(peer, headers, trusted)
    } else {
        peer
    };
    exchange.entry.client = Some(client);
    // Whoever sits at this machine, and our own services. What comes through a proxy on this machine that nobody told us to
    // trust looks as if it came from here, but such proxies say for whom they ask.
    exchange.among_us = exchange.listener.side == Side::Door
        || client.is_loopback()
            && (believed || !headers.keys().any(|name| forwarded::is_claim(name.as_str())));

    let named = names_itself(headers);
    if named
        && let Some(all) = live::allowed(worker, client, exchange.among_us)
        && let Some(wish) = headers.remove(&live::EXPLAIN)
        && wish == "true"
    {
        exchange.explain = Some(Box::new(live::Asked { all, ..live::Asked::default() }));
    }
    let hints = Hints::take(headers, believed, exchange.form == Form::Grpc);
    let started = Instant::from_std(exchange.started);
    exchange.deadline = hints.remaining.and_then(|remaining| started.checked_add(remaining));
    exchange.repeated = hints.repeated;
    exchange.priority = hints.priority;

    if let Some(fields) = &exchange.listener.identity {
        fields.strip(headers);
    }
    let proxied = exchange.connection.proxied.as_deref();
    let tls = exchange.connection.tls.is_some() || proxied.is_some_and(Proxied::tls);
    let port = proxied.map_or(exchange.listener.address, |proxied| proxied.to).port();
    let key = StampKey { peer, believed, tls, port };
    worker.stamps.borrow_mut().with(&key, exchange.entry.host.as_ref(), |stamp| {
        stamp.apply(headers, exchange.entry.host.as_ref());
    });

    let context =
        named.then(|| resume(headers, &worker.rng)).flatten().unwrap_or_else(|| Context::begin(&worker.rng));
    let parent = Bytes::copy_from_slice(&context.traceparent());
    let said = if named { headers.get(&REQUEST_ID) } else { None };
    let kept = said.filter(|id| trace::valid_request_id(id.as_bytes())).cloned();
    // A new request's id is its trace's: one name less to carry around.
    let id = kept.or_else(|| field::value(parent.slice(trace::TRACE_ID)));
    let id = id.unwrap_or_else(|| HeaderValue::from_static("none"));
    if let Some(parent) = field::value(parent) {
        headers.insert(TRACEPARENT, parent);
    }
    exchange.entry.trace = Some(context);
    // Also when it is kept: there may have been a second one, that nobody has looked at.
    headers.insert(REQUEST_ID, id.clone());
    exchange.entry.request_id = Some(id);
    if exchange.connection.tls.as_ref().is_some_and(|tls| is_misdirected(tls, exchange.entry.host.as_ref())) {
        return Err(Fault::misdirected().into());
    }
    Ok(())
}

/// Whether a request may have a field of those by which it is found again or asks to be explained. Most have none, and one look at all
/// names costs less than one for each of these.
fn names_itself(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| name.as_str().starts_with("x-") || name.as_str().starts_with("trace"))
}

/// The trace that the caller is in, if it says so as it should; else what it says of it besides goes.
fn resume(headers: &mut HeaderMap, rng: &Rng) -> Option<Context> {
    let begun = headers.get(&TRACEPARENT).and_then(|parent| Context::resume(parent.as_bytes(), rng));
    // It may stand in several fields, which count as one.
    let state: usize = headers.get_all(&TRACESTATE).iter().map(HeaderValue::len).sum();
    if begun.is_none() || state > TRACESTATE_BYTES {
        headers.remove(&TRACESTATE);
    }
    begun
}

/// Whether a request came on a connection that was made for another host, by a client that asked for that one by name: over
/// HTTP/2 clients use a connection for every host that its certificate is for (RFC 9113 section 9.1.1), and must
/// not do so for others.
fn is_misdirected(tls: &TlsInfo, host: Option<&HeaderValue>) -> bool {
    let (Some(sni), Some(key)) = (&tls.sni, &tls.key) else { return false };
    let host = host.and_then(|host| host.to_str().ok()).and_then(router::host_key);
    host.is_some_and(|host| *host != **sni && !key.covers(&host))
}

/// What decides a [`Stamp`] besides the host.
#[derive(Clone, PartialEq, Eq)]
struct StampKey {
    peer: IpAddr,
    believed: bool,
    tls: bool,
    port: u16,
}

/// The stamps that were used last: a client's requests come one after the other, and making the values anew for each
/// would cost more than routing it.
#[derive(Default)]
pub struct Stamps {
    kept: Vec<(StampKey, Option<HeaderValue>, Stamp)>,
    next: usize,
}

impl Stamps {
    fn with(&mut self, key: &StampKey, host: Option<&HeaderValue>, then: impl FnOnce(&Stamp)) {
        let known = self.kept.iter().find(|(one, of, _)| one == key && of.as_ref() == host);
        if let Some((_, _, stamp)) = known {
            return then(stamp);
        }
        let mut stamp = Stamp::new(key.believed, key.peer, key.tls, key.port);
        if let Some(host) = host.and_then(|host| host.to_str().ok()) {
            stamp = stamp.with_host(host);
        }
        then(&stamp);
        let entry = (key.clone(), host.cloned(), stamp);
        if self.kept.len() < limits::STAMPS {
            self.kept.push(entry);
        } else if let Some(oldest) = self.kept.get_mut(self.next % limits::STAMPS) {
            *oldest = entry;
            self.next += 1;
        }
    }
}
