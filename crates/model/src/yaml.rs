//! A YAML tree in which every node knows where it stands.
//!
//! Aliases and merge keys are expanded while it is built, within the limits of the load; the same text always gives
//! the same tree; no input makes it panic or recurse deeper than `MODEL_DEPTH`.

mod parse;
mod repair;
mod scalar;
#[cfg(test)]
mod tests;

use indexmap::IndexMap;

use crate::source::Span;

pub(crate) use parse::parse;
pub(crate) use scalar::{float_text, resolve};

/// Compose's own tags for override files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mark {
    /// None.
    #[default]
    None,
    /// `!reset`: what was there before is removed, and so is this.
    Reset,
    /// `!override`: this replaces what was there before instead of being merged with it.
    Override,
}

/// A node.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where it stands.
    pub span: Span,
    /// What it is.
    pub value: Value,
    /// Compose's tag.
    pub mark: Mark,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number, from `i64::MIN` to `u64::MAX`.
    Int(i128),
    /// Another number.
    Float(f64),
    /// Text.
    String(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping.
    Map(Map),
    /// Something that was wrong and has been reported: it is there, and nothing is known of it.
    Bad,
}

/// A mapping with string keys, in the order of the file.
pub type Map = IndexMap<String, Entry>;

/// A value of a mapping, with the place of its key.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Where the key stands.
    pub key: Span,
    /// The value.
    pub node: Node,
}

impl Node {
    /// A node without a tag.
    pub fn new(span: Span, value: Value) -> Self {
        Self { span, value, mark: Mark::None }
    }

    /// A text.
    pub fn text(span: Span, text: impl Into<String>) -> Self {
        Self::new(span, Value::String(text.into()))
    }

    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The mapping, if it is one.
    pub fn as_map(&self) -> Option<&Map> {
        match &self.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    /// The mapping, if it is one.
    pub fn as_map_mut(&mut self) -> Option<&mut Map> {
        match &mut self.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    /// The items; nothing if it is no list.
    pub fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(list) => list,
            _ => &[],
        }
    }

    /// The entries; nothing if it is no mapping.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.as_map().into_iter().flatten().map(|(key, entry)| (key.as_str(), entry))
    }

    /// The value of a key, if this is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.as_map()?.get(key).map(|entry| &entry.node)
    }

    /// The value of a key, if this is a mapping that has it.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        self.as_map_mut()?.get_mut(key).map(|entry| &mut entry.node)
    }

    /// The text of a key.
    pub fn str(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_str()
    }

    /// The number of a key.
    pub fn int(&self, key: &str) -> Option<i64> {
        match self.get(key)?.value {
            Value::Int(number) => i64::try_from(number).ok(),
            _ => None,
        }
    }

    /// The truth of a key.
    pub fn bool(&self, key: &str) -> Option<bool> {
        match self.get(key)?.value {
            Value::Bool(truth) => Some(truth),
            _ => None,
        }
    }

    /// Whether it is null.
    pub fn is_null(&self) -> bool {
        self.value == Value::Null
    }

    /// Sets a key whose place is this node's own, unless it is there.
    pub fn set_default(&mut self, key: &str, value: Value) {
        let span = self.span;
        if let Some(map) = self.as_map_mut() {
            map.entry(key.to_owned()).or_insert_with(|| Entry { key: span, node: Node::new(span, value) });
        }
    }

    /// Sets a key; its place stays if it was there.
    pub fn set(&mut self, key: &str, node: Node) {
        let span = node.span;
        if let Some(map) = self.as_map_mut() {
            match map.get_mut(key) {
                Some(entry) => entry.node = node,
                None => {
                    map.insert(key.to_owned(), Entry { key: span, node });
                }
            }
        }
    }

    /// Takes a key away.
    pub fn remove(&mut self, key: &str) -> Option<Node> {
        self.as_map_mut()?.shift_remove(key).map(|entry| entry.node)
    }

    /// What it is, in a sentence: `a list`.
    pub fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "a boolean",
            Value::Int(_) | Value::Float(_) => "a number",
            Value::String(_) => "a string",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
            Value::Bad => "something else",
        }
    }

    /// A scalar as text, as Compose writes it (Go's `%v`): `true`, `5`, `1e+06`; `None` for null and collections.
    pub fn scalar(&self) -> Option<String> {
        match &self.value {
            Value::Bool(truth) => Some(truth.to_string()),
            Value::Int(number) => Some(number.to_string()),
            Value::Float(number) => Some(float_text(*number)),
            Value::String(text) => Some(text.clone()),
            Value::Null | Value::List(_) | Value::Map(_) | Value::Bad => None,
        }
    }

    /// Whether two trees say the same, wherever they stand.
    pub fn same(&self, other: &Node) -> bool {
        match (&self.value, &other.value) {
            (Value::List(a), Value::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.same(b)),
            (Value::Map(a), Value::Map(b)) => {
                a.len() == b.len()
                    && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| a.node.same(&b.node)))
            }
            (a, b) => a == b,
        }
    }
}
