//! What a condition's text may be, before anything reads it.
//!
//! Reading and evaluating an expression takes stack for each level of nesting, and the text is the only place where that
//! can be bounded.

use tutti_core::limits;

/// Refuses a text that is too long or too deeply nested. The error is a sentence.
pub fn bounded(text: &str) -> Result<(), String> {
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
pub fn binds(text: &str, name: &str) -> bool {
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
