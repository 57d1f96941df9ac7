//! The variables of a project: those of the shell above those of the `.env` files.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::diagnostic::suggest;

/// Names and values.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment {
    vars: BTreeMap<String, String>,
    /// The names that were asked for, of this and of what was made of it.
    asked: Arc<Mutex<BTreeSet<String>>>,
}

impl Environment {
    pub(crate) fn new(vars: BTreeMap<String, String>) -> Self {
        Self { vars, asked: Arc::default() }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let found = self.vars.get(name).map(String::as_str);
        if found.is_some() {
            self.names().insert(name.to_owned());
        }
        found
    }

    /// The names of variables that were asked for and there.
    pub(crate) fn asked(&self) -> BTreeSet<String> {
        self.names().clone()
    }

    fn names(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
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
