//! A service's port as a target: which of its instances are ready, and if none is, why.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tutti_core::random::Rng;
use tutti_core::{InstanceId, ServiceName, limits};
use tutti_net::Addr;
use tutti_ports::catalog::{AppProtocol, Health, Instance, View};
use tutti_ports::routing::{Algorithm, DoorRules, Subset, Upstream};

use super::gates::Gates;
use super::members::{self, Member};
use crate::config::Options;
use crate::explain::names::{Named, Names};
use crate::metrics::{Metrics, ServiceMetrics};
use crate::model::balance::{Picker, hash, priority};
use crate::model::budget::Allowance;
use crate::resilience::gate::Gate;
use crate::upstream::carrier::ByService;
use crate::upstream::endpoint::{Endpoint, Load};
use crate::upstream::guard::{self, Guard};
use crate::upstream::sticky;

/// A service's port, or a subset of its instances, at one moment.
pub struct Cluster {
    /// The service.
    pub service: ServiceName,
    /// The port its peers know.
    pub port: u16,
    /// Which of its instances; `None`: all.
    pub subset: Option<Subset>,
    /// Who takes traffic, level by level.
    pub ready: Vec<Arc<Endpoint>>,
    /// The levels; at least one if anybody is ready.
    pub levels: Vec<Level>,
    /// Whether so few are well that health is not looked at.
    pub panic: bool,
    /// Nobody is ready, but somebody may soon be: an instance is starting or being replaced.
    pub hopeful: bool,
    /// Why nobody is ready, for a person. Empty when somebody is.
    pub why: String,
    /// How many retries it gets.
    pub retries: Allowance,
    /// Who waits before it, if it takes only so many requests at a time.
    pub gate: Option<Arc<Gate>>,
    /// The service's counters.
    pub metrics: Arc<ServiceMetrics>,
    /// How it is called.
    pub policy: Arc<Upstream>,
    /// How an instance is chosen.
    pub algorithm: Algorithm,
    /// Whether requests are placed by a hash.
    pub hashes: bool,
    /// Whether answers that are fine tell nothing that anybody asks for.
    pub plain: bool,
    /// What its tries have shown, and its circuit breaker.
    pub guard: Arc<Guard>,
    /// The cookie that holds clients to their instances.
    pub sticky: Option<sticky::Plan>,
}

impl Cluster {
    /// Whether an instance of another service takes what this one cannot.
    pub fn has_stand_in(&self) -> bool {
        self.policy.balance.failover.is_some() && self.ready.iter().any(|one| one.service != self.service)
    }

    /// The level at which a request is looked for an endpoint.
    pub fn level(&self, hash: Option<u64>, rng: &Rng, now: Duration) -> usize {
        if self.levels.len() < 2 {
            return 0;
        }
        let well = |level: &Level| {
            let passed_over = level.members(&self.ready).iter().filter(|one| one.is_passed_over(now)).count();
            priority::Level { well: level.picker.len() - passed_over, known: level.known }
        };
        let point = hash.map_or_else(|| rng.next_u64(), hash::mix);
        priority::level(self.levels.iter().map(well), self.policy.balance.overprovisioning, point)
    }
}

/// Endpoints of the same priority.
pub struct Level {
    /// Where in [`Cluster::ready`] they begin.
    pub first: usize,
    /// Chooses among them.
    pub picker: Arc<Picker>,
    /// How many instances there are, those included that are not well; without those that come or go.
    pub known: usize,
}

impl Level {
    /// The endpoints of the level.
    pub fn members<'a>(&self, ready: &'a [Arc<Endpoint>]) -> &'a [Arc<Endpoint>] {
        ready.get(self.first..self.first + self.picker.len()).unwrap_or_default()
    }
}

/// A place among the clusters. Never used for another service, port or subset.
pub type Slot = usize;

/// How services are called.
pub type Policies = HashMap<ServiceName, Arc<Upstream>>;

/// Makes clusters, and remembers what must stay the same from one snapshot to the next.
#[derive(Default)]
pub struct Clusters {
    slots: Vec<Place>,
    by_name: HashMap<(ServiceName, u16, Option<Subset>), Slot>,
    endpoints: HashMap<(InstanceId, u16), Arc<Endpoint>>,
    loads: HashMap<InstanceId, Weak<Load>>,
    uid: u64,
    /// Every endpoint that was made, as far as it is remembered.
    names: Names,
    /// How services are called, as far as anything is said of them.
    policies: Policies,
    /// How connections to them begin, where that is not plain.
    carriers: ByService,
    /// What was compiled last, of which view and for how many slots.
    last: Option<Compiled>,
    /// Who waits before services and routes.
    pub gates: Gates,
}

/// Clusters, the generation of the view that they were made of, and how many slots there were.
type Compiled = (u64, usize, Arc<Vec<Arc<Cluster>>>);

struct Place {
    service: ServiceName,
    port: u16,
    subset: Option<Subset>,
    metrics: Arc<ServiceMetrics>,
    guard: Arc<Guard>,
    pickers: Vec<Made>,
}

/// A picker and what it was made for.
struct Made {
    algorithm: Algorithm,
    bound: Option<u32>,
    members: Vec<(u64, u32)>,
    picker: Arc<Picker>,
}

/// What clusters are compiled from.
pub struct Sources<'a> {
    /// The catalog.
    pub view: &'a View,
    /// The settings.
    pub options: &'a Options,
    /// The engine's clock.
    pub now: Duration,
}

impl Clusters {
    /// The slot of a service's port; `None` when there are too many.
    pub fn slot(
        &mut self,
        service: &ServiceName,
        port: u16,
        subset: Option<&Subset>,
        metrics: &Metrics,
    ) -> Option<Slot> {
        let key = (service.clone(), port, subset.cloned());
        if let Some(slot) = self.by_name.get(&key) {
            return Some(*slot);
        }
        let slot = self.slots.len();
        if slot >= limits::CLUSTERS {
            return None;
        }
        let counters = Arc::new(metrics.service(service.as_str()));
        self.slots.push(Place {
            service: service.clone(),
            port,
            subset: subset.cloned(),
            metrics: counters,
            guard: Arc::new(Guard::new(service.as_str(), metrics)),
            pickers: Vec::new(),
        });
        self.by_name.insert(key, slot);
        Some(slot)
    }

    /// Says how services are called from now on.
    pub fn call(&mut self, upstreams: BTreeMap<ServiceName, Upstream>, carriers: ByService) {
        let same = self.policies.len() == upstreams.len()
            && upstreams
                .iter()
                .all(|(service, new)| self.policies.get(service).is_some_and(|old| **old == *new));
        if !same {
            self.policies =
                upstreams.into_iter().map(|(service, upstream)| (service, Arc::new(upstream))).collect();
            self.last = None;
            self.carriers = carriers;
        }
    }

    /// How a service is called at its door, if anything is said of that.
    pub fn door(&self, service: &ServiceName) -> Option<&DoorRules> {
        self.policies.get(service)?.door.as_deref()
    }

    /// Says how connections begin from now on, where nothing else has changed.
    pub fn carry(&mut self, carriers: ByService) {
        self.carriers = carriers;
        self.last = None;
    }

    /// Makes, adjusts and takes away the gates before services, as is said of them now.
    pub fn regulate(&mut self, metrics: &Metrics) {
        self.gates.regulate(&self.policies, metrics);
    }

    /// All clusters, as a view of the catalog has them; the very same ones if nothing has changed that matters to them.
    pub fn compile(&mut self, from: &Sources<'_>) -> Arc<Vec<Arc<Cluster>>> {
        if let Some((view, slots, clusters)) = &self.last
            && (*view, *slots) == (from.view.generation, self.slots.len())
        {
            return Arc::clone(clusters);
        }
        let mut kept = HashMap::new();
        let clusters = (0..self.slots.len()).filter_map(|slot| self.cluster(slot, from, &mut kept)).collect();
        self.endpoints = kept;
        self.loads.retain(|_, load| load.strong_count() > 0);
        let clusters = Arc::new(clusters);
        self.last = Some((from.view.generation, self.slots.len(), Arc::clone(&clusters)));
        clusters
    }

    /// The instance of an endpoint and its address, also if it is gone.
    pub fn name(&self, uid: u64) -> Option<&Named> {
        self.names.get(uid)
    }

    /// The requests under way on an instance; `None` if nothing has been since it was last forgotten.
    pub fn load(&self, id: &InstanceId) -> Option<Arc<Load>> {
        self.loads.get(id).and_then(Weak::upgrade)
    }

    fn cluster(&mut self, slot: Slot, from: &Sources<'_>, kept: &mut Kept) -> Option<Arc<Cluster>> {
        let place = self.slots.get(slot)?;
        let (service, port, subset) = (place.service.clone(), place.port, place.subset.clone());
        let (metrics, watch) = (Arc::clone(&place.metrics), Arc::clone(&place.guard));
        let policy = self.policies.get(&service).cloned().unwrap_or_default();
        let algorithm = policy.balance.algorithm.unwrap_or_else(|| from.options.balance(&service));
        let own = from.view.instances(service.as_str());
        let chosen = members::of(own, subset.as_ref());
        let panic = members::panics(&chosen, port, policy.balance.panic_threshold);
        let mut members = Vec::new();
        for instance in &chosen {
            self.member(instance, port, panic, false, from, kept, &mut members);
        }
        if let Some(failover) = &policy.balance.failover {
            for instance in from.view.instances(failover.service.as_str()) {
                let port = failover.port.unwrap_or(port);
                self.member(instance, port, false, true, from, kept, &mut members);
            }
        }
        let (ready, levels) = self.levels(slot, members, &policy, algorithm, from.options.zone.as_deref());
        let coming = |one: &&Instance| matches!(one.health, Health::Starting | Health::Draining);
        let hopeful = ready.is_empty() && chosen.iter().any(coming);
        let why = if ready.is_empty() {
            why(service.as_str(), port, subset.as_ref(), own, &chosen)
        } else {
            String::new()
        };
        let sticky = policy.balance.sticky.as_ref();
        let sticky =
            sticky.map(|sticky| sticky::Plan::new(sticky, &from.options.sticky_key, &service, &ready));
        let hashes = algorithm.hashes();
        let gate = self.gates.of(&service);
        let rates = guard::watches_rates(&policy.outlier);
        let plain = algorithm != Algorithm::PeakEwma && policy.breaker.is_none() && !rates;
        Some(Arc::new(Cluster {
            service,
            port,
            subset,
            ready,
            levels,
            panic,
            hopeful,
            why,
            retries: retries(&policy, from.options),
            gate,
            metrics,
            policy,
            algorithm,
            hashes,
            plain,
            guard: watch,
            sticky,
        }))
    }

    /// Remembers the endpoint of an instance, and says what it is in its cluster.
    #[allow(clippy::too_many_arguments)]
    fn member(
        &mut self,
        instance: &Instance,
        port: u16,
        panic: bool,
        stands_in: bool,
        from: &Sources<'_>,
        kept: &mut Kept,
        members: &mut Vec<Member>,
    ) {
        let Some(endpoint) = self.endpoint(instance, port, kept) else { return };
        endpoint.ready(from.now, instance.health.takes_traffic());
        kept.insert((endpoint.instance.clone(), port), Arc::clone(&endpoint));
        members.push(Member::new(instance, endpoint, panic, stands_in));
    }

    /// Sorts the members into levels. Pickers are made only where something has changed.
    fn levels(
        &mut self,
        slot: Slot,
        members: Vec<Member>,
        policy: &Upstream,
        algorithm: Algorithm,
        zone: Option<&str>,
    ) -> (Vec<Arc<Endpoint>>, Vec<Level>) {
        let zone = zone.filter(|_| policy.balance.prefer_zone);
        let mut made =
            self.slots.get_mut(slot).map(|place| std::mem::take(&mut place.pickers)).unwrap_or_default();
        let (mut ready, mut levels, mut used) = (Vec::new(), Vec::new(), Vec::new());
        for group in members::levels(members, zone) {
            let key: Vec<(u64, u32)> = group.ready.iter().map(|one| (one.endpoint.uid, one.weight)).collect();
            let bound = policy.balance.bounded_load;
            let same = |one: &Made| one.algorithm == algorithm && one.bound == bound && one.members == key;
            let one = match made.iter().position(same) {
                Some(at) => made.swap_remove(at),
                None => {
                    let named: Vec<(&str, u32)> =
                        group.ready.iter().map(|one| (one.endpoint.instance.as_str(), one.weight)).collect();
                    let picker = Arc::new(Picker::named(algorithm, &named, bound));
                    Made { algorithm, bound, members: key, picker }
                }
            };
            levels.push(Level { first: ready.len(), picker: Arc::clone(&one.picker), known: group.known });
            ready.extend(group.ready.into_iter().map(|one| one.endpoint));
            used.push(one);
        }
        if let Some(place) = self.slots.get_mut(slot) {
            place.pickers = used;
        }
        (ready, levels)
    }

    /// The endpoint of an instance at a port: the one known if it is still the same.
    fn endpoint(&mut self, instance: &Instance, port: u16, kept: &Kept) -> Option<Arc<Endpoint>> {
        let spec = &instance.spec;
        let declared = spec.endpoints.iter().find(|endpoint| endpoint.port == port)?;
        let addr = Addr::from(declared.addr);
        let key = (spec.id.clone(), port);
        let carrier = self.carriers.get(&spec.service).cloned();
        if let Some(known) = kept.get(&key).or_else(|| self.endpoints.get(&key))
            && known.addr == addr
            && known.protocol == declared.protocol
            && known.carrier.as_ref().map(Arc::as_ptr) == carrier.as_ref().map(Arc::as_ptr)
        {
            return Some(Arc::clone(known));
        }
        let load = self.load(&spec.id).unwrap_or_else(|| {
            let load = Arc::default();
            self.loads.insert(spec.id.clone(), Arc::downgrade(&load));
            load
        });
        self.uid += 1;
        let (service, id) = (spec.service.clone(), spec.id.clone());
        self.names.add(self.uid, &id, &addr);
        let mut made = Endpoint::new(self.uid, service, id, addr, declared.protocol, load);
        made.carrier = carrier;
        if let Some(known) = self.endpoints.get(&key).filter(|known| known.addr == made.addr) {
            // It is the same instance, only spoken to otherwise.
            made.inherit(known);
        }
        Some(Arc::new(made))
    }
}

/// The endpoints of a snapshot.
type Kept = HashMap<(InstanceId, u16), Arc<Endpoint>>;

/// The retries that a service gets.
fn retries(policy: &Upstream, options: &Options) -> Allowance {
    policy.retry_budget.map_or(options.retries, |own| Allowance {
        percent: own.percent,
        per_second: own.min_per_second,
        initial: own.min_per_second,
        ..options.retries
    })
}

/// Whether an endpoint is spoken to in HTTP/2: because it, or the route that leads to it, says so.
pub fn is_h2c(endpoint: AppProtocol, backend: AppProtocol) -> bool {
    endpoint == AppProtocol::H2c || backend == AppProtocol::H2c
}

fn why(
    service: &str,
    port: u16,
    subset: Option<&Subset>,
    all: &[Instance],
    instances: &[&Instance],
) -> String {
    const SHOWN: usize = 4;
    if all.is_empty() {
        return format!("the service {service} has no instance");
    }
    if let Some(subset) = subset.filter(|_| instances.is_empty()) {
        return format!("none of the {} instances of {service} is {}", all.len(), members::words(subset));
    }
    let mut text = format!("none of the {} instances of {service} is ready", instances.len());
    if let [_] = instances {
        text = format!("the only instance of {service} is not ready");
    }
    for (at, instance) in instances.iter().take(SHOWN).enumerate() {
        let mark = if at == 0 { ": " } else { "; " };
        let _ = write!(text, "{mark}{} is {}", instance.spec.id, instance.health.as_str());
        if !instance.reason.is_empty() {
            let _ = write!(text, " ({})", instance.reason);
        }
        if instance.spec.weight == 0 {
            text.push_str(", its weight is 0");
        }
        if !instance.spec.endpoints.iter().any(|endpoint| endpoint.port == port) {
            let _ = write!(text, ", it does not offer port {port}");
        }
    }
    if instances.len() > SHOWN {
        let _ = write!(text, "; and {} more", instances.len() - SHOWN);
    }
    text
}

#[cfg(test)]
mod tests;
