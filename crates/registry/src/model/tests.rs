//! The rules of checks, one by one, and what must hold whatever happens.

use std::time::Duration;

use proptest::prelude::*;
use tutti_core::InstanceId;
use tutti_ports::catalog::{Check, Health, Probe, Report};

use super::check::{INTERVAL_MIN, Moment, Rules, Verdict};
use super::history::Kept;
use super::instance::{Action, Event, Instance, severity};

const PAUSE: Duration = Duration::from_millis(250);

fn secs(secs: f64) -> Duration {
    Duration::from_secs_f64(secs)
}

fn check() -> Check {
    Check {
        name: "web".into(),
        probe: Probe::Tcp { addr: ([127, 0, 0, 1], 1).into() },
        interval: secs(10.0),
        timeout: secs(1.0),
        start_period: secs(0.0),
        start_interval: secs(1.0),
        fall: 3,
        rise: 2,
    }
}

fn ttl(ttl: f64) -> Check {
    Check { probe: Probe::Ttl { ttl: secs(ttl) }, ..check() }
}

/// Steps an instance through time: answers every probe with what the script says at that moment.
struct Bench {
    instance: Instance,
    now: Duration,
    calls: Vec<(Duration, usize)>,
    probes: Vec<(Duration, usize)>,
    flying: Vec<usize>,
    changes: Vec<(Duration, Health, Health)>,
}

impl Bench {
    fn new(checks: &[Check]) -> Self {
        let (instance, actions) = Instance::new(checks.iter().map(Rules::of), Duration::ZERO);
        let mut bench = Self {
            instance,
            now: Duration::ZERO,
            calls: Vec::new(),
            probes: Vec::new(),
            flying: Vec::new(),
            changes: Vec::new(),
        };
        bench.take(actions);
        bench
    }

    fn take(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Probe { check } => {
                    assert!(!self.flying.contains(&check), "two probes of one check at once");
                    self.flying.push(check);
                    self.probes.push((self.now, check));
                }
                Action::Call { check, at } => {
                    assert!(at >= self.now);
                    self.calls.push((at, check));
                }
                Action::Changed { from } => {
                    assert_ne!(from, self.instance.health(), "a change that changes nothing");
                    self.changes.push((self.now, from, self.instance.health()));
                }
                Action::Reworded => {}
                Action::Cancel => self.flying.clear(),
            }
        }
    }

    fn step(&mut self, event: Event) {
        let actions = self.instance.step(event, Moment { now: self.now, chance: 0.5 }, PAUSE);
        self.take(actions);
    }

    fn answer(&mut self, verdict: Verdict) {
        for check in std::mem::take(&mut self.flying) {
            self.step(Event::Result { check, verdict, reason: format!("{verdict:?}") });
        }
    }

    /// Lets time pass; every probe is answered at once.
    fn until(&mut self, end: f64, verdict: Verdict) {
        self.answer(verdict);
        loop {
            self.calls.sort();
            if self.calls.first().is_none_or(|(at, _)| *at > secs(end)) {
                self.now = secs(end);
                return;
            }
            let (at, check) = self.calls.remove(0);
            self.now = at;
            self.step(Event::Time { check, promised: at });
            self.answer(verdict);
        }
    }
}

#[test]
fn the_first_probe_is_immediate_and_the_first_success_ends_starting() {
    let mut bench = Bench::new(&[check()]);
    assert_eq!(bench.probes, [(Duration::ZERO, 0)]);
    assert_eq!(bench.instance.health(), Health::Starting);
    bench.until(0.0, Verdict::Pass);
    assert_eq!(bench.instance.health(), Health::Passing);
}

#[test]
fn without_checks_it_passes_at_once() {
    assert_eq!(Bench::new(&[]).instance.health(), Health::Passing);
}

#[test]
fn starting_is_probed_often_and_given_up_when_a_container_engine_would() {
    let mut bench = Bench::new(&[Check { start_period: secs(20.0), ..check() }]);
    bench.until(49.9, Verdict::Refused);
    assert_eq!(bench.instance.health(), Health::Starting);
    assert!((49..=51).contains(&bench.probes.len()), "{}", bench.probes.len());
    assert_eq!(bench.instance.reason(), "Refused", "what is wrong is shown before it is given up");
    bench.until(51.0, Verdict::Refused);
    assert_eq!(bench.instance.health(), Health::Critical);
    let before = bench.probes.len();
    bench.until(81.0, Verdict::Refused);
    assert_eq!(bench.probes.len() - before, 3, "then it is probed every interval");
}

#[test]
fn a_success_in_the_start_period_makes_later_failures_count() {
    let mut bench = Bench::new(&[Check { start_period: secs(1000.0), fall: 1, ..check() }]);
    bench.until(0.0, Verdict::Pass);
    bench.until(11.0, Verdict::Fail);
    assert_eq!(bench.instance.health(), Health::Critical);
}

#[test]
fn it_takes_fall_failures_in_a_row_and_rise_successes() {
    let mut bench = Bench::new(&[check()]);
    bench.answer(Verdict::Pass);
    for verdict in [Verdict::Fail, Verdict::Fail, Verdict::Pass, Verdict::Fail, Verdict::Fail] {
        bench.until(bench.now.as_secs_f64() + 10.0, verdict);
        assert_eq!(bench.instance.health(), Health::Passing);
    }
    bench.until(bench.now.as_secs_f64() + 10.0, Verdict::Fail);
    assert_eq!(bench.instance.health(), Health::Critical);
    assert_eq!(bench.instance.reason(), "Fail (3 times in a row)");
    for (verdict, health) in [
        (Verdict::Pass, Health::Critical),
        (Verdict::Fail, Health::Critical),
        (Verdict::Pass, Health::Critical),
        (Verdict::Warn, Health::Warning),
        (Verdict::Pass, Health::Passing),
    ] {
        bench.until(bench.now.as_secs_f64() + 10.0, verdict);
        assert_eq!(bench.instance.health(), health);
    }
}

#[test]
fn the_worst_check_decides() {
    let mut bench = Bench::new(&[check(), Check { fall: 1, ..check() }, ttl(1000.0)]);
    bench.answer(Verdict::Pass);
    assert_eq!(bench.instance.health(), Health::Starting, "the third has not reported");
    bench.step(Event::Report { check: 2, report: Report::Warn, note: "hot".into() });
    assert_eq!(
        (bench.instance.health(), bench.instance.reason()),
        (Health::Warning, "reported warning: hot")
    );
    bench.until(11.0, Verdict::Fail);
    assert_eq!((bench.instance.health(), bench.instance.reason()), (Health::Critical, "Fail"));
}

#[test]
fn silence_and_reports_decide_a_ttl_check_at_once() {
    let mut bench = Bench::new(&[Check { start_period: secs(20.0), ..ttl(5.0) }]);
    bench.step(Event::Report { check: 0, report: Report::Fail, note: String::new() });
    bench.until(19.0, Verdict::Pass);
    assert_eq!(bench.instance.health(), Health::Starting, "its start period protects it");
    bench.until(20.0, Verdict::Pass);
    assert_eq!((bench.instance.health(), bench.instance.reason()), (Health::Critical, "no report within 5s"));
    bench.step(Event::Report { check: 0, report: Report::Pass, note: String::new() });
    assert_eq!(bench.instance.health(), Health::Passing);
    bench.until(24.0, Verdict::Pass);
    bench.step(Event::Report { check: 0, report: Report::Pass, note: String::new() });
    bench.until(28.9, Verdict::Pass);
    assert_eq!(bench.instance.health(), Health::Passing, "a report begins the time anew");
    bench.until(29.0, Verdict::Pass);
    assert_eq!(bench.instance.health(), Health::Critical);
    assert!(bench.probes.is_empty());
}

#[test]
fn frequent_reports_do_not_fill_the_schedule() {
    let mut bench = Bench::new(&[ttl(5.0)]);
    for step in 0..1_000 {
        bench.now = secs(f64::from(step) * 0.001);
        bench.step(Event::Report { check: 0, report: Report::Pass, note: String::new() });
    }
    assert!(bench.calls.len() <= 2, "{}", bench.calls.len());
}

#[test]
fn one_refusal_suffices_when_suspected_and_it_is_back_soon() {
    let mut bench = Bench::new(&[check()]);
    bench.until(3.0, Verdict::Pass);
    bench.step(Event::Suspicion);
    assert_eq!(bench.probes.last(), Some(&(secs(3.0), 0)), "probed at once");
    bench.answer(Verdict::Refused);
    assert_eq!((bench.instance.health(), bench.instance.reason()), (Health::Critical, "Refused"));
    bench.until(5.5, Verdict::Pass);
    assert_eq!(bench.instance.health(), Health::Passing, "two successes, one start_interval apart");
}

#[test]
fn a_suspicion_that_is_not_confirmed_by_a_refusal_counts_as_usual() {
    let mut bench = Bench::new(&[check()]);
    bench.until(3.0, Verdict::Pass);
    bench.step(Event::Suspicion);
    bench.answer(Verdict::Fail);
    assert_eq!(bench.instance.health(), Health::Passing);
    bench.step(Event::Suspicion);
    bench.until(3.4, Verdict::Fail);
    bench.step(Event::Suspicion);
    bench.until(3.7, Verdict::Fail);
    assert_eq!(bench.instance.health(), Health::Critical);
}

#[test]
fn an_unsuspected_refusal_is_a_failure_like_any_other() {
    let mut bench = Bench::new(&[check()]);
    bench.answer(Verdict::Pass);
    bench.until(11.0, Verdict::Refused);
    assert_eq!(bench.instance.health(), Health::Passing);
}

#[test]
fn a_storm_of_suspicions_is_a_few_probes() {
    let mut bench = Bench::new(&[check()]);
    bench.until(3.0, Verdict::Pass);
    let before = bench.probes.len();
    for step in 0..1_000 {
        bench.step(Event::Suspicion);
        bench.until(3.0 + f64::from(step) * 0.001, Verdict::Pass);
    }
    assert!((4..=5).contains(&(bench.probes.len() - before)), "{}", bench.probes.len() - before);
}

#[test]
fn a_suspicion_during_a_probe_is_looked_into_after_it() {
    let mut bench = Bench::new(&[check()]);
    bench.until(0.0, Verdict::Pass);
    bench.until(9.9, Verdict::Pass);
    let (at, check) = bench.calls.remove(0);
    bench.now = at;
    bench.step(Event::Time { check, promised: at });
    bench.step(Event::Suspicion);
    bench.answer(Verdict::Pass);
    let before = bench.probes.len();
    bench.until(at.as_secs_f64(), Verdict::Refused);
    assert_eq!(bench.probes.len(), before + 1);
    assert_eq!(bench.instance.health(), Health::Critical);
}

#[test]
fn senseless_rules_get_the_nearest_sense() {
    let never = Check {
        interval: Duration::ZERO,
        start_interval: Duration::MAX,
        start_period: Duration::MAX,
        fall: 0,
        rise: 0,
        ..check()
    };
    let mut bench = Bench::new(&[never.clone(), Check { interval: Duration::MAX, fall: u32::MAX, ..never }]);
    bench.until(1.0, Verdict::Pass);
    bench.until(2.0, Verdict::Fail);
    assert_eq!(bench.instance.health(), Health::Critical);
    assert!(
        bench.probes.len() <= 2_000_usize.div_ceil(usize::try_from(INTERVAL_MIN.as_millis()).unwrap()) + 30
    );
}

#[test]
fn a_crash_loop_only_pushes_out_its_own_past() {
    let mut kept = Kept::default();
    let (quiet, busy) = (InstanceId::new("a-1").unwrap(), InstanceId::new("a-2").unwrap());
    assert!(kept.add(0, &quiet, 3, 100).is_empty());
    let mut forgotten = Vec::new();
    for seq in 1..=10 {
        forgotten.extend(kept.add(seq, &busy, 3, 100).into_iter().map(|(seq, _)| seq));
    }
    assert_eq!(forgotten, (1..=7).collect::<Vec<_>>());
    assert_eq!((kept.of(&quiet), kept.of(&busy), kept.len()), (1, 3, 4));
    for seq in 11..=30 {
        kept.add(seq, &InstanceId::new(&format!("a-{seq}")).unwrap(), 3, 10);
    }
    assert_eq!((kept.of(&quiet), kept.of(&busy), kept.len()), (0, 0, 10));
}

#[derive(Clone, Debug)]
enum Input {
    Wait(u16),
    Answer(u8),
    Report(u8),
    Suspect,
    Drain,
}

fn input() -> impl Strategy<Value = Input> {
    prop_oneof![
        6 => (0_u16..20_000).prop_map(Input::Wait),
        6 => (0_u8..4).prop_map(Input::Answer),
        2 => (0_u8..3).prop_map(Input::Report),
        2 => Just(Input::Suspect),
        1 => Just(Input::Drain),
    ]
}

fn any_check() -> impl Strategy<Value = Check> {
    (1_u32..4, 1_u32..4, 0_u64..20, 1_u64..20, 0_u64..5, proptest::bool::weighted(0.25)).prop_map(
        |(fall, rise, start, interval, often, silent)| {
            let base = if silent { ttl(interval as f64) } else { check() };
            Check {
                fall,
                rise,
                start_period: Duration::from_secs(start),
                interval: Duration::from_secs(interval),
                start_interval: Duration::from_secs(often),
                ..base
            }
        },
    )
}

impl Bench {
    fn feed(&mut self, input: &Input) {
        match input {
            Input::Wait(ms) => {
                let end = self.now + Duration::from_millis(u64::from(*ms));
                self.calls.sort();
                while self.calls.first().is_some_and(|(at, _)| *at <= end) {
                    let (at, check) = self.calls.remove(0);
                    self.now = at.max(self.now);
                    self.step(Event::Time { check, promised: at });
                    self.calls.sort();
                }
                self.now = end;
            }
            Input::Answer(n) => {
                let verdicts = [Verdict::Pass, Verdict::Warn, Verdict::Fail, Verdict::Refused];
                self.answer(verdicts[usize::from(*n)]);
            }
            Input::Report(n) => {
                let report = [Report::Pass, Report::Warn, Report::Fail][usize::from(*n)];
                for check in 0..self.instance.checks().len() {
                    self.step(Event::Report { check, report, note: "n".into() });
                }
            }
            Input::Suspect => self.step(Event::Suspicion),
            Input::Drain => self.step(Event::Drain { reason: "stopped".into() }),
        }
    }
}

proptest! {
    /// `Bench::take` holds the rest: never two probes of a check at once, no change that changes nothing.
    #[test]
    fn whatever_happens(checks in prop::collection::vec(any_check(), 0..4), inputs in prop::collection::vec(input(), 0..200)) {
        let mut bench = Bench::new(&checks);
        let mut drained = false;
        for input in &inputs {
            bench.feed(input);
            drained |= matches!(input, Input::Drain);
            let health = bench.instance.health();
            if drained {
                prop_assert_eq!(health, Health::Draining, "draining is for good");
                prop_assert!(bench.flying.is_empty(), "nothing is probed any more");
                continue;
            }
            let worst = bench.instance.checks().iter().map(|check| check.status()).max_by_key(|h| severity(*h));
            let worst = worst.unwrap_or(Health::Passing);
            let halfway = worst == Health::Starting && health == Health::Critical;
            prop_assert!(halfway || health == worst, "{health:?} is not the worst, {worst:?}");
            for (index, check) in bench.instance.checks().iter().enumerate() {
                let waits = check.promised().is_some_and(|at| bench.calls.contains(&(at, index)));
                let silent = check.status() == Health::Critical && !check.in_flight();
                prop_assert!(waits || bench.flying.contains(&index) || silent, "check {} is forgotten", index);
            }
        }
        for pair in bench.changes.windows(2) {
            prop_assert_eq!(pair[0].2, pair[1].1, "each transition begins where the last one ended");
            prop_assert!(pair[1].2 != Health::Starting, "nothing starts twice");
        }
    }

    /// A check that was well needs `fall` failures, unless it was suspected.
    #[test]
    fn fewer_failures_than_fall_change_nothing(fall in 2_u32..6, failures in 1_u32..5) {
        let mut bench = Bench::new(&[Check { fall, ..check() }]);
        bench.answer(Verdict::Pass);
        for _ in 0..failures.min(fall - 1) {
            bench.feed(&Input::Wait(11_001));
            bench.answer(Verdict::Refused);
        }
        prop_assert_eq!(bench.instance.health(), Health::Passing);
    }
}
