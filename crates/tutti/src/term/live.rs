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

    /// Draws the block anew. Lines are cut to the terminal's width by the caller's table.
    pub(crate) fn draw(&mut self, lines: &[String]) {
        if !self.out.live {
            return;
        }
        let mut text = self.wipe();
        for line in lines {
            text.push_str(line);
            text.push('\n');
        }
        self.drawn = lines.len();
        self.out.write(&text);
    }

    /// Writes a line above the block.
    pub(crate) fn above(&mut self, line: &str) {
        let wipe = self.wipe();
        self.drawn = 0;
        self.out.write(&format!("{wipe}{line}\n"));
    }

    /// Takes the block off the screen.
    pub(crate) fn clear(&mut self) {
        let wipe = self.wipe();
        self.drawn = 0;
        if !wipe.is_empty() {
            self.out.write(&wipe);
        }
    }

    fn wipe(&self) -> String {
        match self.drawn {
            0 => String::new(),
            n => format!("\x1b[{n}A\r\x1b[J"),
        }
    }
}
