//! Strictness: every way that we know of to make two readers disagree about where a message ends, and what becomes of it
//! here. The cases are data: `requests.txt`, `responses.txt`.

mod cases;
pub mod differential;
mod hostile;
mod pingora;
mod wire;

use std::time::Duration;

use cases::{Asked, Case, Expect};
use wire::{Got, Recorder, Seen};

use crate::harness::*;

const REQUESTS: &str = include_str!("requests.txt");
const RESPONSES: &str = include_str!("responses.txt");

/// Longer than any answer takes; a case that needs it has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is wrong with the outcome, if something is.
fn judge(case: &Case, got: &Got, seen: &[Seen]) -> Result<(), String> {
    if let Some(odd) = seen.iter().find_map(|seen| seen.odd.as_ref()) {
        return Err(format!("the service got what no proxy may send: {odd}"));
    }
    if !got.closed {
        return Err("the connection stays open".to_owned());
    }
    let probe = ("GET".to_owned(), 0, "/probe".to_owned());
    let plain = |asked: &[Asked]| -> Vec<_> {
        asked.iter().map(|(method, length)| (method.clone(), *length, String::new())).collect()
    };
    let served = |asked: usize| vec![200; asked];
    let (requests, statuses) = match &case.expect {
        Expect::Accept(asked) => ([plain(asked), vec![probe]].concat(), served(asked.len() + 1)),
        Expect::Close(asked) => (plain(asked), served(asked.len())),
        Expect::Reject(status, asked) => (plain(asked), [served(asked.len()), vec![*status]].concat()),
        Expect::Answer(status) => (vec![probe], vec![*status, 200]),
        Expect::Starve if got.statuses.iter().any(|status| *status < 400) => {
            return Err("half a request was answered".to_owned());
        }
        Expect::Starve => (Vec::new(), got.statuses.clone()),
        _ => return Err("this is no request".to_owned()),
    };
    let reached: Vec<_> = seen
        .iter()
        .map(|seen| {
            let target = if seen.target == "/probe" { "/probe" } else { "" };
            (seen.method.clone(), seen.length, target.to_owned())
        })
        .collect();
    if reached != requests {
        return Err(format!("the service saw {reached:?}, not {requests:?}"));
    }
    if got.statuses != statuses {
        return Err(format!("the client got {:?}, not {statuses:?}", got.statuses));
    }
    Ok(())
}

async fn run_requests(step: usize, longest: usize) {
    let recorder = Recorder::start().unwrap();
    let tutti = Tutti::start(options(), vec![to("a")], vec![passing("a", 1, recorder.address)]).await;
    let edge = tutti.edge;
    let cases = cases::read(REQUESTS).unwrap();
    assert!(cases.len() >= 400, "{} cases", cases.len());
    let failed = tokio::task::spawn_blocking(move || {
        let mut failed = Vec::new();
        for case in cases.iter().filter(|case| case.bytes.len() <= longest) {
            let probe = case.expect != Expect::Starve;
            let got = wire::exchange(edge, case, probe, step, PATIENCE).unwrap();
            if let Err(problem) = judge(case, &got, &recorder.take()) {
                failed.push(format!("{}: {}: {problem}", case.family, case.name));
            }
        }
        failed
    });
    let failed = failed.await.unwrap();
    assert!(failed.is_empty(), "{} cases:\n{}", failed.len(), failed.join("\n"));
    drop(tutti);
}

#[tokio::test]
async fn every_request_has_one_reading() {
    run_requests(usize::MAX, usize::MAX).await;
}

#[tokio::test]
async fn every_request_has_the_same_reading_byte_by_byte() {
    run_requests(1, 700).await;
}

#[tokio::test]
async fn every_response_has_one_reading() {
    let cases = cases::read(RESPONSES).unwrap();
    assert!(cases.len() >= 70, "{} cases", cases.len());
    let mut failed = Vec::new();
    for case in cases {
        if let Err(problem) = hostile::run(case.clone()).await {
            failed.push(format!("{}: {}: {problem}", case.family, case.name));
        }
    }
    assert!(failed.is_empty(), "{} cases:\n{}", failed.len(), failed.join("\n"));
}
