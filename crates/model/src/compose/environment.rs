//! The variables of a project: those of the shell above those of the `.env` files.

use std::collections::BTreeMap;

use crate::diagnostic::suggest;

/// Names and values.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment {
    vars: BTreeMap<String, String>,
}

impl Environment {
    pub(crate) fn new(vars: BTreeMap<String, String>) -> Self {
        Self { vars }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.vars.get(name).map(String::as_str)
    }

    /// Adds what is not there yet.
    pub(crate) fn add_missing(&mut self, others: impl IntoIterator<Item = (String, String)>) {
        for (name, value) in others {
            self.vars.entry(name).or_insert(value);
        }
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.vars.insert(name.to_owned(), value.to_owned());
    }

    /// A variable whose name is nearly this one.
    pub(crate) fn similar(&self, name: &str) -> Option<&str> {
        suggest::nearest(name, self.vars.keys().map(String::as_str).filter(|other| *other != name))
    }
}
