//! One check of one instance: when it is probed, and what its results make of it.
//!
//! Rules, with the names of [`tutti_ports::catalog::Check`]:
//! - It begins in *starting* and is probed at once, then every `start_interval` until it has passed or given up.
//! - The first success ends *starting*. `rise` only counts after it was critical.
//! - In *starting*, failures make it critical only when the instance is older than `start_period + fall × interval`.
//!   That is when a container engine would give up, which probes every `interval`; probing more often than that must
//!   find a success earlier, never a failure.
//! - Later, `fall` failures in a row make it critical. A success of either kind begins the count anew.
//! - A warning counts as a success, and takes effect at once in both directions: it changes no traffic.
//! - Suspected, one refused connection makes it critical. It is then probed every `start_interval` for as long as
//!   `fall` failures would have taken, so that a service that only rebinds its port is not out for longer.
//! - A TTL check is not probed. A report takes effect at once, silence for `ttl` is critical; both only after
//!   `start_period`.

use std::time::Duration;

use tutti_ports::catalog::{Check, Health, Probe, Report};

/// No check is probed more often, whatever its interval says.
pub(crate) const INTERVAL_MIN: Duration = Duration::from_millis(10);

/// No time of a check is longer: keeps every sum of times far from its end.
const TIME_MAX: Duration = Duration::from_secs(10 * 366 * 86_400);

/// The time and a piece of chance, from whoever steps the machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// Monotonic time.
    pub now: Duration,
    /// Evenly distributed in 0.0 .. 1.0.
    pub chance: f64,
}

/// What a probe found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Well.
    Pass,
    /// Not quite.
    Warn,
    /// Not well.
    Fail,
    /// Nobody listens there.
    Refused,
}

/// What the machine needs to know of a check; the rest concerns the prober alone.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// Begins its reasons: empty, or the check's name and a colon.
    label: String,
    ttl: Option<Duration>,
    interval: Duration,
    start_period: Duration,
    start_interval: Duration,
    fall: u32,
    rise: u32,
}

impl Rules {
    /// The rules in a check, with what makes no sense (no interval, no failures) replaced by the nearest sense.
    pub(crate) fn of(check: &Check) -> Self {
        let interval = check.interval.clamp(INTERVAL_MIN, TIME_MAX);
        let ttl = match &check.probe {
            Probe::Ttl { ttl } => Some((*ttl).clamp(INTERVAL_MIN, TIME_MAX)),
            _ => None,
        };
        Self {
            label: String::new(),
            ttl,
            interval,
            start_period: check.start_period.min(TIME_MAX),
            start_interval: check.start_interval.clamp(INTERVAL_MIN, interval),
            fall: check.fall.max(1),
            rise: check.rise.max(1),
        }
    }

    /// The rules of one check among several, which has to say which one it is.
    pub(crate) fn named(check: &Check) -> Self {
        Self { label: format!("{}: ", check.name), ..Self::of(check) }
    }

    /// How long `fall` failures take.
    fn patience(&self) -> Duration {
        self.interval.saturating_mul(self.fall)
    }
}

/// What to do with the probe of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing: a result or a time is awaited already.
    Await,
    /// Begin a probe.
    Probe,
    /// Come back at this time, and at no other.
    At(Duration),
}

/// A check's state.
#[derive(Clone, Debug)]
pub(crate) struct State {
    rules: Rules,
    born: Duration,
    status: Health,
    reason: String,
    /// Failures (when not critical) or successes (when critical) in a row.
    streak: u32,
    /// When it is probed next, or its TTL runs out. `None` while a probe is under way.
    due: Option<Duration>,
    /// When it was promised to be called. May be before `due`, which a report moves without a new promise.
    promised: Option<Duration>,
    /// The probe under way, or the next one, decides over a suspicion.
    suspected: bool,
    /// A suspicion came up while a probe was under way, which may have looked too early: another one follows.
    again: bool,
    /// When it was last probed on suspicion.
    hurried: Option<Duration>,
    /// Until when it is probed every `start_interval` although it is critical.
    hasty_until: Duration,
}

impl State {
    /// A check of an instance that is registered now.
    pub(crate) fn new(rules: Rules, now: Duration) -> (Self, Next) {
        let (ttl, start_period) = (rules.ttl, rules.start_period);
        let mut state = Self {
            rules,
            born: now,
            status: Health::Starting,
            reason: String::new(),
            streak: 0,
            due: None,
            promised: None,
            suspected: false,
            again: false,
            hurried: None,
            hasty_until: Duration::ZERO,
        };
        let next = match ttl {
            Some(ttl) => state.come_back(now + start_period.max(ttl)),
            None => Next::Probe,
        };
        (state, next)
    }

    /// The same of one that is known to be so already: its first probe finds out whether it still is.
    pub(crate) fn resumed(rules: Rules, status: Health, reason: String, now: Duration) -> (Self, Next) {
        let (state, next) = Self::new(rules, now);
        (Self { status, reason, ..state }, next)
    }

    pub(crate) fn status(&self) -> Health {
        self.status
    }

    /// Why it has its status, or why it has none yet.
    pub(crate) fn reason(&self) -> &str {
        &self.reason
    }

    /// Whether a probe is under way or about to begin.
    pub(crate) fn in_flight(&self) -> bool {
        self.rules.ttl.is_none() && self.due.is_none()
    }

    /// When it waits to be called.
    #[cfg(test)]
    pub(crate) fn promised(&self) -> Option<Duration> {
        self.promised
    }

    /// The time that was promised with [`Next::At`] has come; a promise that was replaced is ignored.
    pub(crate) fn on_time(&mut self, promised: Duration, now: Duration) -> Next {
        if self.promised != Some(promised) {
            return Next::Await;
        }
        self.promised = None;
        match (self.due, self.rules.ttl) {
            (None, _) => Next::Await,
            (Some(due), _) if now < due => self.come_back(due),
            (Some(_), None) => self.begin(now),
            (Some(_), Some(ttl)) => {
                self.due = None;
                self.turn(Health::Critical, format!("{}no report within {ttl:?}", self.rules.label));
                Next::Await
            }
        }
    }

    fn come_back(&mut self, due: Duration) -> Next {
        self.due = Some(due);
        if self.promised.is_some_and(|promised| promised <= due) {
            return Next::Await;
        }
        self.promised = Some(due);
        Next::At(due)
    }

    fn begin(&mut self, now: Duration) -> Next {
        self.due = None;
        self.promised = None;
        if self.suspected {
            self.hurried = Some(now);
        }
        Next::Probe
    }

    /// A connection to the instance was refused or broke. Probes on suspicion are `pause` apart.
    pub(crate) fn on_suspicion(&mut self, now: Duration, pause: Duration) -> Next {
        if self.rules.ttl.is_some() || !self.status.takes_traffic() {
            return Next::Await;
        }
        self.suspected = true;
        let Some(due) = self.due else {
            self.again = true;
            return Next::Await;
        };
        match self.hurried.map(|hurried| hurried + pause) {
            Some(earliest) if earliest > now => self.come_back(earliest.min(due)),
            _ => self.begin(now),
        }
    }

    /// A probe has ended.
    pub(crate) fn on_result(
        &mut self,
        verdict: Verdict,
        reason: String,
        at: Moment,
        pause: Duration,
    ) -> Next {
        if !self.in_flight() {
            return Next::Await;
        }
        let was_starting = self.status == Health::Starting;
        let reason = format!("{}{reason}", self.rules.label);
        match verdict {
            Verdict::Pass => self.succeed(Health::Passing, reason),
            Verdict::Warn => self.succeed(Health::Warning, reason),
            Verdict::Refused if self.suspected && self.status.takes_traffic() => {
                self.hasty_until = at.now + self.rules.patience();
                self.turn(Health::Critical, reason);
            }
            Verdict::Fail | Verdict::Refused => self.fail(reason, at.now),
        }
        let again = std::mem::take(&mut self.again) && self.status.takes_traffic();
        self.suspected = again;
        if again {
            let earliest = self.hurried.map_or(at.now, |hurried| hurried + pause);
            return self.come_back(earliest.max(at.now));
        }
        let first = was_starting && self.status != Health::Starting;
        self.come_back(at.now + self.delay(first, at))
    }

    fn succeed(&mut self, status: Health, reason: String) {
        self.streak = self.streak.saturating_add(1);
        if self.status == Health::Critical && self.streak < self.rules.rise {
            self.reason = reason;
        } else {
            self.turn(status, reason);
        }
    }

    fn fail(&mut self, reason: String, now: Duration) {
        if self.status == Health::Critical {
            self.streak = 0;
            self.reason = reason;
            return;
        }
        self.streak = self.streak.saturating_add(1);
        let starting = self.status == Health::Starting;
        let gives_up =
            self.born.saturating_add(self.rules.start_period).saturating_add(self.rules.patience());
        if self.streak >= self.rules.fall && !(starting && now < gives_up) {
            let streak = self.streak;
            let times = if streak > 1 { format!(" ({streak} times in a row)") } else { String::new() };
            self.turn(Health::Critical, format!("{reason}{times}"));
        } else if starting {
            self.reason = reason;
        }
    }

    fn turn(&mut self, status: Health, reason: String) {
        self.streak = 0;
        // While it stays well, the words of one success are as good as those of another.
        if status != self.status || !status.takes_traffic() {
            self.reason = reason;
        }
        self.status = status;
    }

    /// A report to a TTL check.
    pub(crate) fn on_report(&mut self, report: Report, note: &str, now: Duration) -> Next {
        let Some(ttl) = self.rules.ttl else { return Next::Await };
        let (status, word) = match report {
            Report::Pass => (Health::Passing, "passing"),
            Report::Warn => (Health::Warning, "warning"),
            Report::Fail => (Health::Critical, "failing"),
        };
        let colon = if note.is_empty() { "" } else { ": " };
        let reason = format!("{}reported {word}{colon}{note}", self.rules.label);
        let starts_until = self.born + self.rules.start_period;
        let mut due = now + ttl;
        if status == Health::Critical && self.status == Health::Starting && now < starts_until {
            self.reason = reason;
            due = due.max(starts_until);
        } else {
            self.turn(status, reason);
        }
        self.come_back(due)
    }

    /// Time to the next probe: ±10 % so that checks that began together drift apart, and the first regular one
    /// anywhere in the second half of the interval so that a thousand instances started at once do not stay in step.
    fn delay(&self, first: bool, at: Moment) -> Duration {
        let often = match self.status {
            Health::Starting => true,
            Health::Critical => at.now < self.hasty_until,
            _ => false,
        };
        let base = if often { self.rules.start_interval } else { self.rules.interval };
        let factor = if first { 0.5 + 0.5 * at.chance } else { 0.9 + 0.2 * at.chance };
        base.mul_f64(factor)
    }
}
