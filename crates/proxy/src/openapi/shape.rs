//! What a schema lets a value be, as far as it decides how a text is read.

use serde_json::Value;

use super::files::{Files, split};
use super::style::Shape;

/// How deep schemas are looked into: texts in parameters and forms nest no deeper.
const DEPTH: usize = 12;

/// The shape of a schema that stands in a file.
pub fn of(files: &Files, file: &str, schema: &Value) -> Shape {
    let mut shape = Shape::default();
    look(files, file, schema, DEPTH, &mut shape);
    let nothing = !(shape.text || shape.number || shape.truth || shape.null)
        && shape.items.is_none()
        && shape.properties.is_none();
    if nothing {
        return Shape { text: true, number: true, truth: true, ..shape };
    }
    shape
}

fn look(files: &Files, file: &str, schema: &Value, depth: usize, shape: &mut Shape) {
    let Some(depth) = depth.checked_sub(1) else { return };
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str)
        && let Ok((file, pointer)) = split(file, reference)
        && let Ok((file, _, target)) = files.at(&file, &pointer)
    {
        look(files, &file, target, depth, shape);
    }
    for key in ["allOf", "anyOf", "oneOf"] {
        let parts = schema.get(key).and_then(Value::as_array).into_iter().flatten();
        parts.for_each(|part| look(files, file, part, depth, shape));
    }
    let kinds: Vec<&str> = match schema.get("type") {
        Some(Value::String(kind)) => vec![kind],
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    shape.text |= kinds.contains(&"string");
    shape.number |= kinds.contains(&"integer") || kinds.contains(&"number");
    shape.truth |= kinds.contains(&"boolean");
    shape.null |= kinds.contains(&"null");
    let inner = |schema: &Value| {
        let mut shape = Shape::default();
        look(files, file, schema, depth, &mut shape);
        let said = shape != Shape::default();
        if said { shape } else { Shape { text: true, number: true, truth: true, ..shape } }
    };
    if kinds.contains(&"array") || schema.get("items").is_some() {
        let items = schema.get("items").map_or_else(|| inner(&Value::Null), inner);
        shape.items = Some(Box::new(items));
    }
    if kinds.contains(&"object") || schema.get("properties").is_some() {
        let own = shape.properties.get_or_insert_default();
        for (name, one) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            own.insert(name.clone(), inner(one));
        }
    }
}
