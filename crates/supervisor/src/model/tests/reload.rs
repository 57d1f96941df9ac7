//! Another definition of the application while it runs; and how long a stop may take.

use super::*;

fn running(specs: Vec<Spec>) -> World {
    let mut world = World::new(specs);
    world.up();
    world.log.clear();
    world
}

fn reload(world: &mut World, specs: Vec<Spec>, changed: &[&str]) {
    world.natures.extend(specs.iter().map(|spec| (spec.name.to_string(), Nature::Good)));
    let changed: Vec<ServiceName> = changed.iter().map(|text| name(text)).collect();
    let actions = world.machine.reload(specs, &changed);
    world.act(actions);
    world.settle();
}

fn known(world: &World) -> Vec<&str> {
    world.machine.present().map(ServiceName::as_str).collect()
}

#[test]
fn what_changed_is_replaced_and_the_rest_left_alone() {
    let mut world = running(vec![spec("a", Restart::No, &[]), spec("b", Restart::No, &[])]);
    reload(&mut world, vec![spec("a", Restart::No, &[]), spec("b", Restart::No, &[])], &["b"]);
    assert_eq!(world.order("launch "), ["b-2"]);
    assert_eq!(world.order("drain "), ["b-1"]);
    assert!(["a", "b"].iter().all(|service| world.state(service) == ServiceState::Ready));
}

#[test]
fn what_is_new_waits_for_up_and_what_is_gone_is_stopped_and_forgotten() {
    let mut world = running(vec![spec("a", Restart::No, &[]), spec("b", Restart::No, &[])]);
    reload(&mut world, vec![spec("c", Restart::No, &[]), spec("a", Restart::No, &[])], &[]);
    assert_eq!(known(&world), ["c", "a"], "in the order of the new files");
    assert!(!world.machine.services.contains_key("b"), "forgotten when nothing of it runs");
    assert_eq!(world.order("drain "), ["b-1"]);
    assert_eq!(world.state("c"), ServiceState::Stopped);
    world.up();
    assert_eq!((world.state("c"), world.state("a")), (ServiceState::Ready, ServiceState::Ready));
}

#[test]
fn what_does_not_stop_is_not_forgotten_and_not_wanted_by_up() {
    let mut world = World::new(vec![spec("a", Restart::No, &[]), spec("b", Restart::No, &[])]);
    world.natures.insert("b".to_owned(), Nature::Deaf);
    world.up();
    reload(&mut world, vec![spec("a", Restart::No, &[])], &[]);
    assert_eq!(known(&world), ["a"]);
    assert!(world.machine.services.contains_key("b"));
    assert!(world.pass(), "its grace period ends");
    assert!(!world.machine.services.contains_key("b") && world.processes.len() == 1);
}

#[test]
fn what_comes_back_while_it_is_being_stopped_runs_again() {
    let both = || vec![spec("a", Restart::No, &[]), spec("b", Restart::No, &[])];
    let mut world = World::new(both());
    world.natures.insert("b".to_owned(), Nature::Deaf);
    world.up();
    reload(&mut world, vec![spec("a", Restart::No, &[])], &[]);
    reload(&mut world, both(), &[]);
    world.up();
    world.pass();
    assert_eq!((known(&world), world.state("b")), (vec!["a", "b"], ServiceState::Ready));
}

#[test]
fn a_stopped_service_stays_stopped_and_starts_as_it_is_defined_now() {
    let mut world = running(vec![spec("a", Restart::No, &[])]);
    world.stop_all();
    let more = Spec { replicas: 2, ..spec("a", Restart::No, &[]) };
    reload(&mut world, vec![more], &["a"]);
    assert_eq!(world.state("a"), ServiceState::Stopped);
    world.up();
    assert_eq!(world.ready("a"), 2);
}

#[test]
fn a_number_set_by_scale_stays_until_the_files_say_another() {
    let mut world = running(vec![spec("a", Restart::No, &[])]);
    world.machine.scale(&name("a"), 3);
    world.settle();
    reload(&mut world, vec![spec("a", Restart::No, &[])], &[]);
    assert_eq!(world.ready("a"), 3);
    reload(&mut world, vec![Spec { replicas: 2, ..spec("a", Restart::No, &[]) }], &[]);
    assert_eq!(world.ready("a"), 2);
}

#[test]
fn a_new_dependency_is_waited_for() {
    let mut world = running(vec![spec("a", Restart::No, &[])]);
    world.natures.insert("db".to_owned(), Nature::Mute);
    let specs = vec![spec("a", Restart::No, &[("db", Condition::Healthy)]), spec("db", Restart::No, &[])];
    let actions = world.machine.reload(specs, &[name("a")]);
    world.act(actions);
    world.up();
    assert_eq!(world.order("launch "), ["db-1"], "the old instance goes on meanwhile");
    let db = InstanceKey { service: name("db"), ordinal: 1 };
    world.facts.push(Fact::Health(db, Health::Passing));
    world.settle();
    assert_eq!(world.order("launch "), ["db-1", "a-2"]);
}

#[test]
fn a_stop_may_be_given_less_time_and_the_next_one_is_not() {
    let mut world = World::new(vec![spec("a", Restart::No, &[])]);
    world.natures.insert("a".to_owned(), Nature::Deaf);
    for (grace, seconds) in [(Some(2 * SECOND), 2), (None, 10), (Some(Duration::ZERO), 0)] {
        world.up();
        let asked = world.now;
        world.machine.stop(&[name("a")]);
        world.machine.patience(&[name("a")], grace);
        world.settle();
        while world.pass() {}
        assert_eq!((world.now - asked, world.processes.len()), (seconds * SECOND, 0), "{grace:?}");
    }
}
