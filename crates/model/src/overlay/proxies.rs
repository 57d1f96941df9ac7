//! The proxies in front of the gateway: `gateway.trusted_proxies`.

use tutti_core::code;
use tutti_ports::routing::{Cidr, ForwardedHeader, TrustedProxies};

use super::types::gateway::TrustedHeader;
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
    if ranges.iter().any(|range| range.bits() == 0) {
        let message = "`trusted_proxies` holds every address, so anybody can say to be anybody";
        let hint = "name the addresses of the proxies; `private_ranges` are those of private networks";
        report.add(Problem::error(code::BAD_VALUE, message).at(span).hint(hint));
    }
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
