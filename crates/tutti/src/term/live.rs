//! A block of lines at the bottom of the terminal that is drawn again in place while things happen above it.

use super::Out;

/// The live block. Dropping it leaves the last state on the screen.
#[derive(Debug)]
pub(crate) struct Live<'a> {
    out: &'a Out,
    drawn: usize,
}

impl<'a> Live<'a> {
    /// A block on this output; on one that is not a terminal nothing is ever drawn.
    pub(crate) fn new(out: &'a Out) -> Self {
        Self { out, drawn: 0 }
    }

    /// Draws the block anew. No line may be wider than the terminal: the caller's table cuts them. Lines that the
    /// terminal has no rows for are left out, the first of them.
    pub(crate) fn draw(&mut self, lines: &[String]) {
        if !self.out.live {
            return;
        }
        let room = self.out.rows().saturating_sub(1).max(1);
        let shown = lines.get(lines.len().saturating_sub(room)..).unwrap_or_default();
        let mut text = self.wipe();
        for line in shown {
            text.push_str(line);
            text.push('\n');
        }
        self.drawn = shown.len();
        self.out.write(&text);
    }

    /// Takes the block off the screen.
    pub(crate) fn clear(&mut self) {
        let wipe = self.wipe();
        self.drawn = 0;
        if !wipe.is_empty() {
            self.out.write(&wipe);
        }
    }

    /// Up to the block's first line, and everything below it erased (ECMA-48 CUU, ED).
    fn wipe(&self) -> String {
        match self.drawn {
            0 => String::new(),
            n => format!("\x1b[{n}A\r\x1b[J"),
        }
    }
}
