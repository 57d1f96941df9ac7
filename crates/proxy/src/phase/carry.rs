//! Instead of the phases that follow, for connections whose bytes are not looked at: they are carried to an instance.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use tokio::time::Instant;
use tutti_core::{Origin, code};
use tutti_net::transport::Passed;
use tutti_net::tunnel::{Tunnelled, tunnel};
use tutti_net::{ConnectionInfo, Stream};

use super::choose::{self, Asked, Tried};
use super::observe;
use super::record::Entry;
use super::respond::CountedTunnel;
use crate::model::balance::{Alike, Draw};
use crate::model::outlier::Outcome;
use crate::model::trace::Context;
use crate::snapshot::plan::{ListenerPlan, RoutePlan, StreamPlan, Target};
use crate::upstream::carrier::{self, Carries, Ends};
use crate::worker::Worker;

/// What is done with a connection.
pub struct Carried {
    target: Target,
    carries: Carries,
    route: Option<Arc<RoutePlan>>,
    connect: Duration,
    idle: Duration,
    name: Option<Arc<str>>,
}

impl Carried {
    /// To one service, without a route.
    pub fn to(worker: &Worker, target: Target, carries: Carries) -> Self {
        let options = &worker.shared.options;
        let (connect, idle) = (options.connect_timeout, options.tunnel_idle_timeout);
        Self { target, carries, route: None, connect, idle, name: None }
    }

    /// By a route; `None` if it has no backend that takes a share.
    pub fn by(worker: &Worker, stream: &StreamPlan, carries: Carries) -> Option<Self> {
        let route = &stream.route;
        let draw = Draw { rng: &worker.rng, turn: 0, hash: None };
        let target = *route.backends.get(route.picker.pick(&draw, &Alike)?)?;
        let (connect, idle) = (stream.connect, route.idle.unwrap_or(Duration::ZERO));
        Some(Self { target, carries, route: Some(Arc::clone(route)), connect, idle, name: None })
    }

    /// As TLS that is passed on; `None` if its route is gone.
    pub fn passed(worker: &Worker, plan: &ListenerPlan, passed: &Passed) -> Option<Self> {
        let stream = plan.passthrough.iter().find(|stream| *stream.route.name == *passed.route)?;
        Some(Self { name: passed.sni.clone(), ..Self::by(worker, stream, Carries::Sealed)? })
    }

    /// Whether an address may connect.
    fn takes(&self, connection: &ConnectionInfo) -> bool {
        let guard = self.route.as_ref().and_then(|route| route.guard.as_ref());
        let addresses = guard.and_then(|guard| guard.addresses.as_ref());
        let peer = connection.peer.socket_addr();
        addresses.is_none_or(|addresses| peer.is_some_and(|peer| addresses.allow(peer.ip())))
    }
}

/// Carries a connection's bytes to an instance, until both sides have ended.
pub async fn run(
    worker: &Worker,
    plan: &Arc<ListenerPlan>,
    carried: Carried,
    client: Stream,
    connection: &ConnectionInfo,
) {
    let mut entry = Entry::tcp(&worker.recorder, plan, connection);
    let context = Context::begin(&worker.rng);
    entry.trace = Some(context);
    entry.request_id = HeaderValue::from_bytes(&context.trace_id()).ok();
    entry.route.clone_from(&carried.route);
    entry.host = carried.name.as_ref().and_then(|name| HeaderValue::from_str(name).ok());
    if !carried.takes(connection) {
        entry.fault = Some((code::ADDRESS_DENIED, Origin::Client));
        entry.status = 403;
        return;
    }
    let slot = carried.target.slot;
    entry.trail.slot = u32::try_from(slot + 1).unwrap_or(0);
    let peer = connection.peer.socket_addr().map(|peer| peer.ip());
    let asked = choose::asked_by_address(worker, slot, worker.begin(slot), peer);
    let Ok(leave) = observe::admit(worker, slot) else {
        entry.fault = Some((code::BREAKER_OPEN, Origin::Upstream));
        entry.status = 503;
        return;
    };
    let asked = Asked { spares: leave.spares, ..asked };
    let ends = carrier::ends(connection, None);
    let Some(upstream) = connect(worker, &carried, asked, ends, &mut entry).await else { return };
    // The connection was made: that is all that can be said of a service whose bytes are not understood.
    drop(leave);
    entry.status = 200;
    let metrics = &worker.shared.metrics;
    let _counted = CountedTunnel::begin(Arc::clone(metrics));
    let Tunnelled { a_to_b, b_to_a, .. } = tunnel(client, upstream, carried.idle).await;
    entry.tunnelled = (a_to_b, b_to_a);
    let route = carried.route.as_ref().map_or("", |route| &route.name);
    metrics.carried(&plan.name, route, (a_to_b, b_to_a));
}

/// A connection to an instance; another one is tried as long as none has accepted. `None` after a failure, which is noted.
async fn connect(
    worker: &Worker,
    carried: &Carried,
    asked: Asked,
    ends: Option<Ends>,
    entry: &mut Entry,
) -> Option<Stream> {
    let (slot, options) = (carried.target.slot, &worker.shared.options);
    let Ok(mut chosen) = choose::first(worker, slot, asked, None).await else {
        entry.fault = Some((code::NO_INSTANCE, Origin::Upstream));
        entry.status = 503;
        return None;
    };
    let held_until = Instant::now() + options.ready_wait;
    let mut tried = Tried::default();
    loop {
        let endpoint = Arc::clone(chosen.endpoint());
        entry.chosen = Some(chosen);
        entry.attempts += 1;
        let began = std::time::Instant::now();
        let error = match worker.pool(&endpoint).open(carried.connect, carried.carries, ends).await {
            Ok(upstream) => {
                observe::tried(worker, slot, &endpoint, began, Outcome::Fine);
                return Some(upstream);
            }
            Err(error) => error,
        };
        if error.is_ours() {
            tracing::warn!(%error, "a connection is given up: this process lacks what another one takes");
            entry.fault = Some((code::OVERLOADED, Origin::Us));
            entry.status = 503;
            return None;
        }
        observe::tried(worker, slot, &endpoint, began, Outcome::Local);
        if endpoint.cool(worker.now(), options.cool_off) {
            worker.shared.catalog.suspect(&endpoint.instance, &tutti_core::error::chain(&error));
        }
        tried.add(endpoint.uid);
        let other =
            if entry.attempts < options.tries { choose::now(worker, slot, asked, &tried) } else { None };
        let next = match other {
            Some(other) => Some(other),
            None => choose::again(worker, slot, asked, held_until).await,
        };
        let Some(next) = next else {
            entry.fault = Some((error.code(), Origin::Upstream));
            entry.status = 502;
            return None;
        };
        chosen = next;
    }
}
