//! Circles among the dependencies of services.

use std::collections::{HashMap, HashSet};

use tutti_core::code;

use crate::diagnostic::{Problem, Report};
use crate::source::Span;
use crate::yaml::Node;

/// Reports each circle once. Iterative: a chain may be as long as there are services.
pub(super) fn cycles(services: &Node, report: &mut Report) {
    let edges: HashMap<&str, Vec<(&str, Span)>> = services
        .entries()
        .map(|(name, entry)| {
            let dependencies = entry.node.get("depends_on").into_iter().flat_map(Node::entries);
            (name, dependencies.map(|(other, entry)| (other, entry.key)).collect())
        })
        .collect();
    let mut done: HashSet<&str> = HashSet::new();
    for (start, _) in services.entries() {
        let mut path: Vec<(&str, usize)> = vec![(start, 0)];
        let mut on_path: HashSet<&str> = HashSet::from([start]);
        if done.contains(start) {
            continue;
        }
        while let Some((name, next)) = path.last_mut() {
            let edge = edges.get(name).and_then(|edges| edges.get(*next)).copied();
            *next += 1;
            match edge {
                None => {
                    done.insert(name);
                    on_path.remove(name);
                    path.pop();
                }
                Some((other, span)) if on_path.contains(other) => {
                    let names = path.iter().map(|(name, _)| *name);
                    let circle: Vec<&str> = names.skip_while(|name| *name != other).collect();
                    let message = format!(
                        "services depend on each other in a circle: {} → {other}",
                        circle.join(" → ")
                    );
                    report.add(Problem::error(code::CYCLE, message).at(span));
                }
                Some((other, _)) if done.contains(other) || !edges.contains_key(other) => {}
                Some((other, _)) => {
                    on_path.insert(other);
                    path.push((other, 0));
                }
            }
        }
    }
}
