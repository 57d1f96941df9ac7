//! What goes from one machine to the next. The histories of the other tests have it in them, too.

use super::*;

impl World {
    /// Another process goes on with what this one knows, if it is at rest; else what is on its way.
    pub(super) fn hand_over(&mut self, specs: Vec<Spec>) -> Result<(), String> {
        let affairs = self.machine.affairs()?;
        let written = serde_json::to_string(&affairs).unwrap();
        let mut next = Machine::new(specs, Backoff::default(), 60 * SECOND, Rng::seeded(2));
        next.resume(serde_json::from_str(&written).unwrap())?;
        assert_eq!(next.affairs().as_ref(), Ok(&affairs));
        assert_eq!(next.next_deadline(), self.machine.next_deadline());
        for (before, after) in self.machine.services.values().zip(next.services.values()) {
            assert_eq!(self.machine.verdict(before).state, next.verdict(after).state, "{}", before.spec.name);
        }
        self.machine = next;
        Ok(())
    }
}

fn one(restart: Restart) -> (World, Vec<Spec>) {
    let specs = vec![spec("x", restart, &[])];
    (World::new(specs.clone()), specs)
}

#[test]
fn nothing_happens_to_what_runs_and_its_end_is_answered_as_before() {
    let (mut world, specs) = one(Restart::Always);
    world.up();
    world.machine.scale(&name("x"), 2);
    world.settle();
    let done = world.log.len();
    assert_eq!(world.hand_over(specs), Ok(()));
    world.settle();
    assert_eq!((world.log.len(), world.ready("x")), (done, 2));
    world.facts.push(Fact::Exited(world.processes.keys().next().unwrap().clone(), 1));
    world.settle();
    while world.ready("x") < 2 {
        assert!(world.pass());
    }
    world.stop_all();
    assert!(world.machine.is_idle() && world.processes.is_empty());
}

#[test]
fn what_is_on_its_way_is_waited_for() {
    let (mut world, specs) = one(Restart::Always);
    world.machine.up(&[name("x")], true);
    world.step();
    assert_eq!(world.hand_over(specs.clone()), Err("x is being built".to_owned()));
    let fact = world.facts.remove(0);
    world.tell(fact);
    world.step();
    assert_eq!(world.hand_over(specs.clone()), Err("x-1 is being started".to_owned()));
    world.settle();
    let actions = world.machine.restart(&[name("x")]);
    world.act(actions);
    assert!(world.hand_over(specs.clone()).is_err());
    world.settle();
    while world.hand_over(specs.clone()).is_err() {
        assert!(world.pass(), "{:#?}", world.machine.services);
    }
    world.machine.stop(&[name("x")]);
    world.step();
    assert_eq!(world.hand_over(specs.clone()), Err("x-2 is being stopped".to_owned()));
    world.settle();
    assert_eq!(world.hand_over(specs), Ok(()));
}

#[test]
fn one_that_crashes_again_and_again_is_at_rest_and_waits_no_shorter() {
    let (mut world, specs) = one(Restart::Always);
    world.natures.insert("x".to_owned(), Nature::Exits(1));
    world.up();
    for _ in 0..4 {
        world.pass();
    }
    let (due, failures) = (world.machine.next_deadline(), world.machine.services["x"].slots[0].failures);
    assert!(due > Some(world.now) && failures >= 4, "{failures}");
    assert_eq!(world.hand_over(specs), Ok(()));
    world.settle();
    assert_eq!(world.machine.next_deadline(), due, "it is started at once");
    world.pass();
    assert_eq!(world.machine.services["x"].slots[0].failures, failures + 1);
}

#[test]
fn a_build_that_failed_is_not_tried_again_and_still_says_why() {
    let (mut world, specs) = one(Restart::Always);
    world.setup_fails.insert("x".to_owned());
    world.up();
    assert_eq!(world.state("x"), ServiceState::Failed);
    assert_eq!(world.hand_over(specs), Ok(()));
    world.settle();
    assert!(world.setups.is_empty());
    let verdict = world.machine.verdict(&world.machine.services["x"]);
    assert!(verdict.reason.contains("make failed"), "{}", verdict.reason);
}

#[test]
fn a_service_that_the_next_process_does_not_know_ends_it() {
    let (mut world, _) = one(Restart::Always);
    world.up();
    let error = world.hand_over(vec![spec("y", Restart::Always, &[])]).unwrap_err();
    assert!(error.contains("no service x"), "{error}");
}
