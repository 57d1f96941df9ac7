//! What is seen while an operation goes on: on a terminal a live block with a line for each service and how long it
//! has taken, and above it what went wrong; in a pipe a line for each event.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tutti_supervisor::status::Rollout;
use tutti_supervisor::{Event, EventKind, ServiceState, ServiceStatus, Status};

use super::Context;
use super::events::{line_of, matters};
use super::ps::style_of;
use crate::term::{self, Live, Style, Table};

/// Time between two drawings of the block.
pub(crate) const BEAT: Duration = Duration::from_millis(100);

const SPINNER: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];

/// Shows how an operation goes on, on standard error. Nothing with `--json`.
pub(crate) struct Board<'a> {
    context: &'a Context,
    live: Live<'a>,
    rows: BTreeMap<String, Row>,
    order: Vec<String>,
    began: Instant,
    beat: usize,
    /// Whether the block is being shown.
    on: bool,
    /// Whether the outcome is known.
    finished: bool,
}

/// A service of which something is to be seen.
struct Row {
    state: ServiceState,
    busy: bool,
    reason: String,
    /// The build step that runs.
    step: Option<String>,
    began: Instant,
    took: Option<Duration>,
    /// It was not as it is now when it was seen first, or something happened to it.
    touched: bool,
}

impl<'a> Board<'a> {
    /// A board on which services appear as soon as something happens to them.
    pub(crate) fn new(context: &'a Context) -> Self {
        Self {
            context,
            live: Live::new(&context.err),
            rows: BTreeMap::new(),
            order: Vec::new(),
            began: Instant::now(),
            beat: 0,
            on: context.err.live && !context.json,
            finished: false,
        }
    }

    /// Something happened.
    pub(crate) fn event(&mut self, event: &Event) {
        if let Some(row) = self.rows.get_mut(event.service.as_str()) {
            row.touched = true;
            match &event.kind {
                EventKind::SetupStarted { step } => row.step = Some(step.clone()),
                EventKind::SetupFinished { .. } => row.step = None,
                _ => {}
            }
        }
        if self.on && !matters(&event.kind) {
            return;
        }
        if let (EventKind::Failed { code, .. }, false) = (&event.kind, self.finished) {
            // The reason is told with the outcome.
            let code = code.as_ref().map(|code| format!(" (tutti explain {code})")).unwrap_or_default();
            let line = format!("{}: failed{code}", event.service);
            return self.say(&self.context.err.paint.on(Style::Bad, line));
        }
        if let Some(line) = line_of(event, self.context.err.paint) {
            self.say(&line);
        }
    }

    /// How everything is now.
    pub(crate) fn status(&mut self, status: &Status) {
        self.order = status.services.iter().map(|service| service.name.to_string()).collect();
        for service in &status.services {
            let seen = self.rows.entry(service.name.to_string());
            seen.or_insert_with(|| Row::new(service, self.began)).update(service);
        }
    }

    /// A line on standard error, above the block.
    pub(crate) fn say(&mut self, line: &str) {
        self.live.clear();
        self.context.say(line);
        self.draw();
    }

    /// A line on standard output, above the block.
    pub(crate) fn print(&mut self, line: &str) {
        self.live.clear();
        self.context.out.line(line);
        self.draw();
    }

    /// Draws the block once more, a little later.
    pub(crate) fn tick(&mut self) {
        self.beat = self.beat.wrapping_add(1);
        self.draw();
    }

    /// Leaves the last state on the screen; from now on there are only lines.
    pub(crate) fn finish(&mut self) {
        self.draw();
        if self.on {
            self.live = Live::new(&self.context.err);
        }
        (self.on, self.finished) = (false, true);
    }

    fn draw(&mut self) {
        if !self.on {
            return;
        }
        let mut table = Table::new(&["", "SERVICE", "STATE", "TIME", "WHY"]);
        let rows = self.order.iter().filter_map(|name| Some((name, self.rows.get(name)?)));
        for (name, row) in rows.filter(|(_, row)| row.touched) {
            table.row(row.cells(name, SPINNER.get(self.beat % SPINNER.len()).copied().unwrap_or("-")));
        }
        let lines = table.lines(self.context.err.paint, self.context.err.columns().saturating_sub(1));
        self.live.draw(&lines);
    }
}

impl Row {
    fn new(service: &ServiceStatus, began: Instant) -> Self {
        Self {
            state: service.state,
            busy: is_busy(service),
            reason: String::new(),
            step: None,
            began,
            took: Some(Duration::ZERO),
            touched: is_busy(service),
        }
    }

    fn update(&mut self, service: &ServiceStatus) {
        let busy = is_busy(service);
        if busy && !self.busy {
            (self.began, self.took) = (Instant::now(), None);
        }
        self.touched |= busy || self.state != service.state;
        match (busy, self.took) {
            (true, _) => self.took = None,
            (false, None) => self.took = Some(self.began.elapsed()),
            (false, Some(_)) => {}
        }
        (self.busy, self.state) = (busy, service.state);
        self.reason = short(&service.reason);
    }

    fn cells(&self, name: &str, spin: &str) -> Vec<(String, Option<Style>)> {
        let style = style_of(self.state);
        let mark = match style {
            _ if self.busy => spin,
            Style::Good => "✔",
            Style::Bad => "✘",
            _ => "·",
        };
        let word = match self.state {
            ServiceState::Ready if self.busy => "replacing",
            state => state.as_str(),
        };
        let why = self.step.clone().unwrap_or_else(|| self.reason.clone());
        let time = self.took.unwrap_or_else(|| self.began.elapsed());
        vec![
            (mark.to_owned(), Some(if self.busy { Style::Link } else { style })),
            (name.to_owned(), Some(Style::Bold)),
            (word.to_owned(), Some(if self.busy { Style::Warn } else { style })),
            (if time.is_zero() { String::new() } else { term::duration(time) }, Some(Style::Dim)),
            (
                if self.state == ServiceState::Ready { String::new() } else { term::safe(&why, false) },
                Some(Style::Dim),
            ),
        ]
    }
}

/// Whether it is on its way to something else.
fn is_busy(service: &ServiceStatus) -> bool {
    let rolling = matches!(service.rollout, Some(Rollout::Running));
    rolling || !(service.state.is_settled() || service.state == ServiceState::Stopped)
}

/// A reason without what is told of the other service that it names: that is told there.
pub(crate) fn short(reason: &str) -> String {
    match reason.split_once(" has failed: ") {
        Some((service, _)) if !service.contains(' ') => format!("needs {service}, which has failed"),
        _ => reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::short;

    #[test]
    fn a_reason_is_told_once() {
        assert_eq!(short("db has failed: no such program; install it"), "needs db, which has failed");
        assert_eq!(short("web-1 exited with status 1"), "web-1 exited with status 1");
        assert_eq!(short("the build has failed: x"), "the build has failed: x");
    }
}
