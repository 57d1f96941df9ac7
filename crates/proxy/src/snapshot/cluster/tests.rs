//! Clusters made of views of the catalog.

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::*;
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

fn compile(clusters: &mut Clusters, view: &View, options: &Options) -> Arc<Vec<Arc<Cluster>>> {
    clusters.compile(&Sources { view, options, now: Duration::from_secs(1) })
}

fn view(generation: u64, instances: Vec<Instance>) -> View {
    View { generation, services: BTreeMap::from([(ServiceName::new("catalog").unwrap(), instances)]) }
}

#[test]
fn only_ready_instances_with_weight_are_candidates() {
    let mut clusters = Clusters::default();
    let service = ServiceName::new("catalog").unwrap();
    let metrics = Metrics::default();
    assert_eq!(clusters.slot(&service, 80, None, &metrics), Some(0));
    assert_eq!(clusters.slot(&service, 80, None, &metrics), Some(0));
    assert_eq!(clusters.slot(&service, 81, None, &metrics), Some(1));
    let compiled = compile(
        &mut clusters,
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
    assert!(compiled[1].why.contains("catalog-3 is critical (critical for a reason)"), "{}", compiled[1].why);
    assert!(compiled[1].why.ends_with("; and 1 more"), "{}", compiled[1].why);
}

#[test]
fn what_does_not_change_is_kept_and_load_outlives_it() {
    let mut clusters = Clusters::default();
    let service = ServiceName::new("catalog").unwrap();
    clusters.slot(&service, 80, None, &Metrics::default());
    let options = Options::default();
    let at = |addr: &str, health| vec![instance(1, addr, health, 1)];
    let first =
        compile(&mut clusters, &view(1, at("127.0.0.1:1", Health::Passing)), &options)[0].ready[0].clone();
    compile(&mut clusters, &view(2, at("127.0.0.1:1", Health::Critical)), &options);
    let second =
        compile(&mut clusters, &view(3, at("127.0.0.1:1", Health::Passing)), &options)[0].ready[0].clone();
    assert!(Arc::ptr_eq(&first, &second));
    let moved =
        compile(&mut clusters, &view(4, at("127.0.0.1:2", Health::Passing)), &options)[0].ready[0].clone();
    assert!(moved.uid != first.uid && Arc::ptr_eq(&moved.load, &first.load));
    let none = &compile(&mut clusters, &view(5, vec![]), &options)[0];
    assert_eq!(none.why, "the service catalog has no instance");
    assert!(!none.hopeful);
    let id = first.instance.clone();
    assert!(clusters.load(&id).is_some());
    drop((first, second, moved));
    assert!(clusters.load(&id).is_none());
}

#[test]
fn a_new_instance_gets_a_tenth_at_first_and_its_whole_share_later() {
    use crate::upstream::select::{Asked, Tried, select};
    use tutti_ports::routing::{Balance, SlowStart};

    let mut clusters = Clusters::default();
    let service = ServiceName::new("catalog").unwrap();
    clusters.slot(&service, 80, None, &Metrics::default());
    let window = Duration::from_secs(100);
    let slow_start = Some(SlowStart { window, minimum: 10 });
    let options = Options::default();
    let old = instance(1, "127.0.0.1:1", Health::Passing, 1);
    let both = vec![old.clone(), instance(2, "127.0.0.1:2", Health::Passing, 1)];
    let share = |clusters: &mut Clusters, algorithm, born: Duration, age: Duration| {
        let algorithm = Some(algorithm);
        let policy = Upstream {
            balance: Balance { algorithm, slow_start, ..Balance::default() },
            ..Upstream::default()
        };
        clusters.policies.insert(service.clone(), Arc::new(policy));
        clusters.compile(&Sources {
            view: &view(1, vec![old.clone()]),
            options: &options,
            now: born - window,
        });
        let compiled =
            clusters.compile(&Sources { view: &view(2, both.clone()), options: &options, now: born });
        let rng = Rng::seeded(9);
        let new = (0..4_000).filter(|turn| {
            let asked = Asked::turn(*turn);
            let chosen = select(&compiled[0], &asked, &Tried::default(), &rng, born + age).unwrap();
            chosen.instance.as_str() == "catalog-2"
        });
        new.count() as f64 / 4_000.0
    };
    let born = Duration::from_secs(1_000);
    for (round, algorithm) in (1..).zip([Algorithm::RoundRobin, Algorithm::LeastRequest, Algorithm::Random]) {
        let born = born * round;
        let mut at = |seconds| share(&mut clusters, algorithm, born, Duration::from_secs(seconds));
        let (first, half, whole) = (at(0), at(50), at(100));
        assert!((0.02..0.13).contains(&first), "{algorithm:?}: {first}");
        assert!((0.2..0.42).contains(&half), "{algorithm:?}: {half}");
        assert!((0.45..0.55).contains(&whole), "{algorithm:?}: {whole}");
    }
}
