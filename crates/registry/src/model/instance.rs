//! One instance: the worst of its checks, unless it is being drained, which is for good.

use std::time::Duration;

use tutti_ports::catalog::{Health, Report, Standing};

use super::check::{Moment, Next, Rules, State, Verdict};

/// What happens to an instance.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A time that was asked for with [`Action::Call`] has come.
    Time {
        /// The check.
        check: usize,
        /// The time that was asked for.
        promised: Duration,
    },
    /// A probe has ended.
    Result {
        /// The check.
        check: usize,
        /// What it found.
        verdict: Verdict,
        /// In words.
        reason: String,
    },
    /// Somebody reports to a TTL check.
    Report {
        /// The check.
        check: usize,
        /// The report.
        report: Report,
        /// In words.
        note: String,
    },
    /// A connection to it was refused or broke.
    Suspicion,
    /// It is being stopped.
    Drain {
        /// Why.
        reason: String,
    },
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Begin a probe, and tell its end.
    Probe {
        /// The check.
        check: usize,
    },
    /// Tell when it is this time.
    Call {
        /// The check.
        check: usize,
        /// The time.
        at: Duration,
    },
    /// The health has changed: [`Instance::health`] and [`Instance::reason`] are new.
    Changed {
        /// What it was.
        from: Health,
    },
    /// The health is the same, for another reason.
    Reworded,
    /// The probes under way are of no interest any more.
    Cancel,
}

/// The state of an instance.
#[derive(Clone, Debug)]
pub(crate) struct Instance {
    checks: Vec<State>,
    health: Health,
    reason: String,
}

/// Why an instance is starting as long as nothing was found out.
const NO_RESULT: &str = "registered; no check has passed yet";

impl Instance {
    /// An instance that is registered now, and what to do first.
    pub(crate) fn new(rules: impl Iterator<Item = Rules>, now: Duration) -> (Self, Vec<Action>) {
        let mut actions = Vec::new();
        let mut checks = Vec::new();
        for rules in rules {
            let (state, next) = State::new(rules, now);
            push(next, checks.len(), &mut actions);
            checks.push(state);
        }
        let (health, reason) = match checks.is_empty() {
            true => (Health::Passing, "registered without health checks"),
            false => (Health::Starting, NO_RESULT),
        };
        (Self { checks, health, reason: reason.to_owned() }, actions)
    }

    /// An instance that is taken over as it stands, and what to do first.
    pub(crate) fn resumed(
        rules: impl Iterator<Item = Rules>,
        standing: &Standing,
        now: Duration,
    ) -> (Self, Vec<Action>) {
        let (health, reason) = (standing.health, standing.reason.clone());
        let (mut actions, mut checks) = (Vec::new(), Vec::new());
        for rules in rules {
            let (state, next) = State::resumed(rules, health, reason.clone(), now);
            push(next, checks.len(), &mut actions);
            checks.push(state);
        }
        (Self { checks, health, reason }, actions)
    }

    pub(crate) fn health(&self) -> Health {
        self.health
    }

    pub(crate) fn reason(&self) -> &str {
        &self.reason
    }

    /// Whether the check waits for the result of a probe.
    pub(crate) fn in_flight(&self, check: usize) -> bool {
        self.health != Health::Draining && self.checks.get(check).is_some_and(State::in_flight)
    }

    #[cfg(test)]
    pub(crate) fn checks(&self) -> &[State] {
        &self.checks
    }

    /// One step. Probes on suspicion are `pause` apart.
    pub(crate) fn step(&mut self, event: Event, at: Moment, pause: Duration) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.health == Health::Draining {
            return actions;
        }
        if let Event::Drain { reason } = event {
            actions.push(Action::Changed { from: self.health });
            actions.push(Action::Cancel);
            self.health = Health::Draining;
            self.reason = reason;
            return actions;
        }
        let only = match &event {
            Event::Time { check, .. } | Event::Result { check, .. } | Event::Report { check, .. } => {
                Some(*check)
            }
            _ => None,
        };
        for (index, state) in self.checks.iter_mut().enumerate() {
            if only.is_some_and(|only| only != index) {
                continue;
            }
            let next = match &event {
                Event::Time { promised, .. } => state.on_time(*promised, at.now),
                Event::Result { verdict, reason, .. } => state.on_result(*verdict, reason.clone(), at, pause),
                Event::Report { report, note, .. } => state.on_report(*report, note, at.now),
                Event::Suspicion => state.on_suspicion(at.now, pause),
                Event::Drain { .. } => Next::Await,
            };
            push(next, index, &mut actions);
        }
        self.judge(&mut actions);
        actions
    }

    /// Takes over the worst of the checks. What was critical does not go back to starting: a check that has not passed yet
    /// keeps it critical.
    fn judge(&mut self, actions: &mut Vec<Action>) {
        let Some(worst) = self.checks.iter().max_by_key(|check| severity(check.status())) else { return };
        let reason = if worst.reason().is_empty() { NO_RESULT } else { worst.reason() };
        let health = match (worst.status(), self.health) {
            (Health::Starting, Health::Critical) => Health::Critical,
            (worst, _) => worst,
        };
        if health != self.health {
            actions.push(Action::Changed { from: self.health });
            self.health = health;
            self.reason = reason.to_owned();
        } else if !health.takes_traffic() && reason != self.reason {
            actions.push(Action::Reworded);
            self.reason = reason.to_owned();
        }
    }
}

fn push(next: Next, check: usize, actions: &mut Vec<Action>) {
    match next {
        Next::Await => {}
        Next::Probe => actions.push(Action::Probe { check }),
        Next::At(at) => actions.push(Action::Call { check, at }),
    }
}

/// Which of two states of checks decides. A check that has not passed yet withholds traffic, one that fails says more.
pub(crate) fn severity(health: Health) -> u8 {
    match health {
        Health::Passing => 0,
        Health::Warning => 1,
        Health::Starting => 2,
        Health::Critical => 3,
        Health::Draining => 4,
    }
}
