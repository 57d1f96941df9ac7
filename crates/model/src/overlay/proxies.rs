//! The proxies in front of the gateway: `gateway.trusted_proxies`, `gateway.proxy_protocol`.

use tutti_core::code;
use tutti_ports::routing::{Cidr, ForwardedHeader, ProxyProtocol, TrustedProxies};

use super::types::gateway::{ProxyMode, ProxyProtocolOrMode, TrustedHeader};
use super::types::{self, Several};
use crate::diagnostic::{Problem, Report};
use crate::source::Span;

/// What stands for the private networks (RFC 1918, RFC 4193) and this machine.
const PRIVATE: &str = "private_ranges";
const PRIVATE_RANGES: [&str; 6] =
    ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "127.0.0.0/8", "::1/128"];

/// Who is believed. `span` is where the ranges stand.
pub(super) fn trusted(said: &types::Gateway, span: Span, report: &mut Report) -> TrustedProxies {
    let ranges = ranges(said.trusted_proxies.as_ref());
    everybody(&ranges, "trusted_proxies", span, report);
    if said.trusted_header.is_some() && ranges.is_empty() {
        let message = "`trusted_header` has no effect without `trusted_proxies`: nobody is believed";
        report.add(Problem::error(code::MISSING_KEY, message).at(span));
    }
    let header = match said.trusted_header {
        Some(TrustedHeader::Forwarded) => ForwardedHeader::Forwarded,
        Some(TrustedHeader::XForwardedFor) | None => ForwardedHeader::XForwardedFor,
    };
    TrustedProxies { ranges, header }
}

/// Who begins connections with a header, and at which addresses of the gateway; none stands for all.
pub(super) fn protocol(
    said: &types::Gateway,
    span: Span,
    report: &mut Report,
) -> Option<(ProxyProtocol, Vec<String>)> {
    let default = types::gateway::ProxyProtocol::default();
    let (mode, whole) = match said.proxy_protocol.as_ref()? {
        ProxyProtocolOrMode::Mode(mode) => (*mode, &default),
        ProxyProtocolOrMode::Whole(whole) => (whole.mode.unwrap_or_default(), whole),
    };
    let listeners = Several::list(whole.listeners.as_ref());
    if listeners.iter().any(|one| one == "https") && said.https.is_none() {
        let message = "`proxy_protocol` is for `https`, and there is none";
        report.add(Problem::error(code::MISSING_KEY, message).at(span));
    }
    let from = ranges(whole.from.as_ref().or(said.trusted_proxies.as_ref()));
    if from.is_empty() {
        let message = "`proxy_protocol` needs to know whose headers are believed";
        let hint = "name the load balancers under `trusted_proxies`, or in its own `from`";
        report.add(Problem::error(code::MISSING_KEY, message).at(span).hint(hint));
    }
    everybody(&from, "proxy_protocol", span, report);
    Some((ProxyProtocol { from, required: mode == ProxyMode::Required }, listeners))
}

fn everybody(ranges: &[Cidr], key: &str, span: Span, report: &mut Report) {
    if ranges.iter().any(|range| range.bits() == 0) {
        let message = format!("`{key}` holds every address, so anybody can say to be anybody");
        let hint = "name the addresses of the proxies; `private_ranges` are those of private networks";
        report.add(Problem::error(code::BAD_VALUE, message).at(span).hint(hint));
    }
}

/// The ranges of a list, which has been looked at one by one.
pub(super) fn ranges(list: Option<&Several>) -> Vec<Cidr> {
    let mut ranges = Vec::new();
    for text in Several::list(list) {
        let all: &[&str] = if text == PRIVATE { &PRIVATE_RANGES } else { &[&text] };
        ranges.extend(all.iter().filter_map(|text| text.parse::<Cidr>().ok()));
    }
    ranges
}

/// Whether a text names proxies.
pub(super) fn proxies(text: &str) -> Result<(), String> {
    let why = |_| format!("`{text}` is neither an address nor a range such as `10.0.0.0/8`, nor `{PRIVATE}`");
    if text == PRIVATE { Ok(()) } else { text.parse::<Cidr>().map(drop).map_err(why) }
}

#[cfg(test)]
mod tests;
