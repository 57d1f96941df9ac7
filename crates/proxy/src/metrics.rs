//! The data plane's metrics: rate, errors and duration by route and by service, retries, connections, pools.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tutti_core::Origin;
use tutti_core::metrics::{Counter, Family, Gauge, Histogram, Page};

use crate::resilience::gate::Counters;

/// All metrics of one engine.
#[derive(Debug, Default)]
pub struct Metrics {
    routes: Family<Red>,
    names: RwLock<Names>,
    services: Family<Red>,
    faults: Family<Counter>,
    handshakes: Family<Counter>,
    reread: Family<Counter>,
    proxy_headers: Family<Counter>,
    /// What became of requests about which another service is asked, by service and result.
    pub external: Family<Counter>,
    carried: Family<Counter>,
    /// Instances passed over for what their answers showed, by service and reason.
    pub ejections: Family<Counter>,
    /// Times that a circuit breaker opened, by service.
    pub breaker_opened: Family<Counter>,
    /// Requests that an open circuit breaker refused, by service.
    pub breaker_refused: Family<Counter>,
    /// Requests that an open circuit breaker sent to the service that stands in, by service.
    pub breaker_diverted: Family<Counter>,
    /// Instances passed over now, by service.
    pub ejected: Family<Gauge>,
    /// Where circuit breakers are now, by service: 0 closed, 1 half-open, 2 open.
    pub breaker_state: Family<Gauge>,
    /// Tries after the first.
    pub retries: Counter,
    /// Retries that the budget forbade.
    pub retries_denied: Counter,
    /// Requests to another instance because the first took long.
    pub hedges: Counter,
    /// Those of them that were answered first.
    pub hedges_won: Counter,
    /// Those that the budget of retries forbade.
    pub hedges_denied: Counter,
    /// Connections to instances that were made.
    pub connects: Counter,
    /// Connections to instances that failed.
    pub connect_failures: Counter,
    /// Requests that had to wait for a stream on a connection to an instance.
    pub stream_waits: Counter,
    /// Requests that went to another instance instead.
    pub stream_diverted: Counter,
    /// Idle connections to instances.
    pub pool_idle: Gauge,
    shed: Family<Counter>,
    limits: Family<Gauge>,
    queued: Family<Gauge>,
    /// Faults on purpose.
    pub faults_injected: Counter,
    /// Requests that a fallback answered.
    pub fallbacks: Counter,
    /// Requests under way.
    pub in_flight: Gauge,
    /// Messages that were not as described, by route and by what they were.
    pub described: Family<Counter>,
    /// Conditions of routes that could not be evaluated.
    pub conditions_failed: Counter,
    /// Requests refused before they were routed.
    pub refused: Counter,
    /// Connections closed because their clients flooded them.
    pub floods: Counter,
    /// Requests that shared their place in a rate limit with others, for want of room.
    pub rate_limit_crowded: Counter,
    /// Connections of clients that had too many.
    pub clients_refused: Counter,
    /// Access log lines that were dropped.
    pub log_dropped: Counter,
    /// Tunnels (upgrades and TCP) under way.
    pub tunnels: Gauge,
    /// Copies of requests that a mirror has answered.
    pub mirrors: Counter,
    /// Copies of requests that were given up.
    pub mirrors_dropped: Counter,
    /// Generation of the snapshot in force.
    pub generation: Gauge,
}

/// The names of listeners and routes that were ever counted, each with a number that stays the same.
#[derive(Debug, Default)]
struct Names {
    all: Vec<(Arc<str>, Arc<str>)>,
    numbers: HashMap<(Arc<str>, Arc<str>), u32>,
}

impl Names {
    /// Most names; those that come after have no number of their own.
    const MOST: usize = 65_536;

    /// The number of a listener and route; 0 if it has none.
    fn number(&mut self, listener: &str, route: &str) -> u32 {
        let key = (Arc::<str>::from(listener), Arc::<str>::from(route));
        if let Some(number) = self.numbers.get(&key) {
            return *number;
        }
        if self.all.len() >= Self::MOST {
            return 0;
        }
        self.all.push(key.clone());
        let number = u32::try_from(self.all.len()).unwrap_or(0);
        self.numbers.insert(key, number);
        number
    }
}

/// Rate, errors and duration of a route or service: one piece of memory that is written without a lock.
#[derive(Debug, Default)]
struct Red {
    /// By status class, 1xx to 5xx.
    classes: [Counter; 5],
    /// By whose fault it was, as in [`ORIGINS`].
    errors: [Counter; 3],
    /// Without an answer, of services.
    unanswered: Counter,
    duration: Histogram,
}

impl Red {
    fn answered(&self, status: u16, took: Duration) {
        let class = usize::from(status / 100).clamp(1, 5) - 1;
        if let Some(counter) = self.classes.get(class) {
            counter.inc();
        }
        self.duration.record(took);
    }

    fn failed(&self, origin: Origin) {
        let [client, us, upstream] = &self.errors;
        match origin {
            Origin::Client => client.inc(),
            Origin::Us => us.inc(),
            Origin::Upstream => upstream.inc(),
        }
    }
}

/// The counters of one route, looked up once.
#[derive(Debug)]
pub struct RouteMetrics {
    /// Its listener and name, for [`Metrics::name`].
    pub number: u32,
    red: Arc<Red>,
}

impl RouteMetrics {
    /// Counts a request, and whose fault it was if it failed.
    pub fn record(&self, status: u16, failed: Option<Origin>, took: Duration) {
        self.red.answered(status, took);
        if let Some(origin) = failed {
            self.red.failed(origin);
        }
    }
}

/// The counters of one service, looked up once.
#[derive(Debug)]
pub struct ServiceMetrics(Arc<Red>);

impl ServiceMetrics {
    /// Counts an answer, and whether it is an error of the service.
    pub fn answered(&self, status: u16, failed: bool, took: Duration) {
        self.0.answered(status, took);
        if failed {
            self.0.failed(Origin::Upstream);
        }
    }

    /// Counts a request that got no whole answer; how long that took, unless there was nobody to ask.
    pub fn unanswered(&self, took: Option<Duration>) {
        self.0.unanswered.inc();
        self.0.failed(Origin::Upstream);
        if let Some(took) = took {
            self.0.duration.record(took);
        }
    }
}

const CLASSES: [&str; 5] =
    [r#"class="1xx""#, r#"class="2xx""#, r#"class="3xx""#, r#"class="4xx""#, r#"class="5xx""#];
const ORIGINS: [&str; 3] = [r#"origin="client""#, r#"origin="tutti""#, r#"origin="upstream""#];

impl Metrics {
    /// The counters of a route.
    pub fn route(&self, listener: &str, route: &str) -> RouteMetrics {
        let number = self.names.write().unwrap_or_else(PoisonError::into_inner).number(listener, route);
        RouteMetrics { number, red: self.routes.kept(&[("listener", listener), ("route", route)]) }
    }

    /// The listener and route of a number; the route is empty for requests that no route took.
    pub fn name(&self, number: u32) -> Option<(Arc<str>, Arc<str>)> {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        names.all.get((number as usize).checked_sub(1)?).cloned()
    }

    /// The counters of a service.
    pub fn service(&self, service: &str) -> ServiceMetrics {
        ServiceMetrics(self.services.kept(&[("service", service)]))
    }

    /// What the gate before a `route` or `service` tells.
    pub fn gate(&self, what: &str, name: &str) -> Counters {
        let labels = [(what, name)];
        Counters {
            shed: self.shed.with(&labels),
            limit: self.limits.with(&labels),
            waiting: self.queued.with(&labels),
        }
    }

    /// Counts a fault. Not on the way of requests that succeed.
    pub fn fault(&self, code: tutti_core::Code, origin: tutti_core::Origin) {
        self.faults.with(&[("code", &code.to_string()), ("origin", origin.as_str())]).inc();
    }

    /// Counts a TLS handshake: `full`, `resumed`, or why there was none.
    pub fn handshake(&self, listener: &str, result: &str) {
        self.handshakes.with(&[("listener", listener), ("result", result)]).inc();
    }

    /// Counts files that have changed and were read again.
    pub fn reread(&self, kind: &str, used: bool) {
        let result = if used { "ok" } else { "failed" };
        self.reread.with(&[("kind", kind), ("result", result)]).inc();
    }

    /// Counts what a connection whose bytes were passed on has carried, from the client and to it.
    pub fn carried(&self, listener: &str, route: &str, (from, to): (u64, u64)) {
        for (direction, bytes) in [("in", from), ("out", to)] {
            let labels = [("listener", listener), ("route", route), ("direction", direction)];
            self.carried.with(&labels).add(bytes);
        }
    }

    /// Counts a header of the PROXY protocol: `ok`, or why there was none.
    pub fn proxy_header(&self, listener: &str, result: &str) {
        self.proxy_headers.with(&[("listener", listener), ("result", result)]).inc();
    }

    /// Writes how connections of clients began.
    fn write_connections(&self, page: &mut Page) {
        page.family(
            "tutti_proxy_tls_handshakes_total",
            "TLS handshakes with clients: full, resumed, or why there was none.",
            &self.handshakes,
        );
        page.family(
            "tutti_proxy_file_reloads_total",
            "Files of certificates and credentials that have changed and were read again: ok, or failed, and what was there before stays.",
            &self.reread,
        );
        page.family(
            "tutti_proxy_proxy_headers_total",
            "Headers of the PROXY protocol: ok, or why there was none.",
            &self.proxy_headers,
        );
        page.family(
            "tutti_proxy_carried_bytes_total",
            "Bytes that were passed on as they are, of connections that have ended.",
            &self.carried,
        );
    }

    /// Writes what is done when things go wrong.
    fn write_resilience(&self, page: &mut Page) {
        page.family(
            "tutti_proxy_requests_shed_total",
            "Requests for which there was no room, by route or service.",
            &self.shed,
        );
        page.family(
            "tutti_proxy_concurrency_limit",
            "Requests that a route or service takes at a time.",
            &self.limits,
        );
        page.family("tutti_proxy_requests_queued", "Requests that wait for room.", &self.queued);
        page.one("tutti_proxy_faults_injected_total", "Faults on purpose.", &self.faults_injected);
        page.one("tutti_proxy_fallbacks_total", "Requests that a fallback answered.", &self.fallbacks);
    }

    /// Writes rate, errors and duration of routes and services.
    fn write_red(&self, page: &mut Page) {
        let classes = |red: &Red, show: &mut dyn FnMut(&str, &Counter)| {
            CLASSES.iter().zip(&red.classes).for_each(|(class, counter)| show(class, counter));
        };
        let help = "Requests answered, by route and status class.";
        page.part("tutti_proxy_requests_total", help, &self.routes, classes);
        let help = "Requests that failed, by route and by whose fault it was.";
        page.part("tutti_proxy_request_errors_total", help, &self.routes, |red, show| {
            ORIGINS.iter().zip(&red.errors).for_each(|(origin, counter)| show(origin, counter));
        });
        let help = "Time from a request's head to its response's last byte.";
        page.part("tutti_proxy_request_duration_seconds", help, &self.routes, |red, show| {
            show("", &red.duration);
        });
        let help = "Requests to a service, by the status class of its answer, or none.";
        page.part("tutti_proxy_upstream_requests_total", help, &self.services, |red, show| {
            classes(red, show);
            show(r#"class="none""#, &red.unanswered);
        });
        let help =
            "Requests that a service failed: answered with 5xx, late, not at all, or nobody was there.";
        page.part("tutti_proxy_upstream_errors_total", help, &self.services, |red, show| {
            let [_, _, upstream] = &red.errors;
            show("", upstream);
        });
        let help = "Time from the first try to the last byte of a service's answer, or to its failure.";
        page.part("tutti_proxy_upstream_duration_seconds", help, &self.services, |red, show| {
            show("", &red.duration);
        });
    }

    /// Writes everything.
    pub fn write(&self, page: &mut Page) {
        self.write_health(page);
        self.write_red(page);
        page.family("tutti_proxy_faults_total", "Requests that got no answer from a service.", &self.faults);
        self.write_connections(page);
        page.one(
            "tutti_proxy_upstream_stream_waits_total",
            "Requests that had to wait for a stream: all HTTP/2 connections to the instance were at its limit.",
            &self.stream_waits,
        );
        page.one(
            "tutti_proxy_upstream_stream_diverted_total",
            "Requests that went to an instance with room instead of waiting for a stream.",
            &self.stream_diverted,
        );
        page.one("tutti_proxy_retries_total", "Tries after a request's first.", &self.retries);
        page.one(
            "tutti_proxy_retries_denied_total",
            "Retries that the budget forbade.",
            &self.retries_denied,
        );
        self.write_resilience(page);
        page.one("tutti_proxy_upstream_connects_total", "Connections made to instances.", &self.connects);
        page.one(
            "tutti_proxy_upstream_connect_failures_total",
            "Connections to instances that failed.",
            &self.connect_failures,
        );
        page.one("tutti_proxy_pool_idle_connections", "Idle connections to instances.", &self.pool_idle);
        page.one("tutti_proxy_requests_in_flight", "Requests under way.", &self.in_flight);
        page.one("tutti_proxy_requests_refused_total", "Requests that were malformed.", &self.refused);
        page.one(
            "tutti_proxy_connections_flooded_total",
            "Connections closed because the client sent too much of what carries nothing.",
            &self.floods,
        );
        page.one(
            "tutti_proxy_rate_limit_crowded_total",
            "Requests counted in a place that callers share, since a limit knew too many.",
            &self.rate_limit_crowded,
        );
        page.one(
            "tutti_proxy_client_connections_refused_total",
            "Connections of clients that had too many.",
            &self.clients_refused,
        );
        page.one("tutti_proxy_access_log_dropped_total", "Access log lines dropped.", &self.log_dropped);
        page.one("tutti_proxy_tunnels", "Upgraded connections and TCP tunnels under way.", &self.tunnels);
        page.one("tutti_proxy_mirrors_total", "Copies of requests that a mirror answered.", &self.mirrors);
        page.one(
            "tutti_proxy_mirrors_dropped_total",
            "Copies of requests given up: too many, too long, or the mirror failed.",
            &self.mirrors_dropped,
        );
        page.one("tutti_proxy_snapshot_generation", "Generation of the snapshot in force.", &self.generation);
    }

    fn write_health(&self, page: &mut Page) {
        page.family(
            "tutti_proxy_openapi_violations_total",
            "Requests and answers that were not as described, and bodies that were not looked at.",
            &self.described,
        );
        page.one(
            "tutti_proxy_hedges_total",
            "Requests to a second instance, since the first took long.",
            &self.hedges,
        );
        page.one("tutti_proxy_hedges_won_total", "Such requests that were answered first.", &self.hedges_won);
        page.one(
            "tutti_proxy_hedges_denied_total",
            "Such requests that the retry budget forbade.",
            &self.hedges_denied,
        );
        page.family(
            "tutti_proxy_external_auth_total",
            "Requests about which an authorization service decides, by what became of them.",
            &self.external,
        );
        page.one(
            "tutti_proxy_conditions_failed_total",
            "Conditions of routes (`when`) that could not be evaluated.",
            &self.conditions_failed,
        );
        page.family(
            "tutti_proxy_ejections_total",
            "Instances passed over for what their answers showed.",
            &self.ejections,
        );
        page.family("tutti_proxy_ejected_instances", "Instances passed over now.", &self.ejected);
        page.family(
            "tutti_proxy_breaker_state",
            "Where circuit breakers are: 0 closed, 1 half-open, 2 open.",
            &self.breaker_state,
        );
        page.family(
            "tutti_proxy_breaker_opened_total",
            "Times a circuit breaker opened.",
            &self.breaker_opened,
        );
        page.family(
            "tutti_proxy_breaker_refused_total",
            "Requests refused by an open circuit breaker.",
            &self.breaker_refused,
        );
        page.family(
            "tutti_proxy_breaker_diverted_total",
            "Requests that an open circuit breaker sent to the service that stands in.",
            &self.breaker_diverted,
        );
    }
}
