//! The registry as a whole, in paused time, over a store in memory and a prober that says what it is told.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tutti_core::metrics::Page;
use tutti_core::random::Rng;
use tutti_core::{Classify, InstanceId, Kind, ServiceName};
use tutti_ports::catalog::{
    AppProtocol, Catalog, CatalogError, Check, Endpoint, Health, Instance, Probe, Registration, Report, Spec,
    Standing, Transition,
};
use tutti_ports::exec::{Exec, ExecError, Finished};
use tutti_ports::state::{Range, Store};
use tutti_testkit::state::{Fault, MemoryStore};
use tutti_testkit::time::TokioClock;

use crate::model::check::Verdict;
use crate::probe::{Found, Order, Prober};
use crate::{Handle, Options, Registry, RegistryError};

struct NoExec;

#[async_trait::async_trait]
impl Exec for NoExec {
    async fn run(&self, id: &InstanceId, _: &[String], _: Duration) -> Result<Finished, ExecError> {
        Err(ExecError::NotRunning(id.clone()))
    }
}

/// What the prober does with an instance. `None`: it never answers.
#[derive(Default)]
struct Script {
    default: Mutex<Option<Verdict>>,
    of: Mutex<BTreeMap<InstanceId, Option<Verdict>>>,
    begun: AtomicU64,
    flying: AtomicI64,
    most: AtomicI64,
    panics: AtomicI64,
}

struct Flying<'a>(&'a Script);

impl Drop for Flying<'_> {
    fn drop(&mut self) {
        self.0.flying.fetch_sub(1, Ordering::Relaxed);
    }
}

#[async_trait::async_trait]
impl Prober for Script {
    async fn probe(&self, order: Order) -> Found {
        self.begun.fetch_add(1, Ordering::Relaxed);
        let flying = self.flying.fetch_add(1, Ordering::Relaxed) + 1;
        let _guard = Flying(self);
        self.most.fetch_max(flying, Ordering::Relaxed);
        assert!(self.panics.fetch_sub(1, Ordering::Relaxed) <= 0, "told to");
        tokio::time::sleep(Duration::from_millis(1)).await;
        let of = self.of.lock().unwrap().get(&order.id).copied();
        let verdict = of.unwrap_or(*self.default.lock().unwrap());
        match verdict {
            Some(verdict) => Found { verdict, reason: format!("it is {verdict:?}") },
            None => std::future::pending().await,
        }
    }
}

impl Script {
    fn set(&self, id: &str, verdict: Option<Verdict>) {
        self.of.lock().unwrap().insert(InstanceId::new(id).unwrap(), verdict);
    }
}

struct World {
    handle: Arc<Handle>,
    store: MemoryStore,
    script: Arc<Script>,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<Result<(), RegistryError>>,
}

impl World {
    async fn new() -> Self {
        Self::over(MemoryStore::new(), Options::default()).await
    }

    async fn over(store: MemoryStore, options: Options) -> Self {
        let script = Arc::new(Script::default());
        *script.default.lock().unwrap() = Some(Verdict::Pass);
        let (registry, handle) = Registry::with_prober(
            Arc::new(store.clone()),
            Arc::new(TokioClock::new()),
            Rng::seeded(7),
            options,
            (Arc::clone(&script) as Arc<dyn Prober>, Default::default()),
        );
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(registry.run(async move { drop(stopped.await) }));
        handle.ready().await.unwrap();
        Self { handle, store, script, stop: Some(stop), running }
    }

    async fn stop(mut self) -> (MemoryStore, Arc<Script>) {
        drop(self.stop.take());
        self.running.await.unwrap().unwrap();
        (self.store, self.script)
    }

    /// As kill -9 does it.
    async fn kill(self) -> MemoryStore {
        self.running.abort();
        assert!(self.running.await.unwrap_err().is_cancelled());
        self.store
    }

    async fn register(&self, name: &str, checks: Vec<Check>) {
        self.handle.register(registration(name, checks)).await.unwrap();
    }

    fn see(&self, name: &str) -> Option<Instance> {
        self.handle.watch().borrow().instance(&InstanceId::new(name).unwrap()).cloned()
    }

    async fn until(&self, name: &str, health: Health) -> Instance {
        let id = InstanceId::new(name).unwrap();
        let mut view = self.handle.watch();
        let seen =
            view.wait_for(|view| view.instance(&id).is_some_and(|i| i.health == health)).await.unwrap();
        seen.instance(&id).unwrap().clone()
    }

    async fn history(&self, service: &str) -> Vec<(String, Transition)> {
        let history = self.handle.history(&ServiceName::new(service).unwrap()).await.unwrap();
        history.into_iter().map(|(id, transition)| (id.to_string(), transition)).collect()
    }

    async fn steps(&self, service: &str) -> Vec<String> {
        let name = |health: Option<Health>| health.map_or("none", Health::as_str);
        let history = self.history(service).await;
        history.iter().map(|(id, t)| format!("{id} {} {}: {}", name(t.from), name(t.to), t.reason)).collect()
    }

    fn metric(&self, line: &str) -> bool {
        let mut page = Page::default();
        self.handle.metrics().show(&mut page);
        page.finish().lines().any(|shown| shown == line)
    }
}

fn registration(name: &str, checks: Vec<Check>) -> Registration {
    let (service, _) = name.rsplit_once('-').unwrap();
    let spec = Spec {
        id: InstanceId::new(name).unwrap(),
        service: ServiceName::new(service).unwrap(),
        endpoints: vec![Endpoint {
            port: 80,
            addr: ([127, 0, 0, 1], 4001).into(),
            protocol: AppProtocol::Http,
        }],
        version: None,
        zone: None,
        weight: 1,
        tags: Vec::new(),
        meta: BTreeMap::new(),
    };
    Registration { spec, checks, exec: Arc::new(NoExec), standing: None }
}

fn check() -> Check {
    Check {
        name: "web".into(),
        probe: Probe::Tcp { addr: ([127, 0, 0, 1], 4001).into() },
        interval: Duration::from_secs(30),
        timeout: Duration::from_secs(2),
        start_period: Duration::ZERO,
        start_interval: Duration::from_secs(1),
        fall: 3,
        rise: 1,
    }
}

fn ttl(name: &str) -> Check {
    Check { name: name.into(), probe: Probe::Ttl { ttl: Duration::from_secs(10) }, ..check() }
}

fn id(name: &str) -> InstanceId {
    InstanceId::new(name).unwrap()
}

/// The keys of the store with a prefix.
async fn keys(store: &MemoryStore, prefix: &str) -> Vec<String> {
    let range = Range { prefix: prefix.into(), after: None, limit: 100_000 };
    store.range(range).await.unwrap().entries.into_iter().map(|entry| entry.key).collect()
}

#[tokio::test(start_paused = true)]
async fn every_call_is_in_the_view_when_it_returns() {
    let world = World::new().await;
    let before = world.handle.watch().borrow().generation;
    world.register("web-1", vec![]).await;
    assert_eq!(world.see("web-1").unwrap().health, Health::Passing);
    assert!(world.handle.watch().borrow().generation > before);
    world.handle.drain(&id("web-1"), "scaled down").await.unwrap();
    world.handle.drain(&id("web-1"), "again").await.unwrap();
    let seen = world.see("web-1").unwrap();
    assert_eq!((seen.health, seen.reason.as_str()), (Health::Draining, "scaled down"));
    world.handle.deregister(&id("web-1"), "exited with status 0").await.unwrap();
    world.handle.deregister(&id("web-1"), "again").await.unwrap();
    assert_eq!(world.see("web-1"), None);
    assert!(world.handle.watch().borrow().services.contains_key("web"), "it is known to have no instance");
    assert_eq!(
        world.steps("web").await,
        [
            "web-1 none passing: registered without health checks",
            "web-1 passing draining: scaled down",
            "web-1 draining none: exited with status 0",
        ]
    );
    assert!(keys(&world.store, "registry/instances/").await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_does_not_exist_is_named() {
    let world = World::new().await;
    world.register("web-1", vec![check()]).await;
    let again = world.handle.register(registration("web-1", vec![])).await.unwrap_err();
    assert!(matches!(again, CatalogError::Exists(_)));
    let unknown = world.handle.drain(&id("web-2"), "x").await.unwrap_err();
    assert!(matches!(unknown, CatalogError::Unknown(_)));
    let no_ttl = world.handle.report(&id("web-1"), "web", Report::Pass, "").await.unwrap_err();
    assert!(matches!(no_ttl, CatalogError::UnknownCheck(..)));
    world.handle.suspect(&id("web-2"), "refused");
    let handle = Arc::clone(&world.handle);
    world.stop().await;
    assert_eq!(handle.drain(&id("web-1"), "x").await.unwrap_err().kind(), Kind::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn an_instance_starts_passes_fails_and_comes_back() {
    let world = World::new().await;
    world.script.set("web-1", Some(Verdict::Refused));
    world.register("web-1", vec![check()]).await;
    assert_eq!(world.see("web-1").unwrap().health, Health::Starting);
    let mut view = world.handle.watch();
    let worded = |view: &Arc<_>| {
        let view: &tutti_ports::catalog::View = view;
        view.instance(&id("web-1")).is_some_and(|i| i.reason == "it is Refused")
    };
    view.wait_for(worded).await.unwrap();
    world.script.set("web-1", Some(Verdict::Pass));
    let passing = world.until("web-1", Health::Passing).await;
    world.script.set("web-1", Some(Verdict::Fail));
    let critical = world.until("web-1", Health::Critical).await;
    let took = critical.since.duration_since(passing.since).unwrap();
    assert!((Duration::from_secs(70)..Duration::from_secs(100)).contains(&took), "{took:?}");
    world.script.set("web-1", Some(Verdict::Warn));
    world.until("web-1", Health::Warning).await;
    assert_eq!(
        world.steps("web").await,
        [
            "web-1 none starting: registered; no check has passed yet",
            "web-1 starting passing: it is Pass",
            "web-1 passing critical: it is Fail (3 times in a row)",
            "web-1 critical warning: it is Warn",
        ]
    );
    assert!(world.metric("tutti_registry_instances{health=\"warning\"} 1"));
    assert!(world.metric("tutti_registry_instances{health=\"critical\"} 0"));
}

#[tokio::test(start_paused = true)]
async fn reports_decide_ttl_checks() {
    let world = World::new().await;
    world.register("job-1", vec![ttl("a"), ttl("b")]).await;
    world.handle.report(&id("job-1"), "a", Report::Pass, "").await.unwrap();
    assert_eq!(world.see("job-1").unwrap().health, Health::Starting);
    world.handle.report(&id("job-1"), "b", Report::Warn, "queue\x1b[31m long").await.unwrap();
    let seen = world.see("job-1").unwrap();
    assert_eq!(
        (seen.health, seen.reason.as_str()),
        (Health::Warning, "b: reported warning: queue [31m long")
    );
    let critical = world.until("job-1", Health::Critical).await;
    assert!(critical.reason.ends_with("no report within 10s"), "{}", critical.reason);
}

#[tokio::test(start_paused = true)]
async fn a_suspicion_takes_a_dead_instance_out_at_once() {
    let world = World::new().await;
    world.register("web-1", vec![check()]).await;
    let passing = world.until("web-1", Health::Passing).await;
    world.script.set("web-1", Some(Verdict::Refused));
    world.handle.suspect(&id("web-1"), "connection refused");
    let critical = world.until("web-1", Health::Critical).await;
    assert!(critical.since.duration_since(passing.since).unwrap() < Duration::from_millis(20));
    world.script.set("web-1", Some(Verdict::Pass));
    let back = world.until("web-1", Health::Passing).await;
    assert!(back.since.duration_since(critical.since).unwrap() < Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn a_probe_ends_with_its_instance() {
    let world = World::new().await;
    for name in ["web-1", "web-2", "web-3"] {
        world.script.set(name, None);
        world.register(name, vec![check()]).await;
    }
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(world.script.flying.load(Ordering::Relaxed), 3);
    world.handle.drain(&id("web-1"), "stopping").await.unwrap();
    world.handle.deregister(&id("web-2"), "exited").await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(world.script.flying.load(Ordering::Relaxed), 1);
    let begun = world.script.begun.load(Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(world.script.begun.load(Ordering::Relaxed), begun);
    let (_, script) = world.stop().await;
    assert_eq!(script.flying.load(Ordering::Relaxed), 0, "nothing outlives the registry");
}

#[tokio::test(start_paused = true)]
async fn a_late_result_is_not_taken_for_the_successor() {
    let world = World::new().await;
    world.script.set("web-1", None);
    world.register("web-1", vec![check()]).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    world.handle.deregister(&id("web-1"), "exited").await.unwrap();
    world.script.set("web-1", Some(Verdict::Fail));
    world.register("web-1", vec![check()]).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(world.see("web-1").unwrap().health, Health::Starting);
    world.script.set("web-1", Some(Verdict::Pass));
    world.until("web-1", Health::Passing).await;
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_breaks_off_counts_as_a_failure() {
    let world = World::new().await;
    world.script.panics.store(1, Ordering::Relaxed);
    world.register("web-1", vec![check()]).await;
    world.until("web-1", Health::Passing).await;
    assert_eq!(world.script.begun.load(Ordering::Relaxed), 2);
    assert!(world.metric("tutti_registry_probes_total{kind=\"tcp\",result=\"fail\"} 1"));
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_stops_nothing_and_is_made_up_for() {
    let world = World::new().await;
    world.register("web-1", vec![check()]).await;
    world.until("web-1", Health::Passing).await;
    world.store.set_fault(Some(Fault::Full));
    world.register("web-2", vec![check()]).await;
    world.until("web-2", Health::Passing).await;
    let began = tokio::time::Instant::now();
    world.handle.drain(&id("web-1"), "stopping").await.unwrap();
    assert_eq!(world.see("web-1").unwrap().health, Health::Draining);
    world.handle.deregister(&id("web-1"), "exited").await.unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO, "nobody waits for a state that is known to fail");
    let during = world.steps("web").await;
    assert_eq!(during.len(), 6, "what is not durable is told as well: {during:?}");
    tokio::time::sleep(Duration::from_secs(60)).await;
    let tried = *world.store.writes().borrow();
    assert!(tried < 40, "{tried} attempts in a minute");
    assert!(!world.metric("tutti_registry_write_failures_total 0"));
    assert!(!world.metric("tutti_registry_writes_pending 0"));
    world.store.set_fault(None);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(world.metric("tutti_registry_writes_pending 0"));
    assert!(world.metric("tutti_registry_writes_lost_total 0"));
    assert_eq!(world.steps("web").await, during);
    assert_eq!(keys(&world.store, "registry/instances/").await, ["registry/instances/web-2"]);
}

#[tokio::test(start_paused = true)]
async fn a_hanging_disk_does_not_keep_an_instance_in_rotation() {
    let world = World::new().await;
    world.register("web-1", vec![]).await;
    world.store.set_fault(Some(Fault::Hangs));
    let mut view = world.handle.watch();
    let gone = async {
        let began = tokio::time::Instant::now();
        view.wait_for(|view| view.instances("web").iter().all(|i| !i.health.takes_traffic())).await.unwrap();
        began.elapsed()
    };
    let drained = async {
        let began = tokio::time::Instant::now();
        world.handle.drain(&id("web-1"), "stopping").await.unwrap();
        began.elapsed()
    };
    let (gone, drained) = tokio::join!(gone, drained);
    assert_eq!(gone, Duration::ZERO);
    assert_eq!(drained, Options::default().write_patience);
    world.store.set_fault(None);
    world.handle.deregister(&id("web-1"), "exited").await.unwrap();
    assert_eq!(world.steps("web").await.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_lost_acknowledgement_writes_nothing_twice() {
    let world = World::new().await;
    world.store.set_fault(Some(Fault::Lost));
    world.register("web-1", vec![]).await;
    world.handle.deregister(&id("web-1"), "exited").await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.store.set_fault(None);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(keys(&world.store, "registry/transitions/web/").await.len(), 2);
    assert!(keys(&world.store, "registry/instances/").await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_the_state_does_not_accept_is_given_up_and_the_rest_goes_on() {
    let world = World::new().await;
    world.store.set_fault(Some(Fault::Invalid));
    world.register("web-1", vec![]).await;
    world.store.set_fault(None);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(world.metric("tutti_registry_writes_lost_total 1"));
    world.register("web-2", vec![]).await;
    assert_eq!(keys(&world.store, "registry/instances/").await, ["registry/instances/web-2"]);
}

#[tokio::test(start_paused = true)]
async fn an_instance_with_too_much_to_say_is_stored_without_it() {
    let world = World::new().await;
    let mut large = registration("web-1", vec![]);
    large.spec.meta.insert("blob".into(), "x".repeat(2 << 20));
    world.handle.register(large).await.unwrap();
    assert_eq!(world.see("web-1").unwrap().spec.meta.len(), 1);
    assert_eq!(keys(&world.store, "registry/instances/").await, ["registry/instances/web-1"]);
    let world = World::over(world.kill().await, Options::default()).await;
    assert_eq!(world.steps("web").await.last().unwrap(), "web-1 passing none: Tutti was restarted");
}

#[tokio::test(start_paused = true)]
async fn after_a_crash_the_former_instances_are_gone_and_the_view_goes_on() {
    let world = World::new().await;
    world.register("web-1", vec![check()]).await;
    world.until("web-1", Health::Passing).await;
    world.register("db-1", vec![]).await;
    let before = world.handle.watch().borrow().generation;
    let world = World::over(world.kill().await, Options::default()).await;
    let view = world.handle.watch().borrow().clone();
    assert!(view.generation > before);
    assert!(view.services.is_empty());
    world.register("web-1", vec![]).await;
    assert_eq!(
        world.steps("web").await,
        [
            "web-1 none starting: registered; no check has passed yet",
            "web-1 starting passing: it is Pass",
            "web-1 passing none: Tutti was restarted",
            "web-1 none passing: registered without health checks",
        ]
    );
    assert_eq!(world.steps("db").await.last().unwrap(), "db-1 passing none: Tutti was restarted");
    assert_eq!(keys(&world.store, "registry/instances/").await, ["registry/instances/web-1"]);
}

#[tokio::test(start_paused = true)]
async fn who_was_thought_dead_does_not_write_beside_its_successor() {
    let old = World::new().await;
    old.register("web-1", vec![]).await;
    let new = World::over(old.store.clone(), Options::default()).await;
    old.register("web-2", vec![]).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(keys(&new.store, "registry/instances/").await.is_empty());
    assert!(!old.metric("tutti_registry_writes_lost_total 0"));
    let tried = *new.store.writes().borrow();
    old.register("web-3", vec![]).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(*new.store.writes().borrow(), tried, "and does not try again");
    assert_eq!(old.see("web-2").unwrap().health, Health::Passing, "it goes on serving what it has");
}

#[tokio::test(start_paused = true)]
async fn without_a_store_there_is_no_beginning() {
    let store = MemoryStore::new();
    store.set_fault(Some(Fault::Unavailable));
    let clock = Arc::new(TokioClock::new());
    let (registry, handle) = Registry::new(Arc::new(store), clock, Rng::seeded(1), Options::default());
    let error = registry.run(std::future::pending()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.code().is_some());
    assert!(handle.ready().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn the_history_of_an_instance_is_bounded_and_keeps_the_newest() {
    let world = World::new().await;
    world.register("quiet-1", vec![]).await;
    for round in 0..100 {
        world.register("web-1", vec![]).await;
        world.handle.deregister(&id("web-1"), &format!("crash {round}")).await.unwrap();
    }
    let steps = world.steps("web").await;
    assert_eq!(steps.len(), tutti_core::limits::TRANSITIONS_KEPT);
    assert_eq!(steps.last().unwrap(), "web-1 passing none: crash 99");
    assert_eq!(keys(&world.store, "registry/transitions/web/").await.len(), steps.len());
    assert_eq!(world.steps("quiet").await.len(), 1);
    let world = World::over(world.kill().await, Options::default()).await;
    world.register("web-1", vec![]).await;
    assert_eq!(world.steps("web").await.len(), steps.len(), "the bound holds over a restart");
}

#[tokio::test(start_paused = true)]
async fn changes_that_come_together_are_one_view() {
    let world = World::new().await;
    let before = world.handle.watch().borrow().generation;
    let all = (0..500).map(|n| world.handle.register(registration(&format!("web-{n}"), vec![check()])));
    futures(all).await;
    assert_eq!(world.handle.watch().borrow().instances("web").len(), 500);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(world.handle.watch().borrow().instances("web").iter().all(|i| i.health == Health::Passing));
    let views = world.handle.watch().borrow().generation - before;
    assert!(views < 20, "1000 changes in {views} views");
    let writes = *world.store.writes().borrow();
    assert!(writes < 40, "1000 changes in {writes} transactions");
}

/// Polls all futures at once on this task.
async fn futures<F: Future>(all: impl Iterator<Item = F>) {
    let mut all: Vec<_> = all.map(|future| Some(Box::pin(future))).collect();
    std::future::poll_fn(|cx| {
        for slot in &mut all {
            if slot.as_mut().is_some_and(|future| future.as_mut().poll(cx).is_ready()) {
                *slot = None;
            }
        }
        if all.iter().all(Option::is_none) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_healthy_instances_write_nothing_and_never_probe_all_at_once() {
    let options = Options { probes_in_flight: 64, ..Options::default() };
    let world = World::over(MemoryStore::new(), options).await;
    let all = (0..10_000).map(|n| world.handle.register(registration(&format!("web-{n}"), vec![check()])));
    futures(all).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(world.metric("tutti_registry_writes_pending 0"));
    assert!(world.metric("tutti_registry_instances{health=\"passing\"} 10000"));
    let (writes, begun) = (*world.store.writes().borrow(), world.script.begun.load(Ordering::Relaxed));
    let generation = world.handle.watch().borrow().generation;
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(*world.store.writes().borrow(), writes);
    assert_eq!(world.handle.watch().borrow().generation, generation);
    let probes = world.script.begun.load(Ordering::Relaxed) - begun;
    assert!((90_000..=110_000).contains(&probes), "{probes} probes in ten intervals");
    assert!(world.script.most.load(Ordering::Relaxed) <= 64);
}

#[tokio::test(start_paused = true)]
async fn what_hangs_does_not_keep_a_suspicion_waiting() {
    let options = Options { probes_in_flight: 2, ..Options::default() };
    let world = World::over(MemoryStore::new(), options).await;
    world.register("web-1", vec![check()]).await;
    world.until("web-1", Health::Passing).await;
    for n in 0..50 {
        world.script.set(&format!("slow-{n}"), None);
        world.register(&format!("slow-{n}"), vec![check()]).await;
    }
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(world.script.flying.load(Ordering::Relaxed), 2);
    world.script.set("web-1", Some(Verdict::Refused));
    let began = tokio::time::Instant::now();
    world.handle.suspect(&id("web-1"), "refused");
    world.until("web-1", Health::Critical).await;
    assert!(began.elapsed() < Duration::from_millis(5), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_suspicions_is_bounded() {
    let world = World::new().await;
    world.register("web-1", vec![check()]).await;
    world.until("web-1", Health::Passing).await;
    let begun = world.script.begun.load(Ordering::Relaxed);
    for _ in 0..100 {
        (0..100).for_each(|_| world.handle.suspect(&id("web-1"), "refused"));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let probes = world.script.begun.load(Ordering::Relaxed) - begun;
    assert!((3..=6).contains(&probes), "{probes} probes for 10000 suspicions in a second");
    for n in 0..2_000 {
        world.handle.suspect(&id(&format!("none-{n}")), "refused");
    }
    assert!(!world.metric("tutti_registry_suspicions_dropped_total 0"));
}

#[tokio::test(start_paused = true)]
async fn the_end_writes_what_it_can_and_waits_for_nothing_else() {
    let world = World::new().await;
    world.register("web-1", vec![check()]).await;
    world.store.set_fault(Some(Fault::Hangs));
    world.handle.deregister(&id("web-1"), "exited").await.unwrap();
    let began = tokio::time::Instant::now();
    let (store, _) = world.stop().await;
    assert_eq!(began.elapsed(), Options::default().flush_patience);
    store.set_fault(None);
    let world = World::over(store, Options::default()).await;
    assert_eq!(world.steps("web").await.last().unwrap(), "web-1 starting none: Tutti was restarted");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_takes_over_goes_on_with_what_lives_and_writes_nothing_before_the_other_has_let_go() {
    let old = World::new().await;
    old.register("web-1", vec![check()]).await;
    old.register("api-1", vec![check()]).await;
    let stood = old.until("web-1", Health::Passing).await;
    old.until("api-1", Health::Passing).await;
    let (before, steps) = (old.handle.watch().borrow().generation, old.steps("web").await);
    let options = Options { take_over: true, ..Options::default() };
    // The first one fails half-way, and the old one goes on writing.
    let failed = World::over(old.store.clone(), options).await;
    let standing = Standing { health: stood.health, reason: stood.reason.clone(), since: stood.since };
    let stands = || Registration { standing: Some(standing.clone()), ..registration("web-1", vec![check()]) };
    failed.handle.register(stands()).await.unwrap();
    failed.stop().await;
    old.handle.drain(&id("api-1"), "scaled down").await.unwrap();
    old.handle.deregister(&id("api-1"), "exited").await.unwrap();
    assert!(!keys(&old.store, "registry/instances/").await.contains(&"registry/instances/api-1".to_owned()));
    old.register("api-2", vec![]).await;

    let new = World::over(old.store.clone(), options).await;
    new.handle.register(stands()).await.unwrap();
    let seen = new.see("web-1").unwrap();
    assert_eq!((seen.health, seen.reason, seen.since), (stood.health, stood.reason, stood.since));
    assert!(new.handle.watch().borrow().generation > before);
    old.handle.let_go().await.unwrap();
    new.handle.settle().await.unwrap();
    assert_eq!(new.steps("web").await, steps, "nothing has happened to what lives");
    assert_eq!(new.steps("api").await.last().unwrap(), "api-2 passing none: Tutti was restarted");
    assert_eq!(keys(&new.store, "registry/instances/").await, ["registry/instances/web-1"]);
    // The old one is quiet for good, and quick to end.
    old.handle.drain(&id("web-1"), "x").await.unwrap();
    old.stop().await;
    assert_eq!(new.steps("web").await, steps);
    new.register("web-2", vec![]).await;
    assert_eq!(keys(&new.store, "registry/instances/").await.len(), 2);
    // It is watched as before.
    new.script.set("web-1", Some(Verdict::Fail));
    new.until("web-1", Health::Critical).await;
}
