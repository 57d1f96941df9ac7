//! A description as a tree of JSON: from JSON, or from YAML 1.2 with the merge key that many tools write.
//!
//! What it may become is bounded in depth and in nodes, aliases unfolded, so that a small file does not fill the memory.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Number, Value};
use tutti_core::limits;

const DEPTH: usize = 100;

/// Reads a file's text. The error is a sentence with the place.
pub fn parse(text: &str) -> Result<Value, String> {
    // Some editors write one, and it says nothing.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim_start().starts_with('{') {
        let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if weight(&value) > limits::OPENAPI_NODES {
            return Err(too_large());
        }
        return Ok(value);
    }
    let mut builder = Builder { stack: Vec::new(), anchors: HashMap::new(), nodes: 0, root: None };
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| {
            let mark = error.marker();
            format!("line {} column {}: {}", mark.line(), mark.col() + 1, error.info())
        })?;
        builder.event(event).map_err(|why| format!("line {}: {why}", span.start.line()))?;
    }
    builder.root.ok_or_else(|| "it is empty".to_owned())
}

fn too_large() -> String {
    format!("it has more than {} values", limits::OPENAPI_NODES)
}

fn weight(value: &Value) -> usize {
    match value {
        Value::Array(list) => 1 + list.iter().map(weight).sum::<usize>(),
        Value::Object(map) => 1 + map.values().map(weight).sum::<usize>(),
        _ => 1,
    }
}

enum Frame {
    List(usize, Vec<Value>),
    Map { anchor: usize, map: Map<String, Value>, key: Option<String>, merged: Vec<Value> },
}

struct Builder {
    stack: Vec<Frame>,
    anchors: HashMap<usize, Value>,
    nodes: usize,
    root: Option<Value>,
}

impl Builder {
    fn event(&mut self, event: Event<'_>) -> Result<(), String> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.spend(1)?;
                let text_tag = tag.is_some_and(|tag| tag.suffix == "str");
                let plain = style == ScalarStyle::Plain && !text_tag;
                if let Some(Frame::Map { key: key @ None, .. }) = self.stack.last_mut() {
                    *key = Some(text.into_owned());
                    return Ok(());
                }
                let value = if plain { resolve(&text) } else { Value::String(text.into_owned()) };
                self.put(value, anchor)
            }
            Event::SequenceStart(anchor, _) => self.open(Frame::List(anchor, Vec::new())),
            Event::MappingStart(anchor, _) => {
                self.open(Frame::Map { anchor, map: Map::new(), key: None, merged: Vec::new() })
            }
            Event::SequenceEnd | Event::MappingEnd => match self.stack.pop() {
                Some(Frame::List(anchor, list)) => self.put(Value::Array(list), anchor),
                Some(Frame::Map { anchor, mut map, merged, .. }) => {
                    for (key, value) in merged.into_iter().flat_map(flat) {
                        map.entry(key).or_insert(value);
                    }
                    self.put(Value::Object(map), anchor)
                }
                None => Ok(()),
            },
            Event::Alias(anchor) => {
                let value =
                    self.anchors.get(&anchor).ok_or("an alias stands inside of what it repeats")?.clone();
                self.spend(weight(&value))?;
                self.put(value, 0)
            }
            Event::DocumentStart(_) if self.root.is_some() => {
                Err("it holds more than one document".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn spend(&mut self, nodes: usize) -> Result<(), String> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > limits::OPENAPI_NODES { Err(too_large()) } else { Ok(()) }
    }

    fn open(&mut self, frame: Frame) -> Result<(), String> {
        self.spend(1)?;
        if let Some(Frame::Map { key: None, .. }) = self.stack.last() {
            return Err("a key is a text".to_owned());
        }
        if self.stack.len() >= DEPTH {
            return Err(format!("it nests deeper than {DEPTH} levels"));
        }
        self.stack.push(frame);
        Ok(())
    }

    fn put(&mut self, value: Value, anchor: usize) -> Result<(), String> {
        if anchor != 0 {
            self.spend(weight(&value))?;
            self.anchors.insert(anchor, value.clone());
        }
        match self.stack.last_mut() {
            None => self.root = Some(value),
            Some(Frame::List(_, list)) => list.push(value),
            Some(Frame::Map { map, key, merged, .. }) => match key.take() {
                None => *key = Some(value.as_str().ok_or("a key is a text")?.to_owned()),
                Some(name) if name == "<<" => merged.push(value),
                Some(name) if map.contains_key(&name) => return Err(format!("`{name}` stands there twice")),
                Some(name) => drop(map.insert(name, value)),
            },
        }
        Ok(())
    }
}

fn flat(value: Value) -> Vec<(String, Value)> {
    match value {
        Value::Object(map) => map.into_iter().collect(),
        Value::Array(list) => list.into_iter().flat_map(flat).collect(),
        _ => Vec::new(),
    }
}

/// YAML 1.2 section 10.3, the core schema.
fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let number = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && digits.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-'));
    if !number {
        return Value::String(text.to_owned());
    }
    let whole = text.strip_prefix('+').unwrap_or(text);
    let integer = whole.parse::<i64>().map(Number::from).or_else(|_| whole.parse::<u64>().map(Number::from));
    let number = integer.ok().or_else(|| whole.parse::<f64>().ok().and_then(Number::from_f64));
    number.map_or_else(|| Value::String(text.to_owned()), Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn yaml_becomes_json() {
        let text =
            "a: &x {b: 1, c: [true, ~, 'no', 1.5, 2024-01-01]}\n200: {<<: *x, b: 2}\nlist: [*x]\nv: 3.0.3\n";
        let inner = json!({"b": 1, "c": [true, null, "no", 1.5, "2024-01-01"]});
        let mut merged = inner.clone();
        merged["b"] = json!(2);
        assert_eq!(parse(text).unwrap(), json!({"a": inner, "200": merged, "list": [inner], "v": "3.0.3"}));
        assert_eq!(parse("{\"a\": [1]}").unwrap(), json!({"a": [1]}));
    }

    #[test]
    fn what_is_no_tree_or_too_large_is_refused() {
        let bomb: String = (1..12).fold("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned(), |text, at| {
            let of = format!("*a{}", at - 1);
            format!("{text}a{at}: &a{at} [{}]\n", vec![of; 10].join(","))
        });
        let deep = "[".repeat(200) + &"]".repeat(200);
        for (text, why) in [
            ("a: 1\na: 2", "stands there twice"),
            ("a: [", "line"),
            ("", "empty"),
            ("a: 1\n---\nb: 1", "more than one document"),
            ("[a]: 1", "a key is a text"),
            (&bomb, "more than"),
            (&deep, "level"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(why) || error.contains("recursion"), "{why}: {error}");
        }
    }
}
