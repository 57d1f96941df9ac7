//! Colour: few, each with one meaning.

use std::fmt::Display;

/// What a colour says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// Well.
    Good,
    /// Needs a look.
    Warn,
    /// Wrong.
    Bad,
    /// Beside the point.
    Dim,
    /// The point.
    Bold,
    /// An address or a command to type.
    Link,
    /// The nth service's own colour.
    Nth(usize),
}

/// Whether to paint at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Paint(pub(crate) bool);

/// The 256-colour numbers given to services in turn: readable on dark and on light ground.
const SERVICE_COLORS: [u8; 10] = [37, 136, 33, 168, 71, 135, 173, 67, 108, 141];

impl Paint {
    /// The text in the style.
    pub(crate) fn on(self, style: Style, text: impl Display) -> String {
        if !self.0 {
            return text.to_string();
        }
        match style {
            Style::Good => format!("\x1b[32m{text}\x1b[0m"),
            Style::Warn => format!("\x1b[33m{text}\x1b[0m"),
            Style::Bad => format!("\x1b[31m{text}\x1b[0m"),
            Style::Dim => format!("\x1b[2m{text}\x1b[0m"),
            Style::Bold => format!("\x1b[1m{text}\x1b[0m"),
            Style::Link => format!("\x1b[36m{text}\x1b[0m"),
            Style::Nth(n) => {
                let color = SERVICE_COLORS.get(n % SERVICE_COLORS.len()).copied().unwrap_or(37);
                format!("\x1b[38;5;{color}m{text}\x1b[0m")
            }
        }
    }
}
