//! What is made of files, and made anew when they change. What cannot be used is left: what was made before stays in force, is told of
//! once for each change, and nothing else happens.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arc_swap::{ArcSwap, Guard};
use tutti_core::code;

use crate::metrics::Metrics;
use crate::transport::files::{Stamp, stamps_of};

/// What something is made of.
pub trait Source: PartialEq + Send + Sync + 'static {
    /// What comes of it.
    type Made: Send + Sync + 'static;
    /// What it is called in metrics.
    const KIND: &'static str;

    /// The files.
    fn paths(&self) -> Vec<&PathBuf>;

    /// Reads them. The error is a sentence that names the file.
    fn make(&self) -> Result<Self::Made, String>;
}

/// Something made of files.
pub struct Watched<S: Source> {
    source: S,
    current: ArcSwap<S::Made>,
    looked: Mutex<Looked>,
}

/// The files as they were when they were last looked at, and whether they could be used.
struct Looked {
    stamps: Vec<Stamp>,
    good: bool,
}

impl<S: Source> Watched<S> {
    fn new(source: S) -> Result<Self, String> {
        // Looked at before they are read: what changes in between is read once more.
        let stamps = stamps_of(source.paths());
        let current = ArcSwap::from_pointee(source.make()?);
        Ok(Self { source, current, looked: Mutex::new(Looked { stamps, good: true }) })
    }

    /// What is in force, for a moment.
    pub fn current(&self) -> Guard<Arc<S::Made>> {
        self.current.load()
    }

    /// The same for longer.
    pub fn kept(&self) -> Arc<S::Made> {
        self.current.load_full()
    }

    /// Reads the files if they have changed since they were looked at, or also if they could not be used then. `None`: there was no need.
    fn renew(&self, also_bad: bool) -> Option<Result<(), String>> {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = stamps_of(self.source.paths());
        if looked.stamps == stamps && (looked.good || !also_bad) {
            return None;
        }
        let made = self.source.make();
        *looked = Looked { stamps, good: made.is_ok() };
        Some(made.map(|made| self.current.store(Arc::new(made))))
    }
}

/// All that is made of files of one kind, as long as somebody has it.
pub struct Shelf<S: Source>(Vec<Weak<Watched<S>>>);

impl<S: Source> Default for Shelf<S> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<S: Source> Shelf<S> {
    /// What comes of a source: that which somebody has already, as the files are now. An error leaves what was there.
    pub fn get(&mut self, source: S) -> Result<Arc<Watched<S>>, String> {
        self.0.retain(|one| one.strong_count() > 0);
        if let Some(known) = self.0.iter().filter_map(Weak::upgrade).find(|one| one.source == source) {
            known.renew(true).transpose()?;
            return Ok(known);
        }
        let made = Arc::new(Watched::new(source)?);
        if !made.source.paths().is_empty() {
            self.0.push(Arc::downgrade(&made));
        }
        Ok(made)
    }

    /// Looks at the files, and reads those that have changed.
    pub fn refresh(&self, metrics: &Metrics) {
        for one in self.0.iter().filter_map(Weak::upgrade) {
            if let Some(renewed) = one.renew(false) {
                tell(S::KIND, &one.source.paths(), renewed, metrics);
            }
        }
    }
}

/// Tells that files were read again, and whether they could be used.
pub fn tell(kind: &'static str, files: &[&PathBuf], renewed: Result<(), String>, metrics: &Metrics) {
    metrics.reread(kind, renewed.is_ok());
    match renewed {
        Ok(()) => tracing::info!(kind, ?files, "files were read again: they have changed"),
        Err(why) => tracing::warn!(
            code = %code::CREDENTIAL_FILES, kind, why,
            "changed files cannot be used; what they held before stays in force"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(PartialEq)]
    struct Number(PathBuf);

    impl Source for Number {
        type Made = u32;
        const KIND: &'static str = "numbers";

        fn paths(&self) -> Vec<&PathBuf> {
            vec![&self.0]
        }

        fn make(&self) -> Result<u32, String> {
            let text = std::fs::read_to_string(&self.0).map_err(|error| error.to_string())?;
            text.trim().parse().map_err(|_| "no number".to_owned())
        }
    }

    #[test]
    fn good_files_are_taken_and_bad_ones_are_left() {
        let (dir, metrics) = (tempfile::tempdir().unwrap(), Metrics::default());
        let path = dir.path().join("n");
        let write = |text: &str| {
            let fresh = dir.path().join("fresh");
            std::fs::write(&fresh, text).unwrap();
            std::fs::rename(fresh, &path).unwrap();
        };
        let mut shelf = Shelf::default();
        assert!(shelf.get(Number(path.clone())).is_err());
        write("1");
        let one = shelf.get(Number(path.clone())).unwrap();
        let seen = |shelf: &Shelf<Number>| {
            shelf.refresh(&metrics);
            **one.current()
        };
        assert_eq!(seen(&shelf), 1);
        write("22");
        assert_eq!(seen(&shelf), 22);
        write("nonsense");
        assert_eq!(seen(&shelf), 22);
        // Whoever asks for it now is told, and nothing is lost.
        assert!(shelf.get(Number(path.clone())).is_err_and(|why| why == "no number"));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(seen(&shelf), 22);
        write("3");
        assert_eq!(seen(&shelf), 3);
        assert!(Arc::ptr_eq(&one, &shelf.get(Number(path.clone())).unwrap()));
        // What nobody has any more is not looked at.
        drop(one);
        shelf.refresh(&metrics);
        assert!(shelf.get(Number(path.clone())).is_ok() && shelf.0.len() == 1);
    }
}
