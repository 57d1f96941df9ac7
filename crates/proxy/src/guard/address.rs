//! Who may ask, by address.

use std::net::IpAddr;

use tutti_ports::routing::{Cidr, Guard};

/// Ranges of addresses, the narrowest first.
pub struct Addresses {
    /// A range, and whether its addresses may ask.
    ranges: Vec<(Cidr, bool)>,
    /// Whether those may that are in no range.
    others: bool,
}

impl Addresses {
    /// Compiles the lists; `None` without any.
    pub fn compile(guard: &Guard) -> Option<Self> {
        let mut ranges: Vec<(Cidr, bool)> = Vec::new();
        ranges.extend(guard.deny.iter().map(|range| (*range, false)));
        ranges.extend(guard.allow.iter().map(|range| (*range, true)));
        // Stable: of two alike, the denying one comes first.
        ranges.sort_by_key(|(range, _)| std::cmp::Reverse(range.bits()));
        (!ranges.is_empty()).then_some(Self { ranges, others: guard.allow.is_empty() })
    }

    /// Whether an address may ask.
    pub fn allow(&self, address: IpAddr) -> bool {
        let found = self.ranges.iter().find(|(range, _)| range.contains(address));
        found.map_or(self.others, |(_, may)| *may)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_narrowest_range_decides() {
        let list = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let guard = |allow: &[&str], deny: &[&str]| {
            let guard = Guard { allow: list(allow), deny: list(deny), ..Guard::default() };
            Addresses::compile(&guard).unwrap()
        };
        let may = |addresses: &Addresses, text: &str| addresses.allow(text.parse().unwrap());
        let mixed = guard(&["10.0.0.0/8", "10.1.2.3"], &["10.1.0.0/16", "2001:db8::/32"]);
        for (address, allowed) in [
            ("10.9.9.9", true),
            ("10.1.9.9", false),
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("192.0.2.1", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(may(&mixed, address), allowed, "{address}");
        }
        let denied = guard(&[], &["192.0.2.0/24"]);
        assert!(may(&denied, "192.0.3.1") && !may(&denied, "192.0.2.1") && may(&denied, "::1"));
        assert!(!may(&guard(&["192.0.2.1"], &["192.0.2.1"]), "192.0.2.1"));
        assert!(Addresses::compile(&Guard::default()).is_none());
    }
}
