//! What the verbs that change something share: ask, show what happens meanwhile, tell the outcome.

use serde::Serialize;
use tokio::task::JoinHandle;
use tutti_supervisor::{Event, EventKind};

use super::Context;
use crate::control::Client;
use crate::control::wire::Outcome;
use crate::exit;
use crate::term::{self, Style};

/// Posts a request, shows events until the answer comes, and tells the outcome.
pub(crate) fn run(
    context: &Context,
    path: &str,
    request: &impl Serialize,
    word: &str,
) -> anyhow::Result<i32> {
    context.block_on(async {
        let client = context.client()?;
        let progress = Progress::watch(context, &client).await;
        let outcome = client.post::<Outcome>(path, request).await;
        progress.end().await;
        tell(context, &outcome?, word)
    })
}

/// Tells which services are as wanted and which are not; the exit code says it too.
pub(crate) fn tell(context: &Context, outcome: &Outcome, word: &str) -> anyhow::Result<i32> {
    if context.json {
        context.print_json(outcome)?;
    } else {
        let paint = context.err.paint;
        if !outcome.good.is_empty() {
            context.say(&format!("{} {}", paint.on(Style::Good, word), outcome.good.join(", ")));
        }
        for (service, reason) in &outcome.bad {
            context.say(&format!(
                "{} {service}: {}",
                paint.on(Style::Bad, "not ready"),
                term::safe(reason, false)
            ));
        }
        if let Some(service) = outcome.bad.keys().next() {
            context.say(&format!(
                "look at it with `tutti logs {service}`, `tutti ps --why {service}` or `tutti doctor`"
            ));
        }
    }
    Ok(if outcome.bad.is_empty() { 0 } else { exit::FAILED })
}

/// Shows events on standard error while an operation goes on.
pub(crate) struct Progress {
    task: Option<JoinHandle<()>>,
}

impl Progress {
    /// Begins to watch; nothing is shown with `--json`, or if the events cannot be read.
    pub(crate) async fn watch(context: &Context, client: &Client) -> Self {
        if context.json {
            return Self { task: None };
        }
        let Ok(mut events) = client.stream("/v1/events").await else {
            return Self { task: None };
        };
        let paint = context.err.paint;
        let color = context.global.color;
        let task = tokio::spawn(async move {
            let err = term::Out::stderr(color);
            while let Some(Ok(event)) = events.next::<Event>().await {
                if let Some(line) = line_of(&event, paint) {
                    err.line(&line);
                }
            }
        });
        Self { task: Some(task) }
    }

    /// Ends it, when what was told so far is shown.
    pub(crate) async fn end(self) {
        let Some(task) = self.task else { return };
        // The last events may still be on their way; the stream stays open, so there is no end to wait for.
        tokio::time::sleep(std::time::Duration::from_millis(30)).await;
        task.abort();
        let _ = task.await;
    }
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
        EventKind::Waiting { reason } => (Style::Dim, format!("{service}: {reason}")),
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
        EventKind::Hint { text } => (Style::Dim, format!("{service}: {text}")),
        EventKind::Notice { text } => (Style::Warn, format!("{service}: {text}")),
        EventKind::Starting { .. }
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
