//! What a condition may be: its text is bounded before anything reads it, then read, and held against what is known of the kinds
//! of values, so that whoever writes one hears of mistakes at once and not by a request that does not pass.
//!
//! Reading and evaluating an expression takes stack for each level of nesting, and the text is the only place where that
//! can be bounded.

mod kinds;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

use cel::{Env, IdedExpr};
use tutti_core::limits;

pub use kinds::{FIELDS, MATCH};

/// A condition that has been read.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The expression; `a.matches('b')` has become `MATCH(a, n)`, see [`Parsed::patterns`].
    pub expression: IdedExpr,
    /// Its regular expressions, which are texts that stand in it, so that they can be made once.
    pub patterns: Vec<String>,
    /// Which of [`FIELDS`] of the request it names.
    pub fields: [bool; FIELDS.len()],
    /// Whether it names the source.
    pub source: bool,
    /// Whether it names who asks.
    pub auth: bool,
}

/// What conditions are read and evaluated with.
pub fn env() -> Arc<Env> {
    static ENV: OnceLock<Arc<Env>> = OnceLock::new();
    Arc::clone(ENV.get_or_init(|| Arc::new(Env::stdlib())))
}

/// Reads a condition. `authenticated` says whether it is known who asks when it is evaluated. The error is a sentence with the place.
pub fn parse(text: &str, authenticated: bool) -> Result<Parsed, String> {
    bounded(text)?;
    let walks = ["all", "exists", "exists_one", "map", "filter"];
    let walking = text.split('.').skip(1).filter(|part| {
        let word = part.trim_start();
        let name: String = word.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        walks.contains(&&*name) && word.trim_start_matches(&*name).trim_start().starts_with('(')
    });
    if walking.count() > limits::CONDITION_WALKS {
        return Err(format!("a condition walks over at most {} lists", limits::CONDITION_WALKS));
    }
    let read = catch_unwind(AssertUnwindSafe(|| env().parser().parse_with_source_info(text)));
    let (expression, places) = read.map_err(|_| "it cannot be read".to_owned())?.map_err(|errors| {
        let shown = errors.errors.iter().map(|error| {
            let why = error.msg.lines().next().unwrap_or_default();
            format!("line {} column {}: {why}", error.pos.0, error.pos.1)
        });
        shown.collect::<Vec<_>>().join("; ")
    })?;
    kinds::checked(expression, text, authenticated).map_err(|(id, why)| {
        let start = places.offset_for(id).map_or(0, |(start, _)| start as usize);
        let before = text.get(..start).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        format!("line {line} column {column}: {why}")
    })
}

/// Refuses a text that is too long or too deeply nested. The error is a sentence.
fn bounded(text: &str) -> Result<(), String> {
    if text.len() > limits::CONDITION_BYTES {
        return Err(format!("a condition has at most {} bytes", limits::CONDITION_BYTES));
    }
    let (mut open, mut deepest, mut signs, mut most) = (0_usize, 0, 0_usize, 0);
    let (mut operators, mut sums) = (0_usize, 0_usize);
    for character in text.chars() {
        match character {
            '(' | '[' | '{' => open += 1,
            ')' | ']' | '}' => open = open.saturating_sub(1),
            _ => {}
        }
        match character {
            '!' | '-' => signs += 1,
            character if character.is_whitespace() => {}
            _ => signs = 0,
        }
        operators += usize::from("&|?:<>=!.".contains(character));
        sums += usize::from("+-*/%".contains(character));
        deepest = deepest.max(open);
        most = most.max(signs);
    }
    if deepest > limits::CONDITION_DEPTH || most > limits::CONDITION_DEPTH {
        return Err(format!("a condition nests at most {} levels", limits::CONDITION_DEPTH));
    }
    if operators > limits::CONDITION_OPERATORS {
        return Err(format!("a condition has at most {} signs of operators", limits::CONDITION_OPERATORS));
    }
    if sums > limits::CONDITION_SUMS {
        return Err(format!("a condition has at most {} signs of arithmetic", limits::CONDITION_SUMS));
    }
    Ok(())
}

/// Whether a condition itself gives a name its meaning, as `role` in `roles.exists(role, role == 'a')`.
fn binds(text: &str, name: &str) -> bool {
    let dense: String = text.chars().filter(|character| !character.is_whitespace()).collect();
    dense.contains(&format!("({name},"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_a_macro_is_known() {
        assert!(binds("a.exists( x , x == 1)", "x"));
        assert!(!binds("a.exists(x, y == 1)", "y"));
    }

    #[test]
    fn what_nests_too_deeply_is_refused() {
        assert!(bounded("'a' in auth.claims.roles && !(request.path == '/x')").is_ok());
        for bad in ["(".repeat(50), "! ".repeat(50), "[".repeat(50), "a.".repeat(500), " ".repeat(5_000)] {
            assert!(bounded(&bad).is_err(), "{bad}");
        }
    }
}
