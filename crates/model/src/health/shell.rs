//! As much of the POSIX shell as health checks use: words, quotes, variables, redirections, `||`.
//!
//! Not an interpreter. What could change the meaning of the line and is not understood (a pipe, a second command, a
//! command substitution) is an error with its reason, and the line stays a command.

use super::Surroundings;

/// A piece of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// A word after expansion.
    Word(String),
    /// `<`, `>`, `<>`, `>>` with its target; which descriptor is meant does not matter here.
    Redirect {
        /// Whether the file is (also) read.
        reads: bool,
        /// The file, or `&1` for a copy of a descriptor.
        target: String,
    },
    /// `||`
    Or,
    /// `(`
    Open,
    /// `)`
    Close,
}

/// A line of the form `command [redirections] [|| failure]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Line {
    /// The command and its arguments.
    pub words: Vec<String>,
    /// The files it reads from (`true`) or writes to.
    pub redirects: Vec<(bool, String)>,
}

/// Understands a line, or says why not.
pub(super) fn parse(line: &str, surroundings: &Surroundings<'_>) -> Result<Line, String> {
    let tokens = Lexer { rest: line.trim(), surroundings }.run()?;
    let (command, failure) = match tokens.iter().position(|token| *token == Token::Or) {
        Some(at) => (tokens.get(..at).unwrap_or_default(), tokens.get(at + 1..)),
        None => (tokens.as_slice(), None),
    };
    if let Some(failure) = failure
        && !is_failure(failure)
    {
        return Err("what follows `||` is more than a failure status".to_owned());
    }
    let mut parsed = Line::default();
    for token in without_subshell(command)? {
        match token {
            Token::Word(word) => parsed.words.push(word.clone()),
            Token::Redirect { reads, target } => parsed.redirects.push((*reads, target.clone())),
            Token::Open | Token::Close | Token::Or => return Err("it uses a nested shell".to_owned()),
        }
    }
    Ok(parsed)
}

/// `( … ) redirections` is `… redirections` when only the exit status counts.
fn without_subshell(tokens: &[Token]) -> Result<Vec<&Token>, String> {
    if tokens.first() != Some(&Token::Open) {
        return Ok(tokens.iter().collect());
    }
    let Some(close) = tokens.iter().position(|token| *token == Token::Close) else {
        return Err("a parenthesis is not closed".to_owned());
    };
    let inner = tokens.get(1..close).unwrap_or_default();
    let after = tokens.get(close + 1..).unwrap_or_default();
    if after.iter().any(|token| matches!(token, Token::Word(_))) {
        return Err("it uses a nested shell".to_owned());
    }
    Ok(inner.iter().chain(after).collect())
}

/// Whether the part after `||` only turns the failure into another failure.
fn is_failure(tokens: &[Token]) -> bool {
    let Ok(tokens) = without_subshell(tokens) else { return false };
    let words: Option<Vec<&str>> = tokens
        .into_iter()
        .map(|token| match token {
            Token::Word(word) => Some(word.as_str()),
            _ => None,
        })
        .collect();
    match words.as_deref() {
        Some(["false" | "exit"]) => true,
        Some(["exit", status]) => status.parse::<u8>().is_ok_and(|status| status != 0),
        _ => false,
    }
}

struct Lexer<'a> {
    rest: &'a str,
    surroundings: &'a Surroundings<'a>,
}

impl Lexer<'_> {
    fn run(mut self) -> Result<Vec<Token>, String> {
        let mut tokens = Vec::new();
        loop {
            self.blanks();
            let Some(next) = self.rest.chars().next() else { return Ok(tokens) };
            let token = match next {
                '|' if self.take("||") => Token::Or,
                '|' => return Err("its output goes through a pipe".to_owned()),
                '&' if self.take("&&") => return Err("it is more than one command".to_owned()),
                '&' if self.take("&>") => self.redirect(false)?,
                '&' => return Err("an unquoted `&` puts it in the background".to_owned()),
                ';' | '\n' => return Err("it is more than one command".to_owned()),
                '#' => return Err("it contains a comment".to_owned()),
                '(' if self.take("(") => Token::Open,
                ')' if self.take(")") => Token::Close,
                _ => self.redirect_or_word()?,
            };
            tokens.push(token);
        }
    }

    fn take(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let next = chars.next();
        self.rest = chars.as_str();
        next
    }

    fn blanks(&mut self) {
        while self.take(" ") || self.take("\t") || self.take("\\\n") {}
    }

    fn redirect_or_word(&mut self) -> Result<Token, String> {
        let before = self.rest;
        self.rest = self.rest.trim_start_matches(|c: char| c.is_ascii_digit());
        let reads = match () {
            () if self.take("<<") => return Err("it uses a here document".to_owned()),
            () if self.take("<>") => true,
            () if self.take(">>") || self.take(">") => false,
            () if self.take("<") => true,
            () => {
                self.rest = before;
                return self.word().map(Token::Word);
            }
        };
        self.redirect(reads)
    }

    fn redirect(&mut self, reads: bool) -> Result<Token, String> {
        let copy = self.take("&");
        self.blanks();
        let word = self.word()?;
        if word.is_empty() {
            return Err("a redirection has no target".to_owned());
        }
        let target = if copy { format!("&{word}") } else { word };
        Ok(Token::Redirect { reads, target })
    }

    fn word(&mut self) -> Result<String, String> {
        let mut word = String::new();
        while let Some(next) = self.rest.chars().next() {
            match next {
                ' ' | '\t' | '\n' | '|' | '&' | ';' | '<' | '>' | '(' | ')' => break,
                '\'' => word.push_str(self.single_quoted()?),
                '"' => self.double_quoted(&mut word)?,
                '\\' => {
                    self.next();
                    match self.next() {
                        Some('\n') => {}
                        Some(escaped) => word.push(escaped),
                        None => return Err("it ends in a backslash".to_owned()),
                    }
                }
                '$' | '`' => {
                    let value = self.expansion()?;
                    if value.is_empty() || value.contains(|c: char| c.is_whitespace() || "*?[".contains(c)) {
                        return Err("an unquoted variable is split by the shell".to_owned());
                    }
                    word.push_str(&value);
                }
                other => {
                    word.push(other);
                    self.next();
                }
            }
        }
        Ok(word)
    }

    fn single_quoted(&mut self) -> Result<&str, String> {
        self.next();
        let (text, rest) = self.rest.split_once('\'').ok_or("a quote is not closed")?;
        self.rest = rest;
        Ok(text)
    }

    fn double_quoted(&mut self, word: &mut String) -> Result<(), String> {
        self.next();
        loop {
            match self.rest.chars().next() {
                None => return Err("a quote is not closed".to_owned()),
                Some('"') => {
                    self.next();
                    return Ok(());
                }
                Some('\\') => {
                    self.next();
                    match self.next() {
                        Some('\n') => {}
                        Some(escaped @ ('$' | '`' | '"' | '\\')) => word.push(escaped),
                        Some(other) => word.extend(['\\', other]),
                        None => return Err("a quote is not closed".to_owned()),
                    }
                }
                Some('$' | '`') => word.push_str(&self.expansion()?),
                Some(other) => {
                    word.push(other);
                    self.next();
                }
            }
        }
    }

    /// `$NAME`, `${NAME}`, `${NAME:-default}`, `${NAME-default}`, and the one command that is known: `hostname`.
    fn expansion(&mut self) -> Result<String, String> {
        if self.take("$(hostname)") || self.take("`hostname`") {
            return Ok("localhost".to_owned());
        }
        if self.rest.starts_with('`') || self.rest.starts_with("$(") {
            return Err("it uses the output of another command".to_owned());
        }
        self.next();
        if self.take("{") {
            let (inner, rest) = self.rest.split_once('}').ok_or("a variable is not closed")?;
            self.rest = rest;
            return self.braced(inner);
        }
        let end = self.rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let (name, rest) = self.rest.split_at_checked(end.unwrap_or(self.rest.len())).unwrap_or_default();
        self.rest = rest;
        self.known(name).ok_or_else(|| format!("the variable {name:?} is not set here"))
    }

    fn braced(&self, inner: &str) -> Result<String, String> {
        let end = inner.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(inner.len());
        let (name, operator) = inner.split_at_checked(end).unwrap_or_default();
        let plain = |text: &str| !text.contains(['$', '`', '"', '\'', '\\']);
        let value = self.known(name);
        match operator
            .strip_prefix(":-")
            .map(|word| (true, word))
            .or(operator.strip_prefix('-').map(|w| (false, w)))
        {
            None if operator.is_empty() => {
                value.ok_or_else(|| format!("the variable {name:?} is not set here"))
            }
            // A variable that the files do not set may still be set by the image; its default is the best guess, and
            // what the author wrote for exactly this case.
            Some((empty_too, word)) if plain(word) => {
                Ok(value.filter(|value| !(empty_too && value.is_empty())).unwrap_or_else(|| word.to_owned()))
            }
            _ => Err(format!("the expansion ${{{inner}}} is not understood")),
        }
    }

    fn known(&self, name: &str) -> Option<String> {
        match self.surroundings.environment.get(name) {
            Some(value) => Some(value.clone()),
            None if name == "HOSTNAME" => Some("localhost".to_owned()),
            None => None,
        }
    }
}
