//! Splits a command line into words as Compose does: like a POSIX shell, without expanding anything.

/// The words of a line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Words {
    /// The words.
    pub words: Vec<String>,
    /// An operator of the shell at which Compose stops reading: `;`, `&`, `|`, `<` or `>`.
    pub stopped_at: Option<char>,
}

/// The words of a line; the error is a sentence.
pub(crate) fn split(line: &str) -> Result<Words, String> {
    let mut out = Words::default();
    let mut word = String::new();
    let mut begun = false;
    let mut quote = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None | Some('"' | '`' | ')'), '\\') => {
                // Inside double quotes too a backslash takes the next character as it is.
                word.extend(chars.next());
                begun = true;
            }
            (Some(open), c) if c == open => {
                quote = None;
                // Command substitutions are not carried out, and stay as they are.
                word.extend(Some(c).filter(|c| matches!(c, '`' | ')')));
            }
            (Some(_), c) => word.push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                begun = true;
            }
            (None, '`') => {
                quote = Some('`');
                word.push(c);
                begun = true;
            }
            (None, '(') if word.ends_with('$') => {
                quote = Some(')');
                word.push(c);
            }
            (None, '(' | ')') => return Err(format!("`{c}` has a meaning only for a shell")),
            (None, ';' | '&' | '|' | '<' | '>') => {
                out.stopped_at = Some(c);
                break;
            }
            (None, ' ' | '\t' | '\r' | '\n') => {
                if begun {
                    out.words.push(std::mem::take(&mut word));
                }
                begun = false;
            }
            (None, c) => {
                word.push(c);
                begun = true;
            }
        }
    }
    if let Some(open) = quote {
        return Err(format!("a quote {open} is not closed"));
    }
    if begun {
        out.words.push(word);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn lines_are_split_as_compose_does() {
        for (line, words) in [
            ("a b  c", vec!["a", "b", "c"]),
            ("sh -c 'echo \"x y\" z'", vec!["sh", "-c", "echo \"x y\" z"]),
            ("a \"b c\"d ''", vec!["a", "b cd", ""]),
            ("a\\ b \"\\\"\"", vec!["a b", "\""]),
            ("  ", vec![]),
            ("a\n  b", vec!["a", "b"]),
            ("echo `a b` $(c d)", vec!["echo", "`a b`", "$(c d)"]),
            ("a#b #c", vec!["a#b", "#c"]),
        ] {
            assert_eq!(split(line).unwrap().words, words, "{line}");
        }
        assert!(split("a 'b").is_err());
        assert!(split("a (b)").is_err());
    }

    #[test]
    fn an_operator_of_the_shell_ends_it() {
        let words = split("a b && c").unwrap();
        assert_eq!((words.words.len(), words.stopped_at), (2, Some('&')));
        assert_eq!(split("a '&&' \"|\"").unwrap().stopped_at, None);
    }
}
