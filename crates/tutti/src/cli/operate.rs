//! What the verbs that change something share: ask, show what happens meanwhile, tell the outcome.

use std::future::Future;

use serde::Serialize;
use tutti_supervisor::Event;

use super::Context;
use super::board::{BEAT, Board, short};
use crate::control::wire::{Outcome, Overview};
use crate::control::{Client, ControlError};
use crate::exit;
use crate::term::{self, Style};

/// Posts a request, shows what happens until the answer comes, and tells the outcome.
pub(crate) fn run(
    context: &Context,
    path: &str,
    request: &impl Serialize,
    word: &str,
) -> anyhow::Result<i32> {
    context.block_on(async {
        let client = context.client()?;
        let outcome = watched(context, &client, client.post::<Outcome>(path, request)).await?;
        tell(context, &outcome, word)
    })
}

/// Shows what happens in the running Tutti while some work is done there.
pub(crate) async fn watched<T>(
    context: &Context,
    client: &Client,
    work: impl Future<Output = Result<T, ControlError>>,
) -> Result<T, ControlError> {
    let mut work = std::pin::pin!(work);
    if context.json {
        return work.await;
    }
    let Ok(mut events) = client.stream("/v1/events").await else {
        return work.await;
    };
    let mut board = Board::new(context);
    let mut beat = tokio::time::interval(BEAT);
    look(client, &mut board).await;
    let done = loop {
        tokio::select! {
            biased;
            event = events.next::<Event>() => match event {
                Some(Ok(event)) => board.event(&event),
                _ => break work.await,
            },
            done = &mut work => break done,
            _ = beat.tick(), if context.err.live => {
                look(client, &mut board).await;
                board.tick();
            }
        }
    };
    // What happened before the answer was sent may still be on its way; the stream has no end to wait for.
    while let Ok(Some(Ok(event))) = tokio::time::timeout(BEAT / 3, events.next::<Event>()).await {
        board.event(&event);
    }
    look(client, &mut board).await;
    board.finish();
    done
}

async fn look(client: &Client, board: &mut Board<'_>) {
    // A Tutti that is ending answers no more: then the last look counts.
    if let Ok(overview) = client.get::<Overview>("/v1/status").await {
        board.status(&overview.status);
    }
}

/// Tells which services are as wanted and which are not; the exit code says it too.
pub(crate) fn tell(context: &Context, outcome: &Outcome, word: &str) -> anyhow::Result<i32> {
    if context.json {
        context.print_json(outcome)?;
    } else {
        let paint = context.err.paint;
        // A terminal has the live block, which says it already.
        if !outcome.good.is_empty() && !context.err.live {
            context.say(&format!("{} {}", paint.on(Style::Good, word), outcome.good.join(", ")));
        }
        for (service, reason) in &outcome.bad {
            let reason = term::safe(&short(reason), false);
            context.say(&format!("{} {service}: {reason}", paint.on(Style::Bad, "not ready")));
        }
        // The first whose own fault it is, not that of another service.
        let own = outcome.bad.iter().find(|(_, reason)| short(reason) == **reason);
        if let Some((service, _)) = own.or(outcome.bad.iter().next()) {
            context.say(&format!("`tutti doctor` says more, `tutti logs {service}` what it printed"));
        }
    }
    Ok(if outcome.bad.is_empty() { 0 } else { exit::FAILED })
}
