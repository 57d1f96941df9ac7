//! Makes JSON Schema 2020-12 of what stands in a description, so that one validator reads all of it.
//!
//! OpenAPI 3.1 has 2020-12 already. OpenAPI 3.0 has a dialect of an older one: `nullable`, limits that are excluded by a
//! truth, and references beside which nothing counts. What is only read, or only written, need not be in the other direction.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Map, Value};
use tutti_core::limits;

use super::steps;

/// The direction in which messages go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// To the service.
    Request,
    /// From it.
    Response,
}

/// Values of these keys are data, not descriptions.
const DATA: &[&str] = &["example", "examples", "default", "enum", "const", "mapping", "security"];

/// Values of these keys are maps from names that somebody chose.
const NAMES: &[&str] = &[
    "properties",
    "patternProperties",
    "$defs",
    "definitions",
    "dependentSchemas",
    "schemas",
    "responses",
    "parameters",
    "requestBodies",
    "headers",
    "paths",
    "callbacks",
    "content",
    "encoding",
    "variables",
    "securitySchemes",
    "links",
    "pathItems",
    "webhooks",
];

/// Whether the value of a key is data.
pub fn is_data(key: &str) -> bool {
    DATA.contains(&key) || key.starts_with("x-")
}

/// Whether the value of a key is a map from names that somebody chose.
pub fn has_names(key: &str) -> bool {
    NAMES.contains(&key)
}

/// Changes descriptions.
pub struct Dialect {
    old: bool,
    side: Side,
    patterns: HashMap<String, bool>,
    /// Regular expressions that are not checked, since nothing does in linear time.
    pub unchecked: BTreeSet<String>,
}

impl Dialect {
    /// `old` is OpenAPI 3.0.
    pub fn new(old: bool, side: Side) -> Self {
        Self { old, side, patterns: HashMap::new(), unchecked: BTreeSet::new() }
    }

    /// Changes a tree.
    pub fn adapt(&mut self, value: &mut Value) {
        self.walk(value, false);
    }

    fn walk(&mut self, value: &mut Value, names: bool) {
        match value {
            Value::Array(list) => list.iter_mut().for_each(|one| self.walk(one, false)),
            Value::Object(map) => {
                if !names {
                    self.object(map);
                }
                for (key, one) in map {
                    if names {
                        self.walk(one, false);
                    } else if !is_data(key) {
                        self.walk(one, has_names(key));
                    }
                }
            }
            _ => {}
        }
    }

    fn object(&mut self, map: &mut Map<String, Value>) {
        for foreign in ["$schema", "discriminator"] {
            if map.get(foreign).is_some_and(|value| value.is_string() || value.is_object()) {
                map.remove(foreign);
            }
        }
        if self.old {
            older(map);
        }
        excluded(map);
        map.insert(steps::KEYWORD.to_owned(), Value::Bool(true));
        self.required(map);
        if let Some(Value::String(pattern)) = map.get("pattern")
            && !self.linear(&pattern.clone())
        {
            let pattern = map.remove("pattern");
            self.unchecked.extend(pattern.and_then(|one| one.as_str().map(str::to_owned)));
        }
    }

    /// What only goes the other way is not required in this one.
    fn required(&self, map: &mut Map<String, Value>) {
        let other = match self.side {
            Side::Request => "readOnly",
            Side::Response => "writeOnly",
        };
        let Some(Value::Object(properties)) = map.get("properties") else { return };
        let absent: Vec<String> = properties
            .iter()
            .filter(|(_, one)| one.get(other) == Some(&Value::Bool(true)))
            .map(|(name, _)| name.clone())
            .collect();
        if let (false, Some(Value::Array(required))) = (absent.is_empty(), map.get_mut("required")) {
            required.retain(|name| !name.as_str().is_some_and(|name| absent.iter().any(|one| one == name)));
        }
    }

    fn linear(&mut self, pattern: &str) -> bool {
        if let Some(known) = self.patterns.get(pattern) {
            return *known;
        }
        let linear = options().build(&serde_json::json!({ "pattern": pattern })).is_ok();
        self.patterns.insert(pattern.to_owned(), linear);
        linear
    }
}

/// How schemas are compiled: nothing is fetched, and regular expressions take linear time.
pub fn options<'a>() -> jsonschema::ValidationOptions<'a> {
    let patterns = jsonschema::PatternOptions::regex().size_limit(limits::ROUTE_REGEX_BYTES);
    let options = jsonschema::options().with_keyword(steps::KEYWORD, |_, _, _| Ok(Box::new(steps::Step)));
    options.with_draft(jsonschema::Draft::Draft202012).with_pattern_options(patterns).offline()
}

/// Limits that are excluded by a truth, as before 2019, which some files of 3.1 have too.
fn excluded(map: &mut Map<String, Value>) {
    for (excluded, limit) in [("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")] {
        if let Some(Value::Bool(yes)) = map.get(excluded) {
            let limit = yes.then(|| map.get(limit).cloned()).flatten();
            map.remove(excluded);
            if let Some(value) = limit {
                map.insert(excluded.to_owned(), value);
            }
        }
    }
}

/// OpenAPI 3.0.4 section 4.7.24.
fn older(map: &mut Map<String, Value>) {
    if map.get("$ref").is_some_and(Value::is_string) {
        map.retain(|key, _| key == "$ref");
        return;
    }
    let Some(Value::Bool(nullable)) = map.get("nullable") else { return };
    let nullable = *nullable;
    map.remove("nullable");
    if !nullable {
        return;
    }
    if let Some(Value::String(kind)) = map.get("type") {
        let both = serde_json::json!([kind, "null"]);
        map.insert("type".to_owned(), both);
        if let Some(Value::Array(values)) = map.get_mut("enum")
            && !values.contains(&Value::Null)
        {
            values.push(Value::Null);
        }
    } else if ["allOf", "anyOf", "oneOf"].iter().any(|key| map.contains_key(*key)) {
        let inner = Value::Object(std::mem::take(map));
        map.insert("anyOf".to_owned(), serde_json::json!([inner, { "type": "null" }]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn adapted(old: bool, side: Side, mut value: Value) -> Value {
        Dialect::new(old, side).adapt(&mut value);
        without(&mut value);
        value
    }

    /// Takes our keyword out again.
    fn without(value: &mut Value) {
        match value {
            Value::Array(list) => list.iter_mut().for_each(without),
            Value::Object(map) => {
                map.remove(steps::KEYWORD);
                map.values_mut().for_each(without);
            }
            _ => {}
        }
    }

    #[test]
    fn the_older_dialect_becomes_the_newer_one() {
        let schema = json!({"properties": {
            "nullable": {"type": "string", "nullable": true, "enum": ["a"]},
            "minimum": {"type": "integer", "minimum": 1, "exclusiveMinimum": true, "maximum": 9, "exclusiveMaximum": false},
            "of": {"nullable": true, "allOf": [{"$ref": "#/x", "description": "y"}]},
            "example": {"type": "string", "example": {"nullable": true, "type": "x"}},
        }});
        let expected = json!({"properties": {
            "nullable": {"type": ["string", "null"], "enum": ["a", null]},
            "minimum": {"type": "integer", "minimum": 1, "exclusiveMinimum": 1, "maximum": 9},
            "of": {"anyOf": [{"allOf": [{"$ref": "#/x"}]}, {"type": "null"}]},
            "example": {"type": "string", "example": {"nullable": true, "type": "x"}},
        }});
        assert_eq!(adapted(true, Side::Request, schema.clone()), expected);
        assert_ne!(adapted(false, Side::Request, schema), expected);
    }

    #[test]
    fn what_goes_the_other_way_is_not_required() {
        let schema = json!({"required": ["id", "name", "password"],
            "properties": {"id": {"readOnly": true}, "name": {}, "password": {"writeOnly": true}}});
        assert_eq!(adapted(false, Side::Request, schema.clone())["required"], json!(["name", "password"]));
        assert_eq!(adapted(false, Side::Response, schema)["required"], json!(["id", "name"]));
    }

    #[test]
    fn a_regular_expression_that_needs_to_go_back_is_left_out_and_told() {
        let mut dialect = Dialect::new(false, Side::Request);
        let mut schema = json!({"allOf": [{"pattern": "^(?!a)b"}, {"pattern": "^\\d{3}$"}]});
        dialect.adapt(&mut schema);
        without(&mut schema);
        assert_eq!(schema, json!({"allOf": [{}, {"pattern": "^\\d{3}$"}]}));
        assert!(dialect.unchecked.contains("^(?!a)b"));
        assert!(!dialect.linear("(a{999}){999}"), "too large");
    }
}
