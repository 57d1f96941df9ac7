//! The normalised model as JSON, in the shape of `docker compose config --format json`.
//!
//! It is printed from the same table that checks the files ([`crate::compose::schema`]), and it can be read again as a
//! compose file: every `$` is doubled, as Compose does.

use serde_json::{Map as JsonMap, Number, Value as Json};

use crate::compose::check::accepts;
use crate::compose::schema::top::{CONFIG, NETWORK, SECRET, VOLUME};
use crate::compose::schema::values::{BLKIO_RATE, BLKIO_WEIGHT};
use crate::compose::schema::{Blank, Field, Object, Print, Shape, service::SERVICE};
use crate::value::duration;
use crate::yaml::{Node, Value};

/// Prints a normalised tree.
pub(crate) fn print(root: &Node, project: &str) -> Json {
    let mut out = JsonMap::new();
    out.insert("name".to_owned(), project.into());
    let mut services = JsonMap::new();
    for (name, entry) in root.get("services").into_iter().flat_map(Node::entries) {
        services.insert(name.to_owned(), object(&SERVICE, &entry.node));
    }
    out.insert("services".to_owned(), Json::Object(services));
    for (section, shape) in
        [("networks", &NETWORK), ("volumes", &VOLUME), ("secrets", &SECRET), ("configs", &CONFIG)]
    {
        let mut entries = JsonMap::new();
        for (name, entry) in root.get(section).into_iter().flat_map(Node::entries) {
            if is_used(root, section, name) {
                entries.insert(name.to_owned(), object(shape, &entry.node));
            }
        }
        if !entries.is_empty() {
            out.insert(section.to_owned(), Json::Object(entries));
        }
    }
    for (name, entry) in root.entries().filter(|(name, _)| name.starts_with("x-")) {
        out.insert(name.to_owned(), any(&entry.node));
    }
    escape(Json::Object(out))
}

/// Resources that no service uses are left out, as Compose does.
fn is_used(root: &Node, section: &str, name: &str) -> bool {
    let source = |list: Option<&Node>| {
        list.map(Node::items).unwrap_or_default().iter().any(|item| item.str("source") == Some(name))
    };
    root.get("services").into_iter().flat_map(Node::entries).any(|(_, entry)| {
        let service = &entry.node;
        match section {
            "networks" => service.get("networks").is_some_and(|networks| networks.get(name).is_some()),
            "secrets" => {
                source(service.get("secrets"))
                    || source(service.get("build").and_then(|build| build.get("secrets")))
            }
            "volumes" => service
                .get("volumes")
                .map(Node::items)
                .unwrap_or_default()
                .iter()
                .any(|item| item.str("type") == Some("volume") && item.str("source") == Some(name)),
            _ => source(service.get(section)),
        }
    })
}

fn object(object: &Object, node: &Node) -> Json {
    let mut out = JsonMap::new();
    for field in object.fields {
        if field.print == Print::Never {
            continue;
        }
        let name = printed_name(object, field.name);
        match node.get(field.name).filter(|node| !node.is_null()) {
            Some(node) => {
                let value = special(field, node).unwrap_or_else(|| shaped(&field.shape, node));
                if field.print != Print::Filled || is_filled(&field.shape, node, &value) {
                    out.insert(name, value);
                }
            }
            None if field.print == Print::Always => {
                out.insert(name, blank(&field.shape));
            }
            None => {}
        }
    }
    Json::Object(out)
}

/// Compose prints the fields of these two as its program names them.
fn printed_name(object: &Object, name: &str) -> String {
    if !std::ptr::eq(object, &raw const BLKIO_RATE) && !std::ptr::eq(object, &raw const BLKIO_WEIGHT) {
        return name.to_owned();
    }
    let mut chars = name.chars();
    chars.next().map_or(String::new(), |first| first.to_uppercase().chain(chars).collect())
}

/// What stands for a key that was not given.
fn blank(shape: &Shape) -> Json {
    match shape {
        Shape::Object(inner) => object(inner, &Node::new(Default::default(), Value::Null)),
        Shape::StrictBool | Shape::Bool => Json::Bool(false),
        Shape::Text | Shape::Checked(_) => Json::String(String::new()),
        Shape::Int(..) => Json::from(0),
        _ => Json::Null,
    }
}

/// Values that are printed in a notation of their own.
fn special(field: &Field, node: &Node) -> Option<Json> {
    match (field.name, &node.value) {
        // Of a secret or config: an octal number.
        ("mode", Value::String(text)) => {
            let number = i64::from_str_radix(text, 8).ok()?;
            Some(format!("0{number:o}").into())
        }
        ("mode", Value::Int(number)) if matches!(field.shape, Shape::Either(_)) => {
            Some(format!("0{number:o}").into())
        }
        ("count", Value::String(text)) if text.eq_ignore_ascii_case("all") => Some((-1).into()),
        ("count", Value::String(text)) => text.parse::<i64>().ok().map(Json::from),
        ("ssh", Value::Map(map)) => {
            let pair = |(id, path): (&String, &crate::yaml::Entry)| match path.node.as_str() {
                Some(path) => format!("{id}: {path}"),
                None => id.clone(),
            };
            Some(map.iter().map(pair).collect())
        }
        _ => None,
    }
}

fn is_filled(shape: &Shape, node: &Node, value: &Json) -> bool {
    if matches!(shape, Shape::Duration) {
        return duration::parse(node.as_str().unwrap_or("")).is_ok_and(|duration| !duration.is_zero());
    }
    match value {
        Json::Null | Json::Bool(false) => false,
        Json::Number(number) => number.as_f64() != Some(0.0),
        Json::String(text) if matches!(shape, Shape::Bytes) => text != "0",
        Json::String(text) => !text.is_empty(),
        Json::Array(list) => !list.is_empty(),
        Json::Object(map) => !map.is_empty() || is_object(shape, node),
        Json::Bool(true) => true,
    }
}

fn is_object(shape: &Shape, node: &Node) -> bool {
    match shape {
        Shape::Object(_) => true,
        Shape::OrNull(inner) => is_object(inner, node),
        Shape::Either(shapes) => {
            shapes.iter().find(|shape| accepts(shape, node)).is_some_and(|shape| is_object(shape, node))
        }
        _ => false,
    }
}

fn shaped(shape: &Shape, node: &Node) -> Json {
    match (shape, &node.value) {
        (Shape::OrNull(inner), _) => shaped(inner, node),
        (Shape::Either(shapes), _) => match shapes.iter().find(|shape| accepts(shape, node)) {
            Some(shape) => shaped(shape, node),
            None => any(node),
        },
        (Shape::Object(inner), Value::Map(_)) => object(inner, node),
        (Shape::Map(_, inner), Value::Map(map)) => {
            // Options without a value are printed as empty texts, resources without one as null.
            let options = matches!(inner, Shape::OrNull(Shape::Scalar));
            let value = |node: &Node| if options && node.is_null() { "".into() } else { shaped(inner, node) };
            map.iter().map(|(name, entry)| (name.clone(), value(&entry.node))).collect()
        }
        (Shape::List(inner) | Shape::Set(inner), Value::List(list)) => {
            list.iter().map(|item| shaped(inner, item)).collect()
        }
        (Shape::OneOrMany | Shape::Command, Value::List(list)) => list.iter().map(any).collect(),
        (Shape::Dict(blank), _) => pairs(node, *blank),
        (Shape::Bytes, Value::Int(size)) => size.to_string().into(),
        (Shape::Number, Value::Int(_) | Value::Float(_)) => single(node),
        (Shape::Duration, Value::String(text)) => {
            duration::parse(text).map_or_else(|_| text.clone().into(), |length| duration::show(length).into())
        }
        (Shape::Text | Shape::Scalar, _) => node.scalar().map_or(Json::Null, Json::String),
        _ => any(node),
    }
}

/// A number of single precision, as Compose keeps it.
fn single(node: &Node) -> Json {
    let number = match node.value {
        Value::Int(number) => number as f32,
        Value::Float(number) => number as f32,
        _ => 0.0,
    };
    if number.fract() == 0.0 && number.abs() < 1e15 {
        return Json::from(number as i64);
    }
    number.to_string().parse().ok().and_then(Number::from_f64).map_or(Json::Null, Json::Number)
}

/// `KEY=value` in either form as a mapping.
fn pairs(node: &Node, blank: Blank) -> Json {
    let missing = || if blank == Blank::Null { Json::Null } else { Json::String(String::new()) };
    match &node.value {
        Value::Map(map) => map
            .iter()
            .map(|(name, entry)| (name.clone(), entry.node.scalar().map_or_else(missing, Json::String)))
            .collect(),
        Value::List(list) => list
            .iter()
            .filter_map(Node::as_str)
            .map(|item| match item.split_once('=') {
                Some((name, value)) => (name.to_owned(), value.into()),
                None => (item.to_owned(), missing()),
            })
            .collect(),
        _ => Json::Null,
    }
}

/// A value as it is.
fn any(node: &Node) -> Json {
    match &node.value {
        Value::Null | Value::Bad => Json::Null,
        Value::Bool(truth) => Json::Bool(*truth),
        Value::Int(number) => i64::try_from(*number)
            .map(Json::from)
            .or_else(|_| u64::try_from(*number).map(Json::from))
            .unwrap_or(Json::Null),
        Value::Float(number) if number.fract() == 0.0 && number.abs() < 1e15 => Json::from(*number as i64),
        Value::Float(number) => Number::from_f64(*number).map_or(Json::Null, Json::Number),
        Value::String(text) => text.clone().into(),
        Value::List(list) => list.iter().map(any).collect(),
        Value::Map(map) => map.iter().map(|(name, entry)| (name.clone(), any(&entry.node))).collect(),
    }
}

fn escape(json: Json) -> Json {
    match json {
        Json::String(text) => Json::String(text.replace('$', "$$")),
        Json::Array(list) => list.into_iter().map(escape).collect(),
        Json::Object(map) => {
            map.into_iter().map(|(name, value)| (name.replace('$', "$$"), escape(value))).collect()
        }
        other => other,
    }
}
