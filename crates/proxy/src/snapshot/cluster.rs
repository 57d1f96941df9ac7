//! A service's port as a target: which of its instances are ready, and if none is, why.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, Weak};

use tutti_core::{InstanceId, ServiceName, limits};
use tutti_net::Addr;
use tutti_ports::catalog::{AppProtocol, Health, Instance, View};

use crate::config::Options;
use crate::metrics::{Metrics, RouteMetrics};
use crate::model::balance::Picker;
use crate::upstream::endpoint::{Endpoint, Load};

/// A service's port at one moment.
pub struct Cluster {
    /// The service.
    pub service: ServiceName,
    /// The port its peers know.
    pub port: u16,
    /// Who takes traffic.
    pub ready: Vec<Arc<Endpoint>>,
    /// Chooses among them.
    pub picker: Picker,
    /// Nobody is ready, but somebody may soon be: an instance is starting or being replaced.
    pub hopeful: bool,
    /// Why nobody is ready, for a person. Empty when somebody is.
    pub why: String,
    /// The service's counters.
    pub metrics: Arc<RouteMetrics>,
}

/// A place among the clusters. Never used for another service or port.
pub type Slot = usize;

/// Makes clusters, and remembers what must stay the same from one snapshot to the next.
#[derive(Default)]
pub struct Clusters {
    slots: Vec<Place>,
    by_name: HashMap<(ServiceName, u16), Slot>,
    endpoints: HashMap<(InstanceId, u16), Arc<Endpoint>>,
    loads: HashMap<InstanceId, Weak<Load>>,
    uid: u64,
}

struct Place {
    service: ServiceName,
    port: u16,
    metrics: Arc<RouteMetrics>,
}

impl Clusters {
    /// The slot of a service's port; `None` when there are too many.
    pub fn slot(&mut self, service: &ServiceName, port: u16, metrics: &Metrics) -> Option<Slot> {
        if let Some(slot) = self.by_name.get(&(service.clone(), port)) {
            return Some(*slot);
        }
        let slot = self.slots.len();
        if slot >= limits::CLUSTERS {
            return None;
        }
        let counters = Arc::new(metrics.service(service.as_str()));
        self.slots.push(Place { service: service.clone(), port, metrics: counters });
        self.by_name.insert((service.clone(), port), slot);
        Some(slot)
    }

    /// All clusters, as a view of the catalog has them.
    pub fn compile(&mut self, view: &View, options: &Options) -> Vec<Arc<Cluster>> {
        let mut kept = HashMap::new();
        let clusters =
            (0..self.slots.len()).filter_map(|slot| self.cluster(slot, view, options, &mut kept)).collect();
        self.endpoints = kept;
        self.loads.retain(|_, load| load.strong_count() > 0);
        clusters
    }

    /// The requests under way on an instance; `None` if nothing has been since it was last forgotten.
    pub fn load(&self, id: &InstanceId) -> Option<Arc<Load>> {
        self.loads.get(id).and_then(Weak::upgrade)
    }

    fn cluster(
        &mut self,
        slot: Slot,
        view: &View,
        options: &Options,
        kept: &mut HashMap<(InstanceId, u16), Arc<Endpoint>>,
    ) -> Option<Arc<Cluster>> {
        let place = self.slots.get(slot)?;
        let (service, port, metrics) = (place.service.clone(), place.port, Arc::clone(&place.metrics));
        let instances = view.instances(service.as_str());
        let mut ready = Vec::new();
        let mut weights = Vec::new();
        for instance in instances {
            let Some(endpoint) = self.endpoint(instance, port) else { continue };
            kept.insert((endpoint.instance.clone(), port), Arc::clone(&endpoint));
            if instance.health.takes_traffic() && instance.spec.weight > 0 {
                weights.push(instance.spec.weight);
                ready.push(endpoint);
            }
        }
        let hopeful = ready.is_empty()
            && instances
                .iter()
                .any(|instance| matches!(instance.health, Health::Starting | Health::Draining));
        let why = if ready.is_empty() { why(service.as_str(), port, instances) } else { String::new() };
        let picker = Picker::new(options.balance(&service), &weights);
        Some(Arc::new(Cluster { service, port, ready, picker, hopeful, why, metrics }))
    }

    /// The endpoint of an instance at a port: the one known if it is still the same.
    fn endpoint(&mut self, instance: &Instance, port: u16) -> Option<Arc<Endpoint>> {
        let spec = &instance.spec;
        let declared = spec.endpoints.iter().find(|endpoint| endpoint.port == port)?;
        let addr = Addr::from(declared.addr);
        if let Some(known) = self.endpoints.get(&(spec.id.clone(), port))
            && known.addr == addr
            && known.protocol == declared.protocol
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
        Some(Arc::new(Endpoint::new(self.uid, service, id, addr, declared.protocol, load)))
    }
}

/// Whether an endpoint is spoken to in HTTP/2: because it, or the route that leads to it, says so.
pub fn is_h2c(endpoint: AppProtocol, backend: AppProtocol) -> bool {
    endpoint == AppProtocol::H2c || backend == AppProtocol::H2c
}

fn why(service: &str, port: u16, instances: &[Instance]) -> String {
    const SHOWN: usize = 4;
    if instances.is_empty() {
        return format!("the service {service} has no instance");
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
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::time::SystemTime;
    use tutti_ports::catalog::{self, Spec};

    fn instance(ordinal: u32, addr: &str, health: Health, weight: u32) -> Instance {
        let service = ServiceName::new("catalog").unwrap();
        let spec = Spec {
            id: InstanceId::of(&service, ordinal),
            service,
            endpoints: vec![catalog::Endpoint {
                port: 80,
                addr: addr.parse().unwrap(),
                protocol: AppProtocol::Http,
            }],
            version: None,
            zone: None,
            weight,
            tags: vec![],
            meta: BTreeMap::new(),
        };
        let reason = format!("{} for a reason", health.as_str());
        Instance { spec: Arc::new(spec), health, reason, since: SystemTime::UNIX_EPOCH }
    }

    fn view(generation: u64, instances: Vec<Instance>) -> View {
        View { generation, services: BTreeMap::from([(ServiceName::new("catalog").unwrap(), instances)]) }
    }

    #[test]
    fn only_ready_instances_with_weight_are_candidates() {
        let mut clusters = Clusters::default();
        let service = ServiceName::new("catalog").unwrap();
        let metrics = Metrics::default();
        assert_eq!(clusters.slot(&service, 80, &metrics), Some(0));
        assert_eq!(clusters.slot(&service, 80, &metrics), Some(0));
        assert_eq!(clusters.slot(&service, 81, &metrics), Some(1));
        let compiled = clusters.compile(
            &view(
                1,
                vec![
                    instance(1, "127.0.0.1:1", Health::Passing, 1),
                    instance(2, "127.0.0.1:2", Health::Warning, 2),
                    instance(3, "127.0.0.1:3", Health::Critical, 1),
                    instance(4, "127.0.0.1:4", Health::Passing, 0),
                    instance(5, "127.0.0.1:5", Health::Draining, 1),
                ],
            ),
            &Options::default(),
        );
        let ids: Vec<_> = compiled[0].ready.iter().map(|endpoint| endpoint.instance.to_string()).collect();
        assert_eq!(ids, ["catalog-1", "catalog-2"]);
        assert!(compiled[0].why.is_empty() && !compiled[0].hopeful);
        assert!(compiled[1].ready.is_empty() && compiled[1].hopeful);
        assert!(compiled[1].why.contains("does not offer port 81"), "{}", compiled[1].why);
        assert!(
            compiled[1].why.contains("catalog-3 is critical (critical for a reason)"),
            "{}",
            compiled[1].why
        );
        assert!(compiled[1].why.ends_with("; and 1 more"), "{}", compiled[1].why);
    }

    #[test]
    fn what_does_not_change_is_kept_and_load_outlives_it() {
        let mut clusters = Clusters::default();
        let service = ServiceName::new("catalog").unwrap();
        clusters.slot(&service, 80, &Metrics::default());
        let options = Options::default();
        let at = |addr: &str, health| vec![instance(1, addr, health, 1)];
        let first =
            clusters.compile(&view(1, at("127.0.0.1:1", Health::Passing)), &options)[0].ready[0].clone();
        clusters.compile(&view(2, at("127.0.0.1:1", Health::Critical)), &options);
        let second =
            clusters.compile(&view(3, at("127.0.0.1:1", Health::Passing)), &options)[0].ready[0].clone();
        assert!(Arc::ptr_eq(&first, &second));
        let moved =
            clusters.compile(&view(4, at("127.0.0.1:2", Health::Passing)), &options)[0].ready[0].clone();
        assert!(moved.uid != first.uid && Arc::ptr_eq(&moved.load, &first.load));
        let none = &clusters.compile(&view(5, vec![]), &options)[0];
        assert_eq!(none.why, "the service catalog has no instance");
        assert!(!none.hopeful);
        let id = first.instance.clone();
        assert!(clusters.load(&id).is_some());
        drop((first, second, moved));
        assert!(clusters.load(&id).is_none());
    }
}
