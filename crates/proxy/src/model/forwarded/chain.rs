//! The chain of addresses that a request has come by, as proxies write it down: `X-Forwarded-For` (de facto) and
//! `Forwarded` (RFC 7239 section 4).

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use http::header::{self, HeaderMap, HeaderName};
use tutti_core::limits;
use tutti_ports::routing::TrustedProxies;

use super::FOR;

/// One address of the chain, and what the proxy that wrote it down has said beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hop {
    pub address: IpAddr,
    pub proto: Option<String>,
    pub host: Option<String>,
}

/// The chain from its right end; `None` is what is no address. No longer than anybody's chain is.
type Chain = Vec<Option<Hop>>;

/// The chain of `X-Forwarded-For`.
pub(super) fn x_forwarded_for(headers: &HeaderMap) -> Chain {
    let mut chain = Chain::new();
    for value in values(headers, &FOR) {
        let Some(text) = value else {
            chain.push(None);
            break;
        };
        for part in text.rsplit(',').take(limits::FORWARDED_HOPS + 1 - chain.len()) {
            chain.push(address(part.trim()).map(|address| Hop { address, proto: None, host: None }));
        }
        if chain.len() > limits::FORWARDED_HOPS {
            break;
        }
    }
    chain
}

/// The chain of `Forwarded`.
pub(super) fn forwarded(headers: &HeaderMap) -> Chain {
    let mut chain = Chain::new();
    for value in values(headers, &header::FORWARDED) {
        match value.and_then(elements_of) {
            Some(hops) => chain.extend(hops.into_iter().rev()),
            // Where one element ends and the next begins is not known.
            None => chain.push(None),
        }
        if chain.len() > limits::FORWARDED_HOPS {
            break;
        }
    }
    chain.truncate(limits::FORWARDED_HOPS + 1);
    chain
}

/// The values of a field from the last one; `None` is one that is not text.
fn values<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = Option<&'a str>> {
    let all: Vec<_> = headers.get_all(name).iter().map(|value| value.to_str().ok()).collect();
    all.into_iter().rev()
}

/// What of a chain can be believed, the client first: as far as proxies that are trusted vouch for it.
pub(super) fn vouched(peer: IpAddr, chain: Chain, trusted: &TrustedProxies) -> Vec<Hop> {
    let mut speaker = peer;
    let mut vouched = Vec::new();
    for hop in chain.into_iter().take(limits::FORWARDED_HOPS) {
        let Some(hop) = hop.filter(|_| trusted.contains(speaker)) else { break };
        speaker = hop.address;
        vouched.push(hop);
    }
    vouched.reverse();
    vouched
}

/// The chain as `Forwarded` has it. What was asked for is said with the client.
pub(super) fn elements(chain: &[Hop], proto: Option<&str>, host: Option<&str>) -> String {
    let mut text = String::new();
    for (at, hop) in chain.iter().enumerate() {
        let between = if at == 0 { "" } else { ", " };
        let _ = match hop.address {
            IpAddr::V4(address) => write!(text, "{between}for={address}"),
            IpAddr::V6(address) => write!(text, "{between}for=\"[{address}]\""),
        };
        if at == 0 {
            let _ = proto.map(|proto| write!(text, ";proto={proto}"));
            let _ = host.map(|host| write!(text, ";host=\"{host}\""));
        }
    }
    text
}

/// An address as proxies write it: alone, with a port, or in brackets.
fn address(text: &str) -> Option<IpAddr> {
    let parsed = text
        .parse()
        .ok()
        .or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
        .or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok());
    parsed.map(|address: IpAddr| address.to_canonical())
}

/// The elements of one field; an inner `None` has no address. `None` if the field is not as RFC 7239 section 4 wants it.
fn elements_of(text: &str) -> Option<Vec<Option<Hop>>> {
    let mut rest = text;
    let mut hops = Vec::new();
    loop {
        let (hop, after) = element(rest)?;
        hops.push(hop);
        match after {
            Some(after) => rest = after,
            None => return Some(hops),
        }
    }
}

/// One element, and what follows its comma.
fn element(mut rest: &str) -> Option<(Option<Hop>, Option<&str>)> {
    let (mut node, mut proto, mut host) = (None, None, None);
    loop {
        let mut other = None;
        rest = rest.trim_start_matches([' ', '\t']);
        let (name, after) = rest.split_at(rest.find(|c| !is_token(c)).unwrap_or(rest.len()));
        let (value, after) = value(after.strip_prefix('=')?)?;
        let place = match name.to_ascii_lowercase().as_str() {
            "for" => &mut node,
            "proto" => &mut proto,
            "host" => &mut host,
            "" => return None,
            _ => &mut other,
        };
        if place.replace(value).is_some() {
            return None;
        }
        let after = after.trim_start_matches([' ', '\t']);
        match after.chars().next() {
            Some(';') => rest = after.get(1..)?,
            Some(',') | None => {
                let node = node.as_deref().and_then(node_address);
                let hop = node.map(|address| Hop { address, proto, host });
                return Some((hop, after.get(1..)));
            }
            Some(_) => return None,
        }
    }
}

/// A token, or a quoted string without its quotes; and what follows.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (token, rest) = text.split_at(text.find(|c| !is_token(c)).unwrap_or(text.len()));
        return (!token.is_empty()).then(|| (token.to_owned(), rest));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, quoted.get(at + 1..)?)),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

/// RFC 7239 section 6: an IPv6 address stands in brackets.
fn node_address(text: &str) -> Option<IpAddr> {
    address(text).filter(|address| address.is_ipv4() || text.starts_with('['))
}

/// RFC 9110 section 5.6.2.
fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}
