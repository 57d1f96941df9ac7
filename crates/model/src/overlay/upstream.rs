//! `services.NAME.upstream` becomes the policy by which the proxy calls a service.

mod carry;
mod health;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use indexmap::IndexMap;
use tutti_core::{ServiceName, code};
use tutti_ports::routing::{
    Algorithm, Balance, DoorRules, Failover, HashOn, SameSite, SlowStart, Sticky, Subset, Timeouts, Upstream,
};

use super::Overlay;
use super::apply::unknown;
use super::routes::resilience;
use super::types::upstream as types;
use crate::app::{Application, Service};
use crate::compose::environment::Environment;
use crate::diagnostic::Report;
use crate::source::Span;
use crate::value::duration;
use crate::yaml::Node;

/// The share that a slow start begins with, in percent, as in Envoy.
const MINIMUM: u32 = 10;

/// How services are called, as far as the overlay says.
pub(crate) fn upstreams(
    overlay: &Overlay,
    application: &Application,
    env: &Environment,
    report: &mut Report,
) -> BTreeMap<ServiceName, Upstream> {
    let services = &application.services;
    let mut out = BTreeMap::new();
    for (name, addition) in &overlay.types.services {
        let Some(upstream) = &addition.upstream else { continue };
        let node =
            overlay.tree.get("services").and_then(|all| all.get(name)).and_then(|one| one.get("upstream"));
        let Some((name, _)) = services.iter().find(|(other, _)| other.as_str() == name) else { continue };
        let mut reader = Reader { node, services, folder: &application.folder, env, report };
        let upstream = reader.upstream(name, upstream);
        out.insert(name.clone(), upstream);
    }
    out
}

struct Reader<'a> {
    node: Option<&'a Node>,
    services: &'a IndexMap<ServiceName, Service>,
    folder: &'a Path,
    env: &'a Environment,
    report: &'a mut Report,
}

impl Reader<'_> {
    fn span(&self, key: &str) -> Span {
        let node = self.node.and_then(|node| node.get(key)).or(self.node);
        node.map_or(Span::default(), |node| node.span)
    }

    fn bad(&mut self, key: &str, message: String) {
        let span = self.span(key);
        self.report.error(code::BAD_VALUE, span, message);
    }

    fn upstream(&mut self, name: &ServiceName, upstream: &types::Upstream) -> Upstream {
        let hashes = matches!(upstream.balance, Some(types::Algorithm::RingHash | types::Algorithm::Maglev));
        for (key, given) in
            [("hash_on", upstream.hash_on.is_some()), ("bounded_load", upstream.bounded_load.is_some())]
        {
            if given && !hashes {
                self.bad(key, format!("`{key}` has no effect without `balance: ring_hash` or `maglev`"));
            }
        }
        if upstream.slow_start.is_some() && hashes {
            self.bad(
                "slow_start",
                "`slow_start` has no effect with a hash, which leaves no choice".to_owned(),
            );
        }
        let balance = Balance {
            algorithm: upstream.balance.map(algorithm),
            hash_on: self.hash_on(upstream.hash_on.as_ref()),
            bounded_load: upstream.bounded_load,
            sticky: upstream.sticky.as_ref().map(|sticky| self.sticky(name, sticky)),
            slow_start: upstream.slow_start.as_ref().and_then(|slow| self.slow_start(slow)),
            panic_threshold: upstream.panic_threshold.unwrap_or(0),
            prefer_zone: upstream.prefer_zone,
            overprovisioning: upstream.overprovisioning.unwrap_or(Balance::default().overprovisioning),
            failover: upstream.failover.as_ref().and_then(|target| self.failover(name, target)),
        };
        let concurrency = upstream.concurrency.as_ref().map(resilience::concurrency);
        let adaptive = upstream.adaptive.as_ref().map(resilience::adaptive).transpose();
        let adaptive = adaptive.unwrap_or_else(|why| {
            self.bad("adaptive", why);
            None
        });
        if concurrency.as_ref().is_some_and(|rules| rules.limit.is_none()) && adaptive.is_none() {
            self.bad(
                "concurrency",
                "`concurrency` needs a `limit` where there is no `adaptive` one".to_owned(),
            );
        }
        let outlier = upstream.outlier.as_ref().map(|outlier| self.outlier(outlier)).unwrap_or_default();
        let breaker = upstream.breaker.as_ref().and_then(|breaker| self.breaker(breaker));
        let retry_budget = upstream.retry_budget.as_ref().map(resilience::retry_budget);
        let proxy_protocol = upstream.proxy_protocol.map(carry::version);
        let tls = upstream.tls.as_ref().and_then(|tls| self.tls(name, tls));
        let checks = self.checks(upstream.health_check, tls.is_some(), proxy_protocol.is_some());
        let door = upstream.door.as_ref().map(|door| Box::new(self.door(door)));
        Upstream {
            balance,
            outlier,
            breaker,
            retry_budget,
            concurrency,
            adaptive,
            proxy_protocol,
            tls,
            checks,
            door,
        }
    }

    /// How its peers call it.
    fn door(&mut self, said: &types::Door) -> DoorRules {
        let length = |text: &Option<String>| -> Option<Duration> { duration::parse(text.as_ref()?).ok() };
        let timeouts = Timeouts {
            request: length(&said.timeout),
            per_try: length(&said.per_try_timeout),
            idle: length(&said.idle_timeout),
        };
        let node = self.node.and_then(|node| node.get("door"));
        let retries = said.retries.as_ref().zip(node);
        let retries = retries.map(|(said, node)| resilience::retries(node, self.report, said));
        DoorRules { timeouts, retries, hedge: said.hedge.as_ref().and_then(resilience::hedge) }
    }

    fn hash_on(&mut self, on: Option<&types::HashOn>) -> HashOn {
        let named = match on {
            None => return HashOn::Source,
            Some(types::HashOn::Word(word)) => {
                return match word.as_str() {
                    "path" => HashOn::Path,
                    "uri" => HashOn::Uri,
                    _ => HashOn::Source,
                };
            }
            Some(types::HashOn::Named(named)) => named,
        };
        match (&named.header, &named.cookie, &named.query) {
            (Some(name), None, None) => HashOn::Header(name.to_ascii_lowercase()),
            (None, Some(name), None) => HashOn::Cookie(name.clone()),
            (None, None, Some(name)) => HashOn::Query(name.clone()),
            _ => {
                self.bad("hash_on", "exactly one of `header`, `cookie` and `query` is hashed".to_owned());
                HashOn::Source
            }
        }
    }

    fn sticky(&mut self, name: &ServiceName, sticky: &types::StickyOrName) -> Sticky {
        let whole = match sticky {
            types::StickyOrName::Name(cookie) => {
                types::Sticky { cookie: Some(cookie.clone()), ..types::Sticky::default() }
            }
            types::StickyOrName::Whole(whole) => whole.clone(),
        };
        let same_site = match whole.same_site {
            None | Some(types::SameSite::Lax) => SameSite::Lax,
            Some(types::SameSite::Strict) => SameSite::Strict,
            Some(types::SameSite::None) => SameSite::None,
        };
        if same_site == SameSite::None && !whole.secure {
            self.bad("sticky", "browsers refuse `same_site: none` without `secure: true`".to_owned());
        }
        Sticky {
            cookie: whole.cookie.unwrap_or_else(|| format!("tutti-{name}")),
            ttl: whole.ttl.as_deref().and_then(|text| duration::parse(text).ok()),
            path: whole.path.unwrap_or_else(|| "/".to_owned()),
            secure: whole.secure,
            same_site,
        }
    }

    fn slow_start(&mut self, slow: &types::SlowStartOrTime) -> Option<SlowStart> {
        let (window, minimum) = match slow {
            types::SlowStartOrTime::Time(window) => (window, None),
            types::SlowStartOrTime::Whole(whole) => (&whole.window, whole.minimum),
        };
        let window = duration::parse(window).ok().filter(|window: &Duration| !window.is_zero());
        window.map(|window| SlowStart { window, minimum: minimum.unwrap_or(MINIMUM) })
    }

    fn failover(&mut self, own: &ServiceName, target: &str) -> Option<Failover> {
        let (name, port) = match target.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (target, None),
        };
        let Some((service, _)) = self.services.iter().find(|(other, _)| other.as_str() == name) else {
            let names: Vec<ServiceName> = self.services.keys().cloned().collect();
            let span = self.span("failover");
            self.report.add(unknown(name, &names, span, "that could take over"));
            return None;
        };
        if service == own {
            self.bad("failover", format!("`{own}` cannot take over for itself"));
            return None;
        }
        let port = match port.map(str::parse::<u16>) {
            None => None,
            Some(Ok(port)) if port > 0 => Some(port),
            Some(_) => {
                self.bad("failover", format!("`{target}` is not `service` or `service:port`"));
                return None;
            }
        };
        Some(Failover { service: service.clone(), port })
    }
}

fn algorithm(algorithm: types::Algorithm) -> Algorithm {
    match algorithm {
        types::Algorithm::LeastRequest => Algorithm::LeastRequest,
        types::Algorithm::RoundRobin => Algorithm::RoundRobin,
        types::Algorithm::Random => Algorithm::Random,
        types::Algorithm::PeakEwma => Algorithm::PeakEwma,
        types::Algorithm::RingHash => Algorithm::RingHash,
        types::Algorithm::Maglev => Algorithm::Maglev,
    }
}

/// The instances that a route means; `None` when nothing is said of them.
pub(super) fn subset(subset: &types::Subset) -> Option<Subset> {
    let any = subset.version.is_some() || !subset.tags.is_empty() || !subset.labels.is_empty();
    any.then(|| Subset {
        version: subset.version.clone(),
        tags: subset.tags.clone(),
        meta: subset.labels.clone(),
        or_any: subset.fallback == Some(types::Fallback::Any),
    })
}

#[cfg(test)]
mod tests;
