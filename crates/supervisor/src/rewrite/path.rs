//! Recognises paths below a volume's target: in ports mode there is no mount, so they become the volume's folder.

use std::path::Path;

use super::{Changed, Targets};

/// Replaces every path that is a mount's target or lies below it; the longest target wins.
pub(super) fn paths(value: &str, targets: &Targets) -> Option<Changed> {
    let mut mounts: Vec<_> = targets
        .mounts
        .iter()
        .map(|(target, source)| (target.trim_end_matches('/'), source))
        .filter(|(target, source)| {
            target.len() > 1 && target.starts_with('/') && **source != Path::new(target)
        })
        .collect();
    mounts.sort_by_key(|(target, _)| std::cmp::Reverse(target.len()));
    let mut out = String::with_capacity(value.len());
    let mut reasons = Vec::new();
    let mut at = 0;
    while let Some(rest) = value.get(at..).filter(|rest| !rest.is_empty()) {
        let before = value.get(..at).unwrap_or_default();
        let begins = begins_path(before);
        // A folder of this machine may lie below a target's name, such as `/tmp`. What is in it is meant as it stands.
        let ours = targets
            .ours
            .iter()
            .filter_map(|folder| folder.to_str())
            .find(|ours| begins && is_target(rest, ours));
        let hit = mounts.iter().find(|(target, _)| begins && ours.is_none() && is_target(rest, target));
        let step = match hit {
            None if ours.is_some() => {
                let length = ours.map_or(1, str::len);
                out.push_str(rest.get(..length).unwrap_or_default());
                length
            }
            Some((target, source)) => {
                out.push_str(&source.to_string_lossy());
                reasons.push(format!("{target} is a volume, which is kept there"));
                target.len()
            }
            None => {
                let step = rest.chars().next().map_or(1, char::len_utf8);
                out.push_str(rest.get(..step).unwrap_or_default());
                step
            }
        };
        at += step;
    }
    (!reasons.is_empty()).then_some(Changed { value: out, reasons })
}

/// Whether the text goes on with the target as whole path elements.
fn is_target(rest: &str, target: &str) -> bool {
    rest.strip_prefix(target)
        .is_some_and(|after| after.chars().next().is_none_or(|c| "/:,;?&\"' )]}>|\n\t".contains(c)))
}

/// Whether an absolute path may begin after this text. `//x` after `scheme:` is a host, `///x` is a path.
fn begins_path(before: &str) -> bool {
    let text = before.trim_end_matches('/');
    match before.len() - text.len() {
        0 => before.chars().next_back().is_none_or(|c| "=:,;\"' ([{<|\n\t".contains(c)),
        2 | 3 => text.ends_with(':'),
        _ => false,
    }
}
