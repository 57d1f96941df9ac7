//! Fills in the variables of every value of a tree.

use std::collections::BTreeSet;

use tutti_core::code;
use tutti_core::limits::{MODEL_TEXT_BYTES, MODEL_VARIABLE_DEPTH};

use super::environment::Environment;
use crate::budget::{self, Budget};
use crate::diagnostic::{Problem, Report};
use crate::interpolate::{Fault, FaultKind, interpolate};
use crate::source::Span;
use crate::yaml::{Node, Value};

/// Most lines of a scalar that are searched for a faulty variable.
const SCALAR_LINES: u32 = 400;

/// Fills in variables. Keys are left as they are.
pub(crate) fn expand(
    node: &mut Node,
    env: &Environment,
    warned: &mut BTreeSet<String>,
    budget: &mut Budget,
    report: &mut Report,
) {
    let span = node.span;
    match &mut node.value {
        Value::String(text) if text.contains('$') => {
            let mut unset = Vec::new();
            let filled = interpolate(
                text,
                &|name| env.get(name).map(str::to_owned),
                &mut |name| unset.push(name.to_owned()),
                MODEL_TEXT_BYTES,
            );
            for name in unset {
                if warned.insert(name.clone()) {
                    warn(&name, span, report);
                }
            }
            match filled {
                Ok(filled) => match budget.take(0, filled.len()) {
                    Ok(()) => *text = filled,
                    Err(_) => {
                        report.error(code::MODEL_LIMIT, span, budget::message());
                        node.value = Value::Bad;
                    }
                },
                Err(fault) => {
                    let problem = explain(&fault, span, env, report);
                    report.add(problem);
                    node.value = Value::Bad;
                }
            }
        }
        Value::List(list) => list.iter_mut().for_each(|item| expand(item, env, warned, budget, report)),
        Value::Map(map) => {
            map.values_mut().for_each(|entry| expand(&mut entry.node, env, warned, budget, report));
        }
        _ => {}
    }
}

fn warn(name: &str, span: Span, report: &mut Report) {
    let sources = &report.sources;
    let place = sources
        .locate(span, &format!("${{{name}"), 0, SCALAR_LINES)
        .or_else(|| sources.locate(span, &format!("${name}"), 0, SCALAR_LINES))
        .unwrap_or(span);
    report.add(
        Problem::warning(
            code::UNSET_VARIABLE,
            format!("the variable `{name}` is not set; an empty text takes its place"),
        )
        .at(place)
        .hint(format!("set it in the environment or in .env, or write `${{{name}:-default}}`")),
    );
}

fn explain(fault: &Fault, span: Span, env: &Environment, report: &Report) -> Problem {
    let place = report.sources.locate(span, &fault.piece, 0, SCALAR_LINES).unwrap_or(span);
    let message = match &fault.kind {
        FaultKind::Open => format!("`{}` has no closing brace", fault.piece),
        FaultKind::Form => format!("`{}` is not a variable", fault.piece),
        FaultKind::Required { name, message } if message.is_empty() => {
            format!("the variable `{name}` has to be set")
        }
        FaultKind::Required { name, message } => format!("the variable `{name}` has to be set: {message}"),
        FaultKind::Deep => format!("variables are nested deeper than {MODEL_VARIABLE_DEPTH} levels"),
        FaultKind::Large => budget::message(),
    };
    let hint = match &fault.kind {
        FaultKind::Open | FaultKind::Form => Some("write `$$` where a dollar sign is meant".to_owned()),
        FaultKind::Required { name, .. } => Some(match env.similar(name) {
            Some(near) => format!("`{near}` is set; was that meant?"),
            None => format!("set `{name}` in the environment or in .env"),
        }),
        _ => None,
    };
    let code = match fault.kind {
        FaultKind::Deep | FaultKind::Large => code::MODEL_LIMIT,
        _ => code::BAD_VARIABLE,
    };
    Problem::error(code, message).at(place).maybe_hint(hint)
}
