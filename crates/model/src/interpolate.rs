//! Variables in values: `$V`, `${V}`, `${V:-d}`, `${V-d}`, `${V:?e}`, `${V?e}`, `${V:+a}`, `${V+a}`, `$$`, nested.
//!
//! As in the Compose Specification, section "Interpolation". A `$` that begins none of these forms stands for itself.

use tutti_core::limits::MODEL_VARIABLE_DEPTH;

/// Why a text could not be filled in. `variable` is the piece of the text that is at fault, as it stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The faulty expression, from its `$`.
    pub piece: String,
    /// What is wrong.
    pub kind: FaultKind,
}

/// What is wrong with a variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// `${` without its `}`.
    Open,
    /// No name, or characters that a name cannot have.
    Form,
    /// `${V:?message}` and it is not set.
    Required {
        /// The variable.
        name: String,
        /// The message, filled in.
        message: String,
    },
    /// Nested too deep.
    Deep,
    /// The result is larger than allowed.
    Large,
}

/// Receives the names of variables that are not set and have no default.
pub type Unset<'a> = &'a mut dyn FnMut(&str);

/// Fills in the variables of `text`. The result has at most `limit` bytes.
pub fn interpolate(
    text: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
    unset: Unset<'_>,
    limit: usize,
) -> Result<String, Fault> {
    if !text.contains('$') {
        return Ok(text.to_owned());
    }
    Filler { lookup, unset, limit }.fill(text, 0)
}

struct Filler<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    unset: Unset<'a>,
    limit: usize,
}

fn fault(piece: &str, kind: FaultKind) -> Fault {
    let piece = piece.split(['\n', '\r']).next().unwrap_or("");
    Fault { piece: piece.chars().take(80).collect(), kind }
}

/// Splits a variable name off the front; empty if there is none.
fn name(text: &str) -> (&str, &str) {
    let begins = |c: char| c.is_ascii_alphabetic() || c == '_';
    let end = if text.starts_with(begins) {
        text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(text.len())
    } else {
        0
    };
    text.split_at(end)
}

/// Splits at the `}` that closes the `{` before `text`; braces inside are counted.
fn braced(text: &str) -> Option<(&str, &str)> {
    let mut open = 1_usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' => open += 1,
            '}' => open -= 1,
            _ => {}
        }
        if open == 0 {
            let (inside, rest) = text.split_at(at);
            return Some((inside, rest.strip_prefix('}').unwrap_or(rest)));
        }
    }
    None
}

impl Filler<'_> {
    fn fill(&mut self, text: &str, depth: usize) -> Result<String, Fault> {
        if depth > MODEL_VARIABLE_DEPTH {
            return Err(fault(text, FaultKind::Deep));
        }
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            let (before, from) = rest.split_at(at);
            out.push_str(before);
            let after = from.strip_prefix('$').unwrap_or(from);
            if let Some(next) = after.strip_prefix('$') {
                out.push('$');
                rest = next;
            } else if let Some(inside) = after.strip_prefix('{') {
                let Some((expression, next)) = braced(inside) else {
                    return Err(fault(from, FaultKind::Open));
                };
                let length = from.len() - next.len();
                let whole = from.get(..length).unwrap_or(from);
                out.push_str(&self.expression(expression, whole, depth)?);
                rest = next;
            } else {
                let (variable, next) = name(after);
                if variable.is_empty() {
                    out.push('$');
                } else {
                    out.push_str(&self.value(variable));
                }
                rest = next;
            }
            if out.len() > self.limit {
                return Err(fault(from, FaultKind::Large));
            }
        }
        out.push_str(rest);
        Ok(out)
    }

    fn value(&mut self, variable: &str) -> String {
        (self.lookup)(variable).unwrap_or_else(|| {
            (self.unset)(variable);
            String::new()
        })
    }

    /// What stands between `${` and `}`.
    fn expression(&mut self, text: &str, whole: &str, depth: usize) -> Result<String, Fault> {
        let (variable, rest) = name(text);
        if variable.is_empty() {
            return Err(fault(whole, FaultKind::Form));
        }
        if rest.is_empty() {
            return Ok(self.value(variable));
        }
        let (or_empty, rest) = match rest.strip_prefix(':') {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let value = (self.lookup)(variable).filter(|value| !(or_empty && value.is_empty()));
        if let Some(default) = rest.strip_prefix('-') {
            return value.map_or_else(|| self.fill(default, depth + 1), Ok);
        }
        if let Some(alternative) = rest.strip_prefix('+') {
            return value.map_or(Ok(String::new()), |_| self.fill(alternative, depth + 1));
        }
        if let Some(message) = rest.strip_prefix('?') {
            return match value {
                Some(value) => Ok(value),
                None => {
                    let message = self.fill(message, depth + 1)?;
                    let name = variable.to_owned();
                    Err(fault(whole, FaultKind::Required { name, message }))
                }
            };
        }
        Err(fault(whole, FaultKind::Form))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(text: &str) -> Result<String, Fault> {
        let lookup = |name: &str| match name {
            "A" => Some("a".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        interpolate(text, &lookup, &mut |_| {}, 1 << 20)
    }

    #[test]
    fn every_form_of_the_specification() {
        for (text, expected) in [
            ("$A", "a"),
            ("${A}", "a"),
            ("x${A}y$A.z", "xaya.z"),
            ("${U:-d}", "d"),
            ("${EMPTY:-d}", "d"),
            ("${EMPTY-d}", ""),
            ("${U-d}", "d"),
            ("${A:-d}", "a"),
            ("${A:+alt}", "alt"),
            ("${EMPTY:+alt}", ""),
            ("${EMPTY+alt}", "alt"),
            ("${U+alt}", ""),
            ("${A:?no}", "a"),
            ("${EMPTY?no}", ""),
            ("${U:-${V:-${A}}}", "a"),
            ("${U:-{\"x\": {}}}", "{\"x\": {}}"),
            ("${U:-a}b}", "ab}"),
            ("$$A $${A}", "$A ${A}"),
            ("$1 $ $", "$1 $ $"),
            ("${U}", ""),
            ("${U:-}", ""),
            ("${U:-http://h:1/}", "http://h:1/"),
        ] {
            assert_eq!(run(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn faults_name_the_piece() {
        assert_eq!(run("x ${A"), Err(fault("${A", FaultKind::Open)));
        assert_eq!(run("x ${} y"), Err(fault("${}", FaultKind::Form)));
        assert_eq!(run("${1}"), Err(fault("${1}", FaultKind::Form)));
        assert_eq!(run("${A!b}"), Err(fault("${A!b}", FaultKind::Form)));
        let required = FaultKind::Required { name: "EMPTY".into(), message: "set a".into() };
        assert_eq!(run("${EMPTY:?set $A}"), Err(fault("${EMPTY:?set $A}", required)));
    }

    #[test]
    fn depth_and_size_are_bounded() {
        let deep = format!("{}x{}", "${U:-".repeat(10_000), "}".repeat(10_000));
        assert!(matches!(run(&deep), Err(Fault { kind: FaultKind::Deep, .. })));
        let lookup = |_: &str| Some("x".repeat(1000));
        let large = interpolate(&"$A".repeat(100), &lookup, &mut |_| {}, 5_000);
        assert!(matches!(large, Err(Fault { kind: FaultKind::Large, .. })));
    }

    #[test]
    fn unset_variables_are_named_unless_they_have_a_default() {
        let mut names = Vec::new();
        let result =
            interpolate("$X ${Y} ${Z:-1} ${W+1}", &|_| None, &mut |name| names.push(name.to_owned()), 99);
        assert_eq!((result.as_deref(), names.join(" ").as_str()), (Ok("  1 "), "X Y"));
    }

    proptest! {
        #[test]
        fn what_is_escaped_comes_back(text in "\\PC*") {
            prop_assert_eq!(run(&text.replace('$', "$$")), Ok(text));
        }

        #[test]
        fn nothing_panics(text in "[$A{}:?+\\-U\\PC]*") {
            let _ = run(&text);
        }
    }
}
