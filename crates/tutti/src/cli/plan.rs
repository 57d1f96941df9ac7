//! What would change, or has, as lines.

use crate::control::wire::{Change, Plan};
use crate::term::{Paint, Style, safe};

/// A line for each thing that differs, and for each of its fields.
pub(super) fn lines(plan: &Plan, paint: Paint) -> Vec<String> {
    let mut lines = Vec::new();
    if !plan.services.is_empty() {
        lines.push(paint.on(Style::Bold, "services"));
    }
    for one in &plan.services {
        let why = if one.why.is_empty() { String::new() } else { format!(": {}", one.why.join(", ")) };
        let mark = match one.action.as_str() {
            "start" => paint.on(Style::Good, "+"),
            "stop" => paint.on(Style::Bad, "-"),
            _ => paint.on(Style::Warn, "~"),
        };
        lines.push(format!("  {mark} {}  {}{}", safe(&one.service, false), one.action, safe(&why, false)));
    }
    let parts = [
        ("listeners", &plan.listeners),
        ("routes", &plan.routes),
        ("policies of services", &plan.policies),
        ("certificates", &plan.certificates),
    ];
    for (title, changes) in parts {
        if !changes.is_empty() {
            lines.push(paint.on(Style::Bold, title));
        }
        changes.iter().for_each(|change| one(change, paint, &mut lines));
    }
    lines
}

fn one(change: &Change, paint: Paint, lines: &mut Vec<String>) {
    let mark = match change.action.as_str() {
        "added" => paint.on(Style::Good, "+"),
        "removed" => paint.on(Style::Bad, "-"),
        _ => paint.on(Style::Warn, "~"),
    };
    lines.push(format!("  {mark} {}", safe(&change.name, false)));
    for field in &change.fields {
        let text = format!("{}: {} \u{2192} {}", field.field, field.from, field.to);
        lines.push(format!("      {}", safe(&text, false)));
    }
}
