//! What became of a request and why: the facts that were noted, and what the snapshot says about them.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, Method};
use tutti_core::{Code, Origin, code};

use super::diary::Kept;
use super::record::{Ended, KEPT, Record, Stood, Trouble, Try};
use super::told::{
    Attempt, Explanation, Failure, Limit, Passed, Room, Routing, Standing, Summary, Then, Upstream,
};
use super::{note, why};
use crate::engine::Shared;
use crate::model::breaker::State;
use crate::model::path;
use crate::model::router::{Asked, Caller, host_key};
use crate::snapshot::Snapshot;
use crate::snapshot::cluster::{Cluster, Clusters};
use crate::snapshot::members::words;
use crate::snapshot::plan::{ListenerPlan, RoutePlan, Routes, Serve};

/// Which requests are wanted.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Of this route.
    pub route: Option<String>,
    /// With a status from and to these.
    pub status: Option<(u16, u16)>,
    /// That took at least so long until the answer began, or, without one, in all.
    pub slower: Option<Duration>,
    /// That failed.
    pub failed: bool,
    /// That this instance was asked last.
    pub instance: Option<String>,
    /// Of this client.
    pub client: Option<std::net::IpAddr>,
    /// At most so many, the newest.
    pub most: usize,
}

/// What is needed to tell.
pub(crate) struct Teller<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) clusters: &'a Clusters,
    pub(crate) snapshot: Arc<Snapshot>,
}

impl Teller<'_> {
    /// The newest requests that are wanted, newest first.
    pub(crate) fn list(&self, wanted: &Wanted) -> Vec<Summary> {
        let mut found: Vec<Record> = Vec::new();
        for diary in &self.shared.diaries {
            diary.each(|kept| found.extend(Some(kept.record).filter(|record| self.fits(record, wanted))));
        }
        found.sort_unstable_by_key(|record| std::cmp::Reverse(record.began));
        found.truncate(wanted.most);
        found.iter().map(|record| self.summary(record)).collect()
    }

    fn fits(&self, record: &Record, wanted: &Wanted) -> bool {
        let waited = record.head.unwrap_or(record.took);
        wanted.status.is_none_or(|(from, to)| (from..=to).contains(&record.status))
            && wanted.slower.is_none_or(|least| waited >= least)
            && (!wanted.failed || record.fault.is_some() || record.status >= 500)
            && wanted.client.is_none_or(|client| record.client == Some(client))
            && wanted.route.as_ref().is_none_or(|route| *self.named(record).1 == **route)
            && wanted.instance.as_ref().is_none_or(|wanted| self.instance(record.chosen).0 == *wanted)
    }

    /// The request of an id, or of a trace; the newest if there are several.
    pub(crate) fn explain(&self, id: &str) -> Option<Explanation> {
        let trace = (id.len() == 32).then(|| u128::from_str_radix(id, 16).ok()).flatten().unwrap_or(0);
        let mut newest: Option<(Record, Option<Trouble>)> = None;
        for diary in &self.shared.diaries {
            diary.each(|Kept { record, trouble }| {
                let same = record.id.bytes() == id.as_bytes()
                    || record.id.is_cut() && id.as_bytes().starts_with(record.id.bytes())
                    || trace != 0 && record.trace == trace;
                if same && newest.as_ref().is_none_or(|(known, _)| known.began < record.began) {
                    let copy = |one: &Trouble| Trouble { fault: one.fault.clone(), stood: one.stood.clone() };
                    newest = Some((*record, trouble.as_deref().map(copy)));
                }
            });
        }
        let (record, trouble) = newest?;
        Some(self.tell(&record, trouble.as_ref()))
    }

    fn tell(&self, record: &Record, trouble: Option<&Trouble>) -> Explanation {
        let (listener, name) = self.named(record);
        let routes = self.routes(&listener);
        let plan = routes.and_then(|routes| routes.iter().find(|route| *route.name == *name));
        let mut routing = routes.map(|routes| routing(routes, record, &name)).unwrap_or_default();
        let since = self.snapshot.routes.saturating_sub(record.trail.generation);
        if record.trail.generation != 0 && since > 0 {
            let times = if since == 1 { "once" } else { "several times" };
            routing.notes.push(format!("the routes were changed {times} since; this is by those of now"));
        }
        let slot = (record.trail.slot as usize).checked_sub(1);
        let cluster = slot.and_then(|slot| self.snapshot.clusters.get(slot));
        Explanation {
            request: self.summary(record),
            failure: failure(record, trouble),
            routing,
            guards: plan.map(|plan| guards(plan, record, trouble)).unwrap_or_default(),
            limits: limits(plan.map(|plan| &**plan), record),
            upstream: cluster.map(|cluster| self.upstream(cluster, trouble)),
            attempts: self.attempts(record),
            retry_denied: record.denied,
        }
    }

    fn summary(&self, record: &Record) -> Summary {
        let (listener, route) = self.named(record);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let trace = if record.trace == 0 { String::new() } else { format!("{:032x}", record.trace) };
        let failed = record.fault.map(|(_, origin)| origin.as_str().to_owned());
        let cut = if record.path.is_cut() { "…" } else { "" };
        Summary {
            id: text(record.id.bytes()),
            trace,
            at_ms: self.wall(record.began),
            client: record.client.map(|client| client.to_string()).unwrap_or_default(),
            listener: listener.to_string(),
            route: route.to_string(),
            protocol: record.protocol.to_owned(),
            method: text(record.method.bytes()),
            host: text(record.host.bytes()),
            path: text(record.path.bytes()) + cut,
            status: record.status,
            duration_ms: millis(record.took),
            first_byte_ms: record.head.map(millis),
            bytes_in: record.bytes.0,
            bytes_out: record.bytes.1,
            cut: record.cut,
            attempts: record.attempts,
            instance: self.instance(record.chosen).0,
            code: record.fault.map(|(code, _)| code.to_string()),
            failed: failed.or_else(|| (record.status >= 500).then(|| "upstream".to_owned())),
        }
    }

    /// A time of the engine's clock as milliseconds since 1970.
    fn wall(&self, at: Duration) -> u64 {
        let ago = Instant::now().saturating_duration_since(self.shared.origin + at);
        let since = SystemTime::now().checked_sub(ago).and_then(|then| then.duration_since(UNIX_EPOCH).ok());
        since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn named(&self, record: &Record) -> (Arc<str>, Arc<str>) {
        self.shared.metrics.name(record.route).unwrap_or_else(|| (Arc::from("?"), Arc::from("?")))
    }

    fn routes(&self, listener: &str) -> Option<&Routes> {
        let plan = self.snapshot.listeners.iter().find(|plan| *plan.name == *listener);
        match plan.map(|plan: &Arc<ListenerPlan>| &plan.serve) {
            Some(Serve::Http(routes)) => Some(routes),
            _ => None,
        }
    }

    /// The instance of an endpoint and its address; empty if neither is known any more.
    fn instance(&self, uid: u64) -> (String, String) {
        let named = self.clusters.name(uid);
        named.map(|named| (named.instance.to_string(), named.address.clone())).unwrap_or_default()
    }

    fn attempts(&self, record: &Record) -> Vec<Attempt> {
        let mut told: Vec<Attempt> = record.trail.tries().iter().map(|one| self.attempt(one)).collect();
        if record.attempts as usize > told.len()
            && record.trail.tries().len() < tutti_core::limits::EXPLAIN_TRIES
        {
            let (instance, address) = self.instance(record.chosen);
            let tcp = record.protocol == "tcp" && record.fault.is_none();
            let ended = if tcp { "answered" } else { "abandoned" };
            told.push(Attempt { instance, address, ended: ended.to_owned(), ..Attempt::default() });
        }
        told
    }

    fn attempt(&self, one: &Try) -> Attempt {
        let (instance, address) = self.instance(one.endpoint);
        let (ended, status) = match one.ended {
            Ended::Answered(status) => ("answered", Some(status)),
            Ended::Refused => ("refused", None),
            Ended::Stale => ("stale", None),
            Ended::Late => ("late", None),
            Ended::Broke => ("broke", None),
            Ended::Abandoned => ("abandoned", None),
        };
        let micros = |us: u32| millis(Duration::from_micros(u64::from(us)));
        Attempt {
            instance,
            address,
            began_ms: micros(one.began_us),
            connect_ms: (one.connect_us != KEPT).then(|| micros(one.connect_us)),
            took_ms: (one.ended != Ended::Abandoned).then(|| micros(one.took_us)),
            status,
            ended: ended.to_owned(),
        }
    }

    fn upstream(&self, cluster: &Cluster, trouble: Option<&Trouble>) -> Upstream {
        let breaker = cluster.policy.breaker.as_ref().map(|_| match cluster.guard.state() {
            State::Closed => "closed",
            State::HalfOpen { .. } => "half-open",
            State::Open { .. } => "open",
        });
        let room = cluster.gate.as_ref().map(|gate| {
            let (limit, inside, waiting) = gate.standing();
            Room { limit, inside, waiting }
        });
        let then = |one: &Stood| Then {
            instance: self.instance(one.endpoint).0,
            in_flight: one.in_flight,
            passed_over: one.passed_over.to_owned(),
        };
        Upstream {
            service: cluster.service.to_string(),
            port: cluster.port,
            subset: cluster.subset.as_ref().map(words),
            balance: cluster.algorithm.as_str().to_owned(),
            panic: cluster.panic,
            breaker: breaker.map(str::to_owned),
            retry_percent: cluster.retries.percent,
            room,
            instances: standings(&self.snapshot, cluster, self.shared.origin.elapsed()),
            then: trouble.map(|trouble| trouble.stood.iter().map(then).collect()).unwrap_or_default(),
        }
    }
}

/// The instances of a service, and those that stand in for them.
fn standings(snapshot: &Snapshot, cluster: &Cluster, now: Duration) -> Vec<Standing> {
    let others = cluster.policy.balance.failover.as_ref().map(|failover| &failover.service);
    let services = std::iter::once(&cluster.service).chain(others);
    let instances = services.flat_map(|service| snapshot.view.instances(service.as_str()));
    let standing = |instance: &tutti_ports::catalog::Instance| {
        let spec = &instance.spec;
        let found = cluster.levels.iter().enumerate().find_map(|(at, level)| {
            let members = level.members(&cluster.ready);
            members.iter().find(|endpoint| endpoint.instance == spec.id).map(|endpoint| (at, endpoint))
        });
        let offered = spec.endpoints.iter().find(|endpoint| endpoint.port == cluster.port);
        let remaining =
            found.and_then(|(_, endpoint)| endpoint.passive.ejected(now)).map(|one| one.remaining);
        Standing {
            instance: spec.id.to_string(),
            address: offered.map(|endpoint| endpoint.addr.to_string()).unwrap_or_default(),
            health: instance.health.as_str().to_owned(),
            reason: instance.reason.clone(),
            zone: spec.zone.clone(),
            weight: spec.weight,
            level: found.map(|(at, _)| at),
            in_flight: found.map_or(0, |(_, endpoint)| endpoint.load.get()),
            passed_over: found.map_or("", |(_, endpoint)| note::passed_over(endpoint, now)).to_owned(),
            passed_over_ms: remaining.map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX)),
        }
    };
    instances.map(standing).collect()
}

/// Finds out the route of a request once more, by what is remembered of it.
fn routing(routes: &Routes, record: &Record, name: &str) -> Routing {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (host, path) = (text(record.host.bytes()), text(record.path.bytes()));
    let Ok(method) = Method::from_bytes(record.method.bytes()) else { return Routing::default() };
    let normal = path::normalize(if path == "*" { "/" } else { &path });
    let (Ok(path), Some(host)) = (normal, host_key(&host)) else {
        return Routing { notes: vec!["what was asked for is malformed".to_owned()], ..Routing::default() };
    };
    let headers = HeaderMap::new();
    let caller = Caller::default();
    let asked = Asked { host: &host, path: &path, query: None, method: &method, headers: &headers, caller };
    let question = why::Question { asked, fields: false, taken: Some(name).filter(|name| !name.is_empty()) };
    let mut told = why::explain(&routes.router, &|at| named(routes, at), &question);
    if record.path.is_cut() || record.host.is_cut() {
        told.notes.push("only the beginning of its path or host is remembered".to_owned());
    }
    told
}

/// The name of a route.
pub fn named(routes: &Routes, at: usize) -> String {
    routes.get(at).map(|route| route.name.clone()).unwrap_or_default()
}

fn failure(record: &Record, trouble: Option<&Trouble>) -> Option<Failure> {
    let Some((code, origin)) = record.fault else {
        return (record.status >= 500).then(|| Failure {
            who: Origin::Upstream.as_str().to_owned(),
            message: format!("the service itself answered {}", record.status),
            ..Failure::default()
        });
    };
    let said = trouble.map(|trouble| &trouble.fault);
    Some(Failure {
        who: origin.as_str().to_owned(),
        code: code.to_string(),
        title: code.title().to_owned(),
        message: said.map(|fault| fault.message.clone()).unwrap_or_default(),
        hop: said.and_then(|fault| fault.hop.clone()),
    })
}

/// What stands in the way on a route, in order, and the codes with which each part refuses.
const GUARDS: [(&str, &[Code]); 8] = [
    ("addresses", &[code::ADDRESS_DENIED]),
    ("rate limits", &[code::RATE_LIMITED, code::RATES_UNKNOWN]),
    ("credentials", &[code::UNAUTHENTICATED, code::KEYS_UNKNOWN, code::NOT_ALLOWED]),
    ("condition", &[code::NOT_ALLOWED]),
    ("external authorization", &[code::EXTERNAL_DENIED, code::EXTERNAL_UNKNOWN, code::EXTERNAL_LOOP]),
    ("deadline", &[code::DEADLINE_PASSED]),
    (
        "content",
        &[
            code::BODY_TOO_LARGE,
            code::URI_TOO_LONG,
            code::HEADER_TOO_LARGE,
            code::METHOD_NOT_ALLOWED,
            code::UNSUPPORTED_TYPE,
        ],
    ),
    ("room", &[code::SHED]),
];

fn guards(plan: &RoutePlan, record: &Record, trouble: Option<&Trouble>) -> Vec<Passed> {
    let guard = plan.guard.as_deref();
    let there = |name: &str| match name {
        "addresses" => guard.is_some_and(|guard| guard.addresses.is_some()),
        "rate limits" => guard.is_some_and(|guard| guard.limits.is_some()),
        "credentials" => guard.is_some_and(|guard| guard.auth.is_some()),
        "condition" => guard.is_some_and(|guard| guard.authorize.is_some()),
        "external authorization" => guard.is_some_and(|guard| guard.external.is_some()),
        "content" => plan.content.is_some(),
        "room" => plan.resilience.as_ref().is_some_and(|plan| plan.gate.is_some()),
        _ => false,
    };
    let condition = trouble.is_some_and(|trouble| trouble.fault.message.contains("condition"));
    let refuses = |name: &str, codes: &[Code]| {
        record.fault.is_some_and(|(fault, _)| codes.contains(&fault))
            && (name != "credentials" || !condition)
            && (name != "condition" || condition)
            && (name != "deadline" || record.attempts == 0)
    };
    let refused = GUARDS.iter().position(|(name, codes)| refuses(name, codes));
    let told = GUARDS.iter().enumerate().filter(|(at, (name, _))| there(name) || refused == Some(*at));
    told.map(|(at, (name, _))| Passed {
        guard: (*name).to_owned(),
        verdict: match refused {
            Some(refused) if at == refused => "refused",
            Some(refused) if at > refused => "not reached",
            _ => "passed",
        }
        .to_owned(),
    })
    .collect()
}

fn limits(plan: Option<&RoutePlan>, record: &Record) -> Vec<Limit> {
    let limits = plan.and_then(|plan| plan.guard.as_ref()?.limits.as_ref());
    let mut policies = limits.iter().flat_map(|limits| limits.stages.iter().flatten());
    let verdicts = record.limits.iter().flatten();
    let told = verdicts.map(|(allowed, remaining, reset_ms)| {
        let limit = policies.next();
        let window = limit.map(|limit| limit.policy.window).unwrap_or_default();
        Limit {
            name: limit.map(|limit| limit.label.to_string()).unwrap_or_default(),
            requests: limit.map_or(0, |limit| limit.policy.requests),
            window_ms: u64::try_from(window.as_millis()).unwrap_or(u64::MAX),
            allowed: *allowed,
            remaining: *remaining,
            reset_ms: u64::from(*reset_ms),
        }
    });
    told.collect()
}

/// Milliseconds, to a microsecond.
fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}
