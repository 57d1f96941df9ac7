//! The machine by tables, by random histories, and in a small world that carries out what it says.

mod handover;
mod reload;

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::status::ServiceState;
use proptest::prelude::*;
use tutti_core::random::Rng;

const SECOND: Duration = Duration::from_secs(1);

/// How the processes of a service behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nature {
    /// Starts, becomes ready, stops when asked.
    Good,
    /// Starts and never becomes ready.
    Mute,
    /// Starts and its checks fail.
    Sick,
    /// Exits at once with this status.
    Exits(i32),
    /// Ready, and ignores the polite signal.
    Deaf,
}

/// A world that carries out what the machine says, one fact at a time, by a clock of its own.
struct World {
    machine: Machine,
    now: Duration,
    natures: BTreeMap<String, Nature>,
    setup_fails: BTreeSet<String>,
    processes: BTreeMap<InstanceKey, Nature>,
    setups: BTreeSet<ServiceName>,
    /// What has to be told, in order.
    facts: Vec<Fact>,
    log: Vec<String>,
}

#[derive(Clone, Debug)]
enum Fact {
    Setup(ServiceName),
    Started(InstanceKey),
    Health(InstanceKey, Health),
    Drained(InstanceKey),
    Exited(InstanceKey, i32),
}

fn name(text: &str) -> ServiceName {
    ServiceName::new(text).unwrap()
}

fn spec(text: &str, restart: Restart, deps: &[(&str, Condition)]) -> Spec {
    let dep = |(service, condition): &(&str, Condition)| Dep {
        service: name(service),
        condition: *condition,
        restart: false,
        required: true,
    };
    Spec {
        name: name(text),
        depends_on: deps.iter().map(dep).collect(),
        restart,
        replicas: 1,
        stop_signal: libc::SIGTERM,
        grace: 10 * SECOND,
        stop_first: false,
        place: Place::Here,
    }
}

impl World {
    fn new(specs: Vec<Spec>) -> Self {
        let natures = specs.iter().map(|spec| (spec.name.to_string(), Nature::Good)).collect();
        Self {
            machine: Machine::new(specs, Backoff::default(), 60 * SECOND, Rng::seeded(1)),
            now: SECOND,
            natures,
            setup_fails: BTreeSet::new(),
            processes: BTreeMap::new(),
            setups: BTreeSet::new(),
            facts: Vec::new(),
            log: Vec::new(),
        }
    }

    fn all(&self) -> Vec<ServiceName> {
        self.machine.services.keys().cloned().collect()
    }

    fn step(&mut self) {
        let actions = self.machine.step(self.now);
        self.act(actions);
    }

    fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Setup(service) => {
                    assert!(self.setups.insert(service.clone()), "two setups of {service} at once");
                    self.facts.push(Fact::Setup(service));
                }
                Action::CancelSetup(service) => assert!(self.setups.contains(&service)),
                Action::Launch { id } => self.launch(id),
                Action::Drain { id, .. } => {
                    assert!(self.processes.contains_key(&id), "{} is drained and does not run", id.id());
                    self.log.push(format!("drain {}", id.id()));
                    self.facts.push(Fact::Drained(id));
                }
                Action::Signal { id, signal, .. } => self.signal(id, signal),
                Action::Tell(_, kind) => self.log.push(format!("{kind:?}")),
            }
        }
    }

    fn launch(&mut self, id: InstanceKey) {
        self.log.push(format!("launch {}", id.id()));
        let nature = self.natures[id.service.as_str()];
        assert!(self.processes.insert(id.clone(), nature).is_none(), "{} runs twice", id.id());
        self.facts.push(Fact::Started(id.clone()));
        if let Nature::Exits(status) = nature {
            self.facts.push(Fact::Exited(id, status));
        }
    }

    fn signal(&mut self, id: InstanceKey, signal: i32) {
        self.log.push(format!("signal {} {signal}", id.id()));
        let Some(nature) = self.processes.get(&id) else { return };
        if signal == libc::SIGKILL || *nature != Nature::Deaf {
            self.facts.push(Fact::Exited(id, 128 + signal));
        }
    }

    /// Tells one fact. Facts of what is gone meanwhile are told too: tasks do so.
    fn tell(&mut self, fact: Fact) {
        let now = self.now;
        let actions = match fact {
            Fact::Setup(service) => {
                self.setups.remove(&service);
                let fails = self.setup_fails.contains(service.as_str());
                let failure = Failure { reason: "make failed".to_owned(), code: None };
                self.machine.setup_done(&service, if fails { Err(failure) } else { Ok(()) })
            }
            Fact::Started(id) => {
                let Some(nature) = self.processes.get(&id).copied() else { return };
                self.machine.started(&id, 7);
                // The loop looks at the catalog again then.
                match nature {
                    Nature::Good | Nature::Deaf => self.machine.health(&id, Health::Passing, "said so", now),
                    Nature::Sick => self.machine.health(&id, Health::Critical, "said so", now),
                    _ => Vec::new(),
                }
            }
            Fact::Health(id, health) if self.processes.contains_key(&id) => {
                self.machine.health(&id, health, "said so", now)
            }
            Fact::Health(..) => Vec::new(),
            Fact::Drained(id) => self.machine.drained(&id, 0, now),
            Fact::Exited(id, status) => match self.processes.remove(&id) {
                Some(_) => {
                    let exit = Exit {
                        status: Some(status),
                        reason: format!("exited with status {status}"),
                        code: None,
                        last_lines: Vec::new(),
                        at_ms: 0,
                    };
                    self.machine.exited(&id, exit, false, now)
                }
                None => Vec::new(),
            },
        };
        self.act(actions);
    }

    /// Lets everything happen that is under way now, without the clock moving.
    fn settle(&mut self) {
        self.step();
        for _ in 0..10_000 {
            if self.facts.is_empty() {
                return;
            }
            let fact = self.facts.remove(0);
            self.tell(fact);
            self.step();
        }
        panic!("it does not come to rest: {:#?}", self.log.iter().rev().take(30).collect::<Vec<_>>());
    }

    /// Moves the clock to the next deadline, as the loop does.
    fn pass(&mut self) -> bool {
        let Some(deadline) = self.machine.next_deadline() else { return false };
        self.now = self.now.max(deadline);
        self.settle();
        true
    }

    fn up(&mut self) {
        self.machine.up(&self.all(), true);
        self.settle();
    }

    fn stop_all(&mut self) {
        self.machine.stop(&self.all());
        self.settle();
    }

    fn state(&self, service: &str) -> ServiceState {
        self.machine.verdict(&self.machine.services[service]).state
    }

    fn ready(&self, service: &str) -> usize {
        self.machine.services[service].slots.iter().filter(|slot| slot.is_ready()).count()
    }

    fn order(&self, what: &str) -> Vec<String> {
        self.log.iter().filter_map(|line| line.strip_prefix(what)).map(str::to_owned).collect()
    }
}

#[test]
fn starts_follow_dependencies_and_stops_go_the_other_way() {
    let healthy = Condition::Healthy;
    let mut world = World::new(vec![
        spec("web", Restart::No, &[("api", healthy)]),
        spec("api", Restart::No, &[("db", healthy)]),
        spec("db", Restart::No, &[]),
    ]);
    world.up();
    assert_eq!(world.order("launch "), ["db-1", "api-1", "web-1"]);
    assert!(["web", "api", "db"].iter().all(|service| world.state(service) == ServiceState::Ready));
    world.stop_all();
    assert_eq!(world.order("drain "), ["web-1", "api-1", "db-1"]);
    assert!(world.machine.is_idle());
}

#[test]
fn stopping_one_service_leaves_what_depends_on_it() {
    let mut world = World::new(vec![
        spec("web", Restart::No, &[("db", Condition::Started)]),
        spec("db", Restart::No, &[]),
    ]);
    world.up();
    world.machine.stop(&[name("db")]);
    world.settle();
    assert_eq!((world.state("db"), world.state("web")), (ServiceState::Stopped, ServiceState::Ready));
    world.machine.up(&[name("web")], true);
    world.settle();
    assert_eq!(world.state("db"), ServiceState::Ready);
}

#[test]
fn a_condition_is_kept_waiting_for_until_it_holds() {
    let mut world = World::new(vec![
        spec("web", Restart::No, &[("db", Condition::Healthy)]),
        spec("db", Restart::No, &[]),
    ]);
    world.natures.insert("db".to_owned(), Nature::Mute);
    world.up();
    assert_eq!(world.state("web"), ServiceState::Waiting);
    let db = InstanceKey { service: name("db"), ordinal: 1 };
    world.facts.push(Fact::Health(db.clone(), Health::Critical));
    world.settle();
    assert_eq!((world.state("db"), world.state("web")), (ServiceState::Unhealthy, ServiceState::Blocked));
    world.facts.push(Fact::Health(db, Health::Passing));
    world.settle();
    assert_eq!(world.state("web"), ServiceState::Ready);
}

#[test]
fn a_dependency_that_is_not_required_is_gone_on_without() {
    let mut web = spec("web", Restart::No, &[("job", Condition::CompletedSuccessfully)]);
    web.depends_on[0].required = false;
    let mut world = World::new(vec![web, spec("job", Restart::No, &[])]);
    world.natures.insert("job".to_owned(), Nature::Exits(1));
    world.up();
    assert_eq!((world.state("web"), world.state("job")), (ServiceState::Ready, ServiceState::Failed));
    assert!(world.log.iter().any(|line| line.contains("goes on without job")));
}

#[test]
fn restart_policies_are_composes() {
    for (restart, status, starts, state) in [
        (Restart::No, 0, 1, ServiceState::Completed),
        (Restart::No, 1, 1, ServiceState::Failed),
        (Restart::OnFailure(None), 0, 1, ServiceState::Completed),
        (Restart::OnFailure(Some(3)), 1, 4, ServiceState::Failed),
        (Restart::OnFailure(None), 1, 21, ServiceState::CrashLoop),
        (Restart::Always, 0, 21, ServiceState::CrashLoop),
        (Restart::UnlessStopped, 1, 21, ServiceState::CrashLoop),
    ] {
        let mut world = World::new(vec![spec("x", restart, &[])]);
        world.natures.insert("x".to_owned(), Nature::Exits(status));
        world.up();
        for _ in 0..20 {
            world.pass();
        }
        assert_eq!(world.order("launch ").len(), starts, "{restart:?} {status}");
        assert_eq!(world.state("x"), state, "{restart:?} {status}");
    }
}

#[test]
fn pauses_grow_to_the_longest_and_begin_anew_after_a_good_while() {
    let backoff = Backoff::default();
    let full: Vec<u64> = [1, 2, 3, 9, 10, 40, u32::MAX]
        .map(|failures| u64::try_from(backoff::pause(&backoff, failures, 0.0).as_millis()).unwrap())
        .to_vec();
    assert_eq!(full, [100, 200, 400, 25_600, 30_000, 30_000, 30_000]);
    assert_eq!(backoff::pause(&backoff, 1, 1.0), Duration::from_millis(75));
    let mut world = World::new(vec![spec("x", Restart::Always, &[])]);
    world.up();
    let x = InstanceKey { service: name("x"), ordinal: 1 };
    let failures = |world: &World| world.machine.services["x"].slots[0].failures;
    for expected in 1..=3 {
        world.facts.push(Fact::Exited(x.clone(), 1));
        world.settle();
        assert_eq!(failures(&world), expected);
        world.pass();
    }
    world.now += 10 * SECOND;
    world.facts.push(Fact::Exited(x, 1));
    world.settle();
    assert_eq!(failures(&world), 1);
}

#[test]
fn a_rolling_restart_never_has_fewer_ready_nor_more_than_one_too_many() {
    let mut web = spec("web", Restart::Always, &[]);
    web.replicas = 3;
    let mut world = World::new(vec![web]);
    world.up();
    assert_eq!(world.ready("web"), 3);
    let actions = world.machine.restart(&[name("web")]);
    world.act(actions);
    world.step();
    while !world.facts.is_empty() {
        let fact = world.facts.remove(0);
        world.tell(fact);
        world.step();
        assert!(world.ready("web") >= 3);
        assert!(world.processes.len() <= 4);
    }
    assert_eq!(world.machine.services["web"].rollout, Some(Rollout::Done));
    assert_eq!(world.order("launch ").len(), 6);
    assert_eq!(world.ready("web"), 3);
}

#[test]
fn a_rolling_restart_of_what_is_not_fit_is_given_up() {
    for (nature, why) in [
        (Nature::Exits(3), "exited with status 3"),
        (Nature::Sick, "is not healthy: said so"),
        (Nature::Mute, "was not ready after 60 s"),
    ] {
        let mut web = spec("web", Restart::Always, &[]);
        web.replicas = 2;
        let mut world = World::new(vec![web]);
        world.up();
        world.natures.insert("web".to_owned(), nature);
        let actions = world.machine.restart(&[name("web")]);
        world.act(actions);
        world.settle();
        world.pass();
        let Some(Rollout::Aborted(reason)) = &world.machine.services["web"].rollout else {
            panic!("{nature:?}: {:?}", world.machine.services["web"].rollout)
        };
        assert!(reason.contains(why), "{reason}");
        assert_eq!((world.ready("web"), world.processes.len()), (2, 2), "{nature:?}");
        assert_eq!(world.state("web"), ServiceState::Ready);
    }
}

#[test]
fn a_rolling_restart_whose_build_fails_is_given_up() {
    let mut world = World::new(vec![spec("web", Restart::Always, &[])]);
    world.up();
    world.setup_fails.insert("web".to_owned());
    let actions = world.machine.restart(&[name("web")]);
    world.act(actions);
    world.settle();
    assert_eq!(world.machine.services["web"].rollout, Some(Rollout::Aborted("make failed".to_owned())));
    assert_eq!((world.state("web"), world.order("launch ").len()), (ServiceState::Ready, 1));
}

#[test]
fn what_cannot_run_twice_is_stopped_first() {
    let mut db = spec("db", Restart::Always, &[]);
    db.stop_first = true;
    let mut world = World::new(vec![db]);
    world.up();
    let actions = world.machine.restart(&[name("db")]);
    world.act(actions);
    world.step();
    while !world.facts.is_empty() {
        let fact = world.facts.remove(0);
        world.tell(fact);
        world.step();
        assert!(world.processes.len() <= 1);
    }
    assert_eq!(world.order("launch "), ["db-1", "db-1"]);
    assert_eq!(world.machine.services["db"].rollout, Some(Rollout::Done));
}

#[test]
fn dependents_that_ask_for_it_are_restarted_too() {
    let mut web = spec("web", Restart::Always, &[("db", Condition::Started)]);
    web.depends_on[0].restart = true;
    let mut world = World::new(vec![web, spec("db", Restart::Always, &[])]);
    world.up();
    let actions = world.machine.restart(&[name("db")]);
    world.act(actions);
    world.settle();
    assert_eq!(world.order("launch "), ["db-1", "web-1", "db-2", "web-2"]);
}

#[test]
fn patience_with_the_deaf_ends() {
    let mut world = World::new(vec![spec("x", Restart::Always, &[])]);
    world.natures.insert("x".to_owned(), Nature::Deaf);
    world.up();
    world.stop_all();
    assert_eq!(world.state("x"), ServiceState::Stopping);
    let begun = world.now;
    assert!(world.pass());
    assert_eq!(world.now - begun, 10 * SECOND);
    assert!(world.machine.is_idle());
    assert_eq!(world.order("signal "), ["x-1 15", "x-1 9"]);
}

#[derive(Clone, Debug)]
enum Command {
    Up(usize),
    Stop(usize),
    StopAll,
    Restart(usize),
    Scale(usize, u32),
    Nature(usize, Nature),
    Crash(usize),
    Tell(usize),
    Pass,
    HandOver,
}

fn commands() -> impl Strategy<Value = Vec<Command>> {
    let nature = prop_oneof![
        Just(Nature::Good),
        Just(Nature::Mute),
        Just(Nature::Sick),
        Just(Nature::Exits(1)),
        Just(Nature::Exits(0)),
        Just(Nature::Deaf),
    ];
    let command = prop_oneof![
        2 => (0..4_usize).prop_map(Command::Up),
        1 => (0..4_usize).prop_map(Command::Stop),
        1 => Just(Command::StopAll),
        2 => (0..4_usize).prop_map(Command::Restart),
        1 => (0..4_usize, 0..4_u32).prop_map(|(service, replicas)| Command::Scale(service, replicas)),
        2 => (0..4_usize, nature).prop_map(|(service, nature)| Command::Nature(service, nature)),
        2 => (0..8_usize).prop_map(Command::Crash),
        8 => (0..8_usize).prop_map(Command::Tell),
        2 => Just(Command::Pass),
        2 => Just(Command::HandOver),
    ];
    proptest::collection::vec(command, 0..80)
}

fn any_world() -> World {
    World::new(any_specs())
}

fn any_specs() -> Vec<Spec> {
    let mut db = spec("db", Restart::Always, &[]);
    db.stop_first = true;
    let mut api = spec("api", Restart::OnFailure(Some(2)), &[("db", Condition::Healthy)]);
    api.depends_on[0].restart = true;
    let job = spec("job", Restart::No, &[("db", Condition::Started)]);
    let web = spec(
        "web",
        Restart::Always,
        &[("api", Condition::Healthy), ("job", Condition::CompletedSuccessfully)],
    );
    vec![web, api, job, db]
}

fn carry_out(world: &mut World, command: Command) {
    let service = |world: &World, at: usize| vec![world.all()[at].clone()];
    match command {
        Command::Up(at) => world.machine.up(&service(world, at), true),
        Command::Stop(at) => world.machine.stop(&service(world, at)),
        Command::StopAll => world.machine.stop(&world.all()),
        Command::Restart(at) => {
            let actions = world.machine.restart(&service(world, at));
            world.act(actions);
        }
        Command::Scale(at, replicas) => {
            let name = service(world, at).remove(0);
            let most = if name.as_str() == "db" { 1 } else { 3 };
            world.machine.scale(&name, replicas.min(most));
        }
        Command::Nature(at, nature) => {
            let name = service(world, at).remove(0).to_string();
            world.natures.insert(name, nature);
        }
        Command::Crash(at) => {
            if let Some(id) = world.processes.keys().nth(at).cloned() {
                world.facts.push(Fact::Exited(id, 137));
            }
        }
        Command::Tell(at) => {
            if at < world.facts.len() {
                let fact = world.facts.remove(at);
                // Facts of one instance come in order; those of different ones do not.
                world.tell(fact);
            }
        }
        Command::Pass => {
            world.now += SECOND;
        }
        Command::HandOver => drop(world.hand_over(any_specs())),
    }
    world.step();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever was commanded and whatever happened, a stop ends with nothing left, and an `up` after it works.
    #[test]
    fn any_history_can_be_stopped_and_started_again(history in commands()) {
        let mut world = any_world();
        for command in history {
            carry_out(&mut world, command);
        }
        world.machine.stop(&world.all());
        world.settle();
        for _ in 0..50 {
            if world.machine.is_idle() {
                break;
            }
            // What was held back by reordering may leave an instance that is only found by its deadline.
            prop_assert!(world.pass(), "stuck: {:#?}", world.machine.services);
        }
        prop_assert!(world.machine.is_idle(), "left: {:#?}", world.machine.services);
        prop_assert!(world.processes.is_empty());
        for nature in world.natures.values_mut() {
            *nature = Nature::Good;
        }
        world.natures.insert("job".to_owned(), Nature::Exits(0));
        for name in world.all() {
            let replicas = world.machine.services[&name].spec.replicas;
            world.machine.scale(&name, replicas);
        }
        world.up();
        for service in ["web", "api", "db"] {
            prop_assert_eq!(world.state(service), ServiceState::Ready, "{}", service);
        }
        prop_assert_eq!(world.state("job"), ServiceState::Completed);
    }

    /// What cannot run twice never does, and surge is never more than one.
    #[test]
    fn no_history_runs_too_many(history in commands()) {
        let mut world = any_world();
        for command in history {
            carry_out(&mut world, command);
            let db = world.processes.keys().filter(|id| id.service.as_str() == "db").count();
            prop_assert!(db <= 1);
            for name in world.all() {
                let running = world.processes.keys().filter(|id| id.service == name).count();
                // Three is the most that `Scale` asks for.
                prop_assert!(running <= 4, "{name}: {running}");
            }
        }
    }
}
