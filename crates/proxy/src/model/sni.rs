//! Which route a connection of TLS takes, by the name and the protocols of its first message: as the Gateway API's
//! TLSRoute has it, exact names before longer suffixes before shorter ones before any, and order among equals.

use std::collections::HashMap;
use std::sync::Arc;

use tutti_ports::routing::StreamRoute;

/// Finds routes.
#[derive(Debug, Default)]
pub struct Finder {
    exact: HashMap<String, Vec<Rule>>,
    /// By what stands behind `*.`.
    below: HashMap<String, Vec<Rule>>,
    any: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    route: Arc<str>,
    alpn: Vec<Vec<u8>>,
}

impl Rule {
    fn takes(&self, offered: &[Vec<u8>]) -> bool {
        self.alpn.is_empty() || self.alpn.iter().any(|one| offered.contains(one))
    }
}

impl Finder {
    /// Of these routes.
    pub fn new(routes: &[StreamRoute]) -> Self {
        let mut finder = Self::default();
        for route in routes {
            let alpn = route.alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
            let rule = Rule { route: Arc::from(route.name.as_str()), alpn };
            if route.hosts.is_empty() {
                finder.any.push(rule.clone());
            }
            for host in &route.hosts {
                let host = host.to_ascii_lowercase();
                let table = match host.strip_prefix("*.") {
                    Some(suffix) => finder.below.entry(suffix.to_owned()),
                    None => finder.exact.entry(host),
                };
                table.or_default().push(rule.clone());
            }
        }
        finder
    }

    /// The name of the route for a name in lower case and the protocols that are offered.
    pub fn find(&self, name: Option<&str>, offered: &[Vec<u8>]) -> Option<Arc<str>> {
        let first = |rules: &Vec<Rule>| {
            rules.iter().find(|rule| rule.takes(offered)).map(|rule| Arc::clone(&rule.route))
        };
        if let Some(name) = name {
            if let Some(found) = self.exact.get(name).and_then(first) {
                return Some(found);
            }
            let mut rest = name;
            while let Some((_, suffix)) = rest.split_once('.') {
                if let Some(found) = self.below.get(suffix).and_then(first) {
                    return Some(found);
                }
                rest = suffix;
            }
        }
        first(&self.any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(name: &str, hosts: &[&str], alpn: &[&str]) -> StreamRoute {
        let list = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        StreamRoute {
            name: name.to_owned(),
            hosts: list(hosts),
            alpn: list(alpn),
            backends: Vec::new(),
            allow: Vec::new(),
            deny: Vec::new(),
            connect_timeout: None,
            idle_timeout: None,
        }
    }

    #[test]
    fn the_most_specific_name_decides() {
        let finder = Finder::new(&[
            route("any", &[], &[]),
            route("wide", &["*.test"], &[]),
            route("near", &["*.shop.test"], &[]),
            route("mail", &["shop.test"], &["imap", "smtp"]),
            route("shop", &["SHOP.test", "b.test"], &[]),
        ]);
        let offered =
            |protocols: &[&str]| protocols.iter().map(|one| one.as_bytes().to_vec()).collect::<Vec<_>>();
        for (name, protocols, found) in [
            (Some("shop.test"), &["h2"][..], "shop"),
            (Some("shop.test"), &["h2", "smtp"], "mail"),
            (Some("b.test"), &[], "shop"),
            (Some("a.shop.test"), &[], "near"),
            (Some("a.b.shop.test"), &[], "near"),
            (Some("c.test"), &[], "wide"),
            (Some("test"), &[], "any"),
            (Some("xshop.test.evil"), &[], "any"),
            (None, &[], "any"),
        ] {
            assert_eq!(
                finder.find(name, &offered(protocols)).as_deref(),
                Some(found),
                "{name:?} {protocols:?}"
            );
        }
        let narrow = Finder::new(&[route("mail", &["shop.test"], &["smtp"])]);
        assert_eq!(narrow.find(Some("shop.test"), &offered(&["h2"])), None);
        assert_eq!(narrow.find(None, &offered(&["smtp"])), None);
    }
}
