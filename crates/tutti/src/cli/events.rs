//! Events in words.

use tutti_supervisor::{Event, EventKind};

use super::board::short;
use crate::term::{self, Style};

/// Whether an event is worth a line beside a live block, which shows the rest.
pub(crate) fn matters(kind: &EventKind) -> bool {
    if let EventKind::Exited { exit, .. } = kind {
        return exit.status != Some(0);
    }
    matches!(
        kind,
        EventKind::SetupFinished { error: Some(_), .. }
            | EventKind::Unhealthy { .. }
            | EventKind::CrashLoop { .. }
            | EventKind::Killing { .. }
            | EventKind::Failed { .. }
            | EventKind::RolloutAborted { .. }
            | EventKind::Notice { .. }
    )
}

/// An event as a line; `None` for those that only programs care for.
pub(crate) fn line_of(event: &Event, paint: term::Paint) -> Option<String> {
    let service = event.service.as_str();
    let (style, text) = match &event.kind {
        EventKind::SetupStarted { step } => (Style::Dim, format!("{service}: {step} …")),
        EventKind::SetupFinished { step, cached: true, .. } => {
            (Style::Dim, format!("{service}: {step} (nothing changed)"))
        }
        EventKind::SetupFinished { step, took_ms, error: None, .. } => {
            (Style::Good, format!("{service}: {step} took {}", millis(*took_ms)))
        }
        EventKind::SetupFinished { step, error: Some(error), .. } => {
            (Style::Bad, format!("{service}: {step} failed: {error}"))
        }
        EventKind::Waiting { reason } => (Style::Dim, format!("{service}: {}", short(reason))),
        EventKind::Ready { instance, took_ms } => {
            (Style::Good, format!("{instance}: ready after {}", millis(*took_ms)))
        }
        EventKind::Unhealthy { instance, reason } => (Style::Bad, format!("{instance}: unhealthy: {reason}")),
        EventKind::Exited { instance, exit } => (Style::Warn, format!("{instance}: {}", exit.reason)),
        EventKind::Restarting { instance, pause_ms, .. } => {
            (Style::Warn, format!("{instance}: starts again in {}", millis(*pause_ms)))
        }
        EventKind::CrashLoop { instance, reason } => {
            (Style::Bad, format!("{instance}: exits again and again: {reason}"))
        }
        EventKind::Draining { instance } => (Style::Dim, format!("{instance}: no new requests")),
        EventKind::Stopping { instance, cut_off: 0 } => (Style::Dim, format!("{instance}: stopping")),
        EventKind::Stopping { instance, cut_off } => {
            (Style::Warn, format!("{instance}: stopping with {cut_off} requests still under way"))
        }
        EventKind::Killing { instance } => {
            (Style::Warn, format!("{instance}: did not stop in time and is killed"))
        }
        EventKind::Stopped { instance } => (Style::Dim, format!("{instance}: stopped")),
        EventKind::Completed => (Style::Good, format!("{service}: completed")),
        EventKind::Failed { reason, code } => {
            let code = code.as_ref().map(|code| format!(" (tutti explain {code})")).unwrap_or_default();
            (Style::Bad, format!("{service}: {reason}{code}"))
        }
        EventKind::RolloutAborted { reason } => {
            (Style::Bad, format!("{service}: the restart was given up, the old instances stay: {reason}"))
        }
        // One line for each service; `tutti config print --plan` has the rest.
        EventKind::Hint { text } if text.starts_with("runs ") => (Style::Dim, format!("{service}: {text}")),
        EventKind::Notice { text } => (Style::Warn, format!("{service}: {text}")),
        EventKind::Hint { .. }
        | EventKind::Starting { .. }
        | EventKind::Started { .. }
        | EventKind::RolloutStarted
        | EventKind::RolloutFinished
        | EventKind::Rewritten { .. } => return None,
    };
    Some(paint.on(style, term::safe(&text, false)))
}

fn millis(ms: u64) -> String {
    term::duration(std::time::Duration::from_millis(ms))
}
