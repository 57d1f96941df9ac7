//! Why a request went where it went, told with its answer to those who may hear it (`gateway.explain`).
//!
//! Asked for by `x-tutti-explain: true`; told in a field of the same name, as a dictionary (RFC 9651 section 3.2) of strings and numbers.
//! Clients on this machine, those that were listed, and services at their doors hear everything; others, where everybody may ask, hear
//! nothing of instances, addresses and other routes.

use std::fmt::Write as _;
use std::net::IpAddr;

use http::{HeaderName, HeaderValue, Response};
use tutti_net::Body;
use tutti_ports::routing::Explain;

use super::note;
use super::record::{Ended, KEPT, Try};
use super::told::Routing;
use crate::phase::Exchange;
use crate::worker::Worker;

/// `X-Tutti-Explain`.
pub const EXPLAIN: HeaderName = HeaderName::from_static("x-tutti-explain");

/// Longest value: much less than what clients take as a whole header.
const BYTES: usize = 4 << 10;

/// A request whose client wants to hear why.
#[derive(Debug, Default)]
pub struct Asked {
    /// Whether the client may hear of instances, addresses and other routes.
    pub all: bool,
    /// Which route it took, and why.
    pub routing: Routing,
}

/// Whether a client may ask, and whether it may hear everything.
pub fn allowed(worker: &Worker, client: IpAddr, among_us: bool) -> Option<bool> {
    match &worker.view().explain {
        Explain::Off => None,
        Explain::Loopback => among_us.then_some(true),
        Explain::Ranges(ranges) => {
            (among_us || ranges.iter().any(|range| range.contains(client))).then_some(true)
        }
        Explain::Everybody => Some(among_us),
    }
}

/// Tells, with the answer.
pub fn tell(exchange: &Exchange<'_>, asked: &Asked, response: &mut Response<Body>) {
    let mut text = Dictionary::default();
    let entry = &exchange.entry;
    text.number("took_ms", millis(exchange.started.elapsed()));
    text.string("route", entry.route.as_ref().map_or("", |route| &route.name));
    text.string("matched", &asked.routing.matched);
    if let Some((code, origin)) = entry.fault {
        text.string("failed", origin.as_str());
        text.string("code", &code.to_string());
    } else if response.status().is_server_error() {
        text.string("failed", "upstream");
    }
    if let Some(guarded) = &entry.guarded {
        let verdicts = guarded.verdicts.iter().map(|(name, verdict)| {
            let passed = if verdict.allowed { "passed" } else { "refused" };
            format!("{name} {passed}, {} left, reset {}s", verdict.remaining, verdict.reset.as_secs())
        });
        text.string("limits", &joined(verdicts));
    }
    let tries = entry.trail.tries();
    text.string("tries", &joined(tries.iter().map(|one| tried(exchange, one, asked.all))));
    if asked.all {
        instances(exchange, &mut text);
        let others = asked.routing.others.iter().map(|other| format!("{}: {}", other.route, other.why));
        text.string("others", &joined(others));
    }
    if let Ok(value) = HeaderValue::from_str(&text.0) {
        response.headers_mut().insert(EXPLAIN, value);
    }
}

/// The service, and its instances as they stand.
fn instances(exchange: &Exchange<'_>, text: &mut Dictionary) {
    let snapshot = exchange.worker.view();
    let slot = (exchange.entry.trail.slot as usize).checked_sub(1);
    let Some(cluster) = slot.and_then(|slot| snapshot.clusters.get(slot)) else { return };
    let now = exchange.worker.now();
    text.string("service", cluster.service.as_str());
    text.string("balance", cluster.algorithm.as_str());
    if let Some(chosen) = &exchange.entry.chosen {
        text.string("instance", chosen.endpoint().instance.as_str());
        text.string("address", &chosen.endpoint().addr.to_string());
    }
    let levels = cluster.levels.iter().enumerate();
    let all = levels.flat_map(|(at, level)| level.members(&cluster.ready).iter().map(move |one| (at, one)));
    let stand = all.map(|(at, endpoint)| {
        let passed = match note::passed_over(endpoint, now) {
            "" => String::new(),
            why => format!(", passed over ({why})"),
        };
        format!("{} level {at}, {} under way{passed}", endpoint.instance, endpoint.load.get())
    });
    text.string("instances", &joined(stand.take(tutti_core::limits::EXPLAIN_OTHERS)));
}

fn tried(exchange: &Exchange<'_>, one: &Try, all: bool) -> String {
    let ended = match one.ended {
        Ended::Answered(status) => format!("answered {status}"),
        Ended::Refused => "refused".to_owned(),
        Ended::Stale => "stale connection".to_owned(),
        Ended::Late => "too late".to_owned(),
        Ended::Broke => "broke".to_owned(),
        Ended::Abandoned => "abandoned".to_owned(),
    };
    let ms = |us: u32| f64::from(us) / 1e3;
    let connect =
        if one.connect_us == KEPT { String::new() } else { format!(", connect {}ms", ms(one.connect_us)) };
    let snapshot = exchange.worker.view();
    let mut endpoints = snapshot.clusters.iter().flat_map(|cluster| &cluster.ready);
    let name = endpoints.find(|endpoint| endpoint.uid == one.endpoint).filter(|_| all);
    let name = name.map(|endpoint| format!("{} ", endpoint.instance)).unwrap_or_default();
    format!("{name}{ended} +{}ms, took {}ms{connect}", ms(one.began_us), ms(one.took_us))
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join("; ")
}

fn millis(time: std::time::Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

/// A dictionary that grows to [`BYTES`] and no further: what does not fit is left out.
#[derive(Default)]
struct Dictionary(String);

impl Dictionary {
    fn string(&mut self, key: &str, value: &str) {
        if value.is_empty() {
            return;
        }
        let mut text = String::with_capacity(value.len() + 2);
        text.push('"');
        for character in value.chars() {
            match character {
                '"' | '\\' => text.extend(['\\', character]),
                ' '..='~' => text.push(character),
                _ => text.push('?'),
            }
        }
        text.push('"');
        self.member(key, &text);
    }

    fn number(&mut self, key: &str, value: f64) {
        // A decimal has at most twelve digits before its point, and three behind it.
        self.member(key, &format!("{:.3}", value.clamp(0.0, 1e11)));
    }

    fn member(&mut self, key: &str, value: &str) {
        if self.0.len() + key.len() + value.len() + 3 <= BYTES {
            let comma = if self.0.is_empty() { "" } else { ", " };
            let _ = write!(self.0, "{comma}{key}={value}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_told_is_a_dictionary_of_bounded_size() {
        let mut text = Dictionary::default();
        text.number("took_ms", 1.25);
        text.string("none", "");
        text.string("odd", "a\"b\\c\u{e9}\r\nx: y");
        text.string("long", &"x".repeat(BYTES));
        text.string("after", "z");
        assert_eq!(text.0, r#"took_ms=1.250, odd="a\"b\\c???x: y", after="z""#);
        assert!(HeaderValue::from_str(&text.0).is_ok());
    }
}
