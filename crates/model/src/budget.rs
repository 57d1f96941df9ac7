//! How much one load may unfold: nodes and text, over all files, aliases, variables and `extends` together.

use tutti_core::limits::{MODEL_NODES, MODEL_TEXT_BYTES};

use crate::yaml::{Node, Value};

/// What is left of [`MODEL_NODES`] and [`MODEL_TEXT_BYTES`].
#[derive(Debug)]
pub(crate) struct Budget {
    nodes: usize,
    bytes: usize,
}

/// More was asked for than there is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Spent;

impl Budget {
    pub(crate) fn new() -> Self {
        Self { nodes: MODEL_NODES, bytes: MODEL_TEXT_BYTES }
    }

    /// Takes so many nodes with so many bytes of text.
    pub(crate) fn take(&mut self, nodes: usize, bytes: usize) -> Result<(), Spent> {
        match (self.nodes.checked_sub(nodes), self.bytes.checked_sub(bytes)) {
            (Some(nodes), Some(bytes)) => {
                (self.nodes, self.bytes) = (nodes, bytes);
                Ok(())
            }
            _ => {
                // What came too late stays too late: nothing smaller is let through afterwards.
                (self.nodes, self.bytes) = (0, 0);
                Err(Spent)
            }
        }
    }

    /// Whether nothing is left.
    pub(crate) fn is_spent(&self) -> bool {
        self.nodes == 0
    }

    /// Takes what a copy of `node` needs.
    pub(crate) fn take_copy(&mut self, node: &Node) -> Result<(), Spent> {
        if self.is_spent() {
            return Err(Spent);
        }
        let (nodes, bytes) = weight(node);
        self.take(nodes, bytes)
    }
}

/// The sentence for whoever meets [`Spent`].
pub(crate) fn message() -> String {
    format!(
        "the application unfolds to more than {MODEL_NODES} nodes or {} MiB of text",
        MODEL_TEXT_BYTES >> 20
    )
}

/// Nodes and bytes of text in a tree.
pub(crate) fn weight(node: &Node) -> (usize, usize) {
    let add = |(n, b): (usize, usize), (m, c): (usize, usize)| (n + m, b + c);
    match &node.value {
        Value::String(text) => (1, text.len()),
        Value::List(list) => list.iter().map(weight).fold((1, 0), add),
        Value::Map(map) => {
            map.iter().map(|(key, entry)| add(weight(&entry.node), (0, key.len()))).fold((1, 0), add)
        }
        _ => (1, 0),
    }
}
