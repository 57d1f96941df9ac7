//! How much work a value may make: schemas can branch at each level of a value, and then take time that doubles with each.
//!
//! Every schema gets a keyword of ours, which counts. When too much has been done, the validator's whole stack is unwound: it has
//! no other way to be stopped.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use jsonschema::{Keyword, ValidationError};
use serde_json::Value;

/// The keyword.
pub const KEYWORD: &str = "x-tutti-step";

thread_local! {
    static LEFT: Cell<u64> = const { Cell::new(0) };
}

/// Counts.
pub struct Step;

struct Spent;

fn step() {
    let left = LEFT.get();
    if left == 0 {
        // Not a panic: nobody is told, and whoever began catches it.
        resume_unwind(Box::new(Spent));
    }
    LEFT.set(left - 1);
}

impl<'i> Keyword<'i> for Step {
    fn validate(&self, _: &'i Value) -> Result<(), ValidationError<'i>> {
        step();
        Ok(())
    }

    fn is_valid(&self, _: &'i Value) -> bool {
        step();
        true
    }
}

/// Does some work of at most so many steps; `None` when that was not enough.
pub fn bounded<T>(steps: u64, work: impl FnOnce() -> T) -> Option<T> {
    LEFT.set(steps);
    let done = catch_unwind(AssertUnwindSafe(work));
    LEFT.set(0);
    done.ok()
}
