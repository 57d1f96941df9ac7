//! Holds a tree against its [`Shape`]: reports unknown keys and wrong types, and gives scalars their type.
//!
//! [`coerce`] works on one file as it was written, before files are merged. What is wrong is reported and becomes
//! [`Value::Bad`], so that what follows neither trips over it nor complains about it again. [`complete`] works on the
//! merged tree: keys that must be there, and values that no file filled.

use tutti_core::code;

use super::schema::{Blank, Names, Object, Shape};
use crate::diagnostic::{Problem, Report, suggest};
use crate::source::Span;
use crate::value::{bytes, duration};
use crate::yaml::{Entry, Node, Value};

/// Checks a value as it was written. `key` is what it belongs to, for messages.
pub(crate) fn coerce(node: &mut Node, shape: &Shape, key: &str, report: &mut Report) {
    // An empty value in an override file means "as before"; `complete` looks at what is left in the end.
    if matches!(node.value, Value::Null | Value::Bad) {
        return;
    }
    match shape {
        Shape::OrNull(inner) => coerce(node, inner, key, report),
        Shape::Either(shapes) => match shapes.iter().find(|shape| accepts(shape, node)) {
            Some(shape) => coerce(node, shape, key, report),
            None => wrong_type(node, shape, key, report),
        },
        _ if !accepts(shape, node) => wrong_type(node, shape, key, report),
        Shape::Object(object) => keys(node, object, report),
        Shape::Map(names, inner) => named(node, *names, inner, key, report),
        Shape::List(inner) | Shape::Set(inner) => {
            if let Value::List(list) = &mut node.value {
                list.iter_mut().for_each(|item| coerce(item, inner, key, report));
            }
            // These become mappings, in which repetitions are no longer seen.
            if matches!(key, "depends_on" | "networks" | "models") {
                repeated(node, key, report);
            }
        }
        Shape::OneOrMany | Shape::Command => items(node, &Shape::Text, key, report),
        Shape::Dict(_) => dict(node, key, report),
        _ => scalar(node, shape, key, report),
    }
}

/// Whether the kind of a value fits.
pub(crate) fn accepts(shape: &Shape, node: &Node) -> bool {
    let value = &node.value;
    match shape {
        Shape::OrNull(inner) => *value == Value::Null || accepts(inner, node),
        Shape::Either(shapes) => shapes.iter().any(|shape| accepts(shape, node)),
        Shape::Text | Shape::Checked(_) | Shape::OneOf(_) | Shape::Duration => {
            matches!(value, Value::String(_))
        }
        Shape::Scalar | Shape::Number | Shape::Bytes | Shape::Int(..) => {
            matches!(value, Value::String(_) | Value::Int(_) | Value::Float(_))
        }
        Shape::Bool => matches!(value, Value::Bool(_) | Value::String(_)),
        Shape::StrictBool => matches!(value, Value::Bool(_)),
        Shape::List(_) | Shape::Set(_) => matches!(value, Value::List(_)),
        Shape::OneOrMany | Shape::Command => matches!(value, Value::String(_) | Value::List(_)),
        Shape::Dict(_) => matches!(value, Value::Map(_) | Value::List(_)),
        Shape::Map(..) | Shape::Object(_) => matches!(value, Value::Map(_)),
    }
}

/// What a shape asks for, in a sentence.
fn wanted(shape: &Shape) -> String {
    match shape {
        Shape::OrNull(inner) => wanted(inner),
        Shape::Text | Shape::Checked(_) => "a string".to_owned(),
        Shape::OneOf(words) => words.join(", "),
        Shape::Scalar => "a string or a number".to_owned(),
        Shape::Bool | Shape::StrictBool => "true or false".to_owned(),
        Shape::Int(..) => "a whole number".to_owned(),
        Shape::Number => "a number".to_owned(),
        Shape::Bytes => "a size such as 50M".to_owned(),
        Shape::Duration => "a duration such as 30s".to_owned(),
        Shape::List(_) | Shape::Set(_) => "a list".to_owned(),
        Shape::OneOrMany | Shape::Command => "a string or a list of strings".to_owned(),
        Shape::Dict(_) => "a mapping, or a list of KEY=VALUE".to_owned(),
        Shape::Map(..) | Shape::Object(_) => "a mapping".to_owned(),
        Shape::Either(shapes) => {
            let mut parts: Vec<String> = shapes.iter().map(wanted).collect();
            parts.dedup();
            parts.join(" or ")
        }
    }
}

fn wrong_type(node: &mut Node, shape: &Shape, key: &str, report: &mut Report) {
    let message = format!("`{key}` has to be {}, and this is {}", wanted(shape), node.kind());
    let text = matches!(shape, Shape::Text | Shape::Checked(_) | Shape::OneOf(_));
    let hint = match (&node.value, shape) {
        (Value::Int(_) | Value::Float(_) | Value::Bool(_), _) if text => Some("put it into quotes"),
        (Value::Int(_), Shape::Duration) => Some("a duration needs a unit, as in `30s`"),
        (Value::String(_) | Value::Int(_), Shape::List(_) | Shape::Set(_)) => {
            Some("write it as an item: `- …` on a line of its own")
        }
        _ => None,
    };
    let problem = Problem::error(code::WRONG_TYPE, message).at(node.span).maybe_hint(hint.map(str::to_owned));
    bad(node, problem, report);
}

fn bad(node: &mut Node, problem: Problem, report: &mut Report) {
    report.add(problem);
    node.value = Value::Bad;
}

fn keys(node: &mut Node, object: &'static Object, report: &mut Report) {
    let Some(map) = node.as_map_mut() else { return };
    // What a mistyped key stands for is there, and is not complained about again.
    let mut meant: Vec<(&'static str, Span)> = Vec::new();
    map.retain(|name, entry| {
        if let Some(field) = object.field(name) {
            coerce(&mut entry.node, &field.shape, name, report);
            return true;
        }
        if name.starts_with("x-") && object.extensions {
            return true;
        }
        if report.is_full() {
            report.add(Problem::error(code::UNKNOWN_KEY, ""));
            return false;
        }
        let near = suggest::nearest(name, object.fields.iter().map(|field| field.name));
        meant.extend(near.and_then(|near| object.field(near)).map(|field| (field.name, entry.key)));
        let hint = near.map(|near| format!("did you mean `{near}`?")).or_else(|| misplaced(name, object));
        let message = format!("`{name}` is not a key of {}", object.what);
        report.add(Problem::error(code::UNKNOWN_KEY, message).at(entry.key).maybe_hint(hint));
        false
    });
    for (name, span) in meant {
        let node = Node::new(span, Value::Bad);
        map.entry(name.to_owned()).or_insert(Entry { key: span, node });
    }
}

/// Keys that exist elsewhere.
fn misplaced(name: &str, object: &Object) -> Option<String> {
    let has = |key: &str| object.field(key).is_some();
    let place = match name {
        "src" if has("source") => "the key is `source`",
        "dst" | "destination" if has("target") => "the key is `target`",
        "run" | "setup" | "health" | "uses" | "routes" | "gateway" => "it belongs into tutti.yaml",
        "replicas" | "resources" | "restart_policy" | "placement" => "it belongs under `deploy`",
        "interval" | "retries" | "start_period" | "timeout" | "test" => "it belongs under `healthcheck`",
        "context" | "dockerfile" | "args" | "target" => "it belongs under `build`",
        "image" | "ports" | "environment" | "command" => "it belongs under a service",
        "network" => "the key is `networks`",
        "env" => "the key is `environment`",
        _ => return None,
    };
    Some(place.to_owned())
}

fn named(node: &mut Node, names: Names, inner: &Shape, key: &str, report: &mut Report) {
    let Some(map) = node.as_map_mut() else { return };
    let what = key.to_owned();
    map.retain(|name, entry| {
        if names == Names::Resource && !resource_name(name) {
            let message = format!("`{name}` is not a name that `{what}` may use");
            let hint = "names have letters, digits, `.`, `_` and `-`";
            report.add(Problem::error(code::BAD_VALUE, message).at(entry.key).hint(hint));
            return false;
        }
        coerce(&mut entry.node, inner, name, report);
        true
    });
}

/// The Compose Specification's pattern `^[a-zA-Z0-9._-]+$`.
fn resource_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

/// Checks the items of a list; a single string is left as it is.
fn items(node: &mut Node, shape: &Shape, key: &str, report: &mut Report) {
    if let Value::List(list) = &mut node.value {
        list.iter_mut().for_each(|item| {
            if item.is_null() {
                // In a list of words nothing can stand for nothing.
                wrong_type(item, shape, key, report);
            } else {
                coerce(item, shape, key, report);
            }
        });
    }
}

fn dict(node: &mut Node, key: &str, report: &mut Report) {
    if let Some(map) = node.as_map_mut() {
        for (name, entry) in map.iter_mut() {
            if matches!(entry.node.value, Value::List(_) | Value::Map(_)) {
                let message = format!(
                    "`{name}` has to be a string, a number, true or false, and this is {}",
                    entry.node.kind()
                );
                let problem = Problem::error(code::WRONG_TYPE, message).at(entry.node.span);
                bad(&mut entry.node, problem, report);
            }
        }
        return;
    }
    if let Value::List(list) = &mut node.value {
        for item in list.iter_mut() {
            let hint =
                matches!(item.value, Value::Map(_)).then(|| "write KEY=VALUE, or drop the dashes".to_owned());
            if item.as_str().is_none() && item.value != Value::Bad {
                let message = format!("an item of `{key}` has to be KEY=VALUE, and this is {}", item.kind());
                let problem = Problem::error(code::WRONG_TYPE, message).at(item.span).maybe_hint(hint);
                bad(item, problem, report);
            } else if item.as_str().is_some_and(ends_in_space) && key == "environment" {
                let problem =
                    Problem::error(code::BAD_VALUE, "the variable's name ends with a space").at(item.span);
                bad(item, problem, report);
            }
        }
    }
}

fn ends_in_space(item: &str) -> bool {
    item.split('=').next().is_some_and(|name| name.ends_with(char::is_whitespace))
}

fn scalar(node: &mut Node, shape: &Shape, key: &str, report: &mut Report) {
    let checked = match (shape, &node.value) {
        (Shape::Checked(check), Value::String(text)) => check(text).map(|()| None),
        (Shape::OneOf(words), Value::String(text)) => one_of(words, text),
        (Shape::Scalar, Value::Int(_) | Value::Float(_)) => Ok(node.scalar().map(Value::String)),
        (Shape::Bool, Value::String(text)) => truth(text, node.span, report),
        (Shape::Int(low, high), value) => whole(value, *low, *high),
        (Shape::Number, Value::String(text)) => number(text),
        // "Unlimited", as it is printed.
        (Shape::Bytes, Value::String(text)) if text == "-1" => Ok(Some(Value::Int(-1))),
        (Shape::Bytes, Value::String(text)) => bytes::parse(text).map(|size| Some(Value::Int(size.into()))),
        (Shape::Bytes, Value::Float(size)) => Ok(Some(Value::Int(*size as i128))),
        (Shape::Duration, Value::String(text)) => duration::parse(text).map(|_| None),
        _ => Ok(None),
    };
    match checked {
        Ok(None) => {}
        Ok(Some(value)) => node.value = value,
        Err(why) => {
            let hint = match shape {
                Shape::Duration => Some("for example `30s`, `1m30s` or `500ms`".to_owned()),
                Shape::Bytes => Some("for example `512M` or `1.5g`".to_owned()),
                Shape::OneOf(words) => suggest::nearest(node.as_str().unwrap_or(""), words.iter().copied())
                    .map(|near| format!("did you mean `{near}`?")),
                _ => None,
            };
            let problem =
                Problem::error(code::BAD_VALUE, format!("`{key}`: {why}")).at(node.span).maybe_hint(hint);
            bad(node, problem, report);
        }
    }
}

type Checked = Result<Option<Value>, String>;

fn one_of(words: &[&str], text: &str) -> Checked {
    if words.contains(&text) {
        return Ok(None);
    }
    let words: Vec<_> =
        words.iter().filter(|word| !word.is_empty()).map(|word| format!("`{word}`")).collect();
    Err(format!("`{text}` is none of {}", words.join(", ")))
}

fn truth(text: &str, span: Span, report: &mut Report) -> Checked {
    let truth = match text.to_ascii_lowercase().as_str() {
        "true" => true,
        "false" => false,
        "y" | "yes" | "on" | "n" | "no" | "off" => {
            let truth = matches!(text.to_ascii_lowercase().as_str(), "y" | "yes" | "on");
            let message = format!("`{text}` is a string in YAML 1.2; as a boolean it is written `{truth}`");
            report.add(Problem::warning(code::DEPRECATED_KEY, message).at(span));
            truth
        }
        _ => return Err(format!("`{text}` is neither true nor false")),
    };
    Ok(Some(Value::Bool(truth)))
}

fn whole(value: &Value, low: i64, high: i64) -> Checked {
    let number = match value {
        Value::Int(number) => Some(*number),
        Value::Float(number) if number.fract() == 0.0 => Some(*number as i128),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    let shown = Node::new(Span::default(), value.clone()).scalar().unwrap_or_default();
    let number = number.ok_or_else(|| format!("`{shown}` is not a whole number"))?;
    if number < i128::from(low) || number > i128::from(high) {
        let bounds = match (low, high) {
            (low, i64::MAX) => format!("the smallest is {low}"),
            (low, high) => format!("it has to lie between {low} and {high}"),
        };
        return Err(format!("{number} is out of bounds; {bounds}"));
    }
    Ok(Some(Value::Int(number)))
}

fn number(text: &str) -> Checked {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(Some(Value::Float(number))),
        _ => Err(format!("`{text}` is not a number")),
    }
}

/// Checks the merged tree: keys that must be there, values that nobody filled, and repetitions in sets.
pub(crate) fn complete(node: &Node, shape: &Shape, key: &str, report: &mut Report) {
    match shape {
        Shape::OrNull(_) if node.is_null() => {}
        Shape::OrNull(inner) => complete(node, inner, key, report),
        Shape::Command => {}
        Shape::Either(shapes) if !node.is_null() => {
            if let Some(shape) = shapes.iter().find(|shape| accepts(shape, node)) {
                complete(node, shape, key, report);
            }
        }
        _ if node.is_null() => {
            let message = format!("`{key}` is empty; it has to be {}", wanted(shape));
            report.error(code::WRONG_TYPE, node.span, message);
        }
        Shape::Object(object) => {
            for required in object.required.iter().filter(|name| node.get(name).is_none()) {
                if matches!(node.value, Value::Map(_)) {
                    let message = format!("`{required}` is missing in {}", object.what);
                    report.error(code::MISSING_KEY, node.span, message);
                }
            }
            for (name, entry) in node.entries() {
                if let Some(field) = object.field(name) {
                    complete(&entry.node, &field.shape, name, report);
                }
            }
        }
        Shape::Map(_, inner) => {
            for (name, entry) in node.entries() {
                complete(&entry.node, inner, name, report);
            }
        }
        Shape::List(inner) => node.items().iter().for_each(|item| complete(item, inner, key, report)),
        Shape::Set(inner) => {
            node.items().iter().for_each(|item| complete(item, inner, key, report));
            repeated(node, key, report);
        }
        Shape::Dict(Blank::Null | Blank::Empty) => repeated(node, key, report),
        _ => {}
    }
}

/// JSON Schema's `uniqueItems`, for the lists that Compose asks it of.
fn repeated(node: &Node, key: &str, report: &mut Report) {
    let mut seen = std::collections::HashMap::new();
    for item in node.items() {
        let Some(text) = item.scalar() else { continue };
        if let Some(first) = seen.insert(text.clone(), item.span) {
            report.add(
                Problem::error(code::CONFLICT, format!("`{text}` stands twice in `{key}`"))
                    .at(item.span)
                    .also(first, "it is here first"),
            );
        }
    }
}
