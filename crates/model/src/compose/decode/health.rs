//! `healthcheck`.

use std::time::Duration;

use crate::app::{Command, Healthcheck, Test};
use crate::yaml::Node;

/// Docker's defaults.
const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const RETRIES: u32 = 3;

/// `None`: nothing is said, or only how to run the image's own check, which we do not have.
pub(super) fn healthcheck(node: &Node) -> Option<Healthcheck> {
    Some(Healthcheck {
        test: test(node)?,
        interval: super::length(node, "interval").filter(|length| !length.is_zero()).unwrap_or(INTERVAL),
        timeout: super::length(node, "timeout").filter(|length| !length.is_zero()).unwrap_or(TIMEOUT),
        retries: node
            .int("retries")
            .and_then(|n| u32::try_from(n).ok())
            .filter(|n| *n > 0)
            .unwrap_or(RETRIES),
        start_period: super::length(node, "start_period").unwrap_or_default(),
        start_interval: super::length(node, "start_interval"),
    })
}

fn test(node: &Node) -> Option<Test> {
    if node.bool("disable") == Some(true) {
        return Some(Test::None);
    }
    let words: Vec<String> = node.get("test")?.items().iter().filter_map(Node::scalar).collect();
    let (kind, rest) = words.split_first()?;
    match (kind.as_str(), rest) {
        ("NONE", _) => Some(Test::None),
        ("CMD-SHELL", [line, ..]) => Some(Test::Command(Command::Shell(line.clone()))),
        ("CMD", [_, ..]) => Some(Test::Command(Command::Args(rest.to_vec()))),
        _ => None,
    }
}
