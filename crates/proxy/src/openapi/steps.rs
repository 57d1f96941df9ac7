//! How much work a value may make: schemas can branch at each level of a value, and then take time that doubles with each.
//!
//! Every schema gets a keyword of ours, which counts, and looks how deep the stack is: schemas that lead to one another in a row of thousands
//! would end the program. When too much has been done, the validator's whole stack is unwound: it has
//! no other way to be stopped.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use jsonschema::{Keyword, ValidationError};
use serde_json::Value;
use tutti_core::limits;

/// The keyword.
pub const KEYWORD: &str = "x-tutti-step";

thread_local! {
    static LEFT: Cell<u64> = const { Cell::new(0) };
    /// Where the stack was when the work began.
    static BASE: Cell<usize> = const { Cell::new(0) };
}

/// Counts.
pub struct Step;

struct Spent;

/// About where the stack is.
#[inline(never)]
fn here() -> usize {
    let mark = 0_u8;
    std::ptr::from_ref(std::hint::black_box(&mark)).addr()
}

fn step() {
    let left = LEFT.get();
    if left == 0 || BASE.get().abs_diff(here()) > limits::OPENAPI_STACK {
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
    BASE.set(here());
    let done = catch_unwind(AssertUnwindSafe(work));
    LEFT.set(0);
    done.ok()
}
