//! Descriptions in use. Their files are read again when they change; what cannot be read leaves the one before in force.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, Weak};

use tutti_core::code;
use tutti_ports::routing::{OpenApi, OpenApiMode};

use super::api::Api;
use super::files::{Files, Looked};

/// All descriptions.
#[derive(Default)]
pub struct Documents {
    known: Vec<Weak<Document>>,
    reread: Arc<AtomicU64>,
}

/// A description, and where it comes from.
pub struct Document {
    source: Source,
    state: RwLock<State>,
    reread: Arc<AtomicU64>,
}

/// What a description says, as text: whoever keeps it can put it elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts {
    /// The path of its first file in the project's folder.
    pub first: String,
    /// Its files, by their paths in the project's folder.
    pub files: BTreeMap<String, String>,
}

/// The text of a description as its files are now, if it can be used. May take a while.
pub fn texts(rules: &OpenApi) -> Result<Texts, String> {
    let mut texts = Texts::default();
    let mut show = |inside: &str, text: String| {
        if texts.files.is_empty() {
            texts.first = inside.to_owned();
        }
        texts.files.insert(inside.to_owned(), text);
    };
    let source = Source::of(rules);
    let files = Files::read_and_show(&source.file, &source.folder, &mut Looked::default(), &mut show)?;
    Api::compile(&files, source.base.as_deref(), source.answers)?;
    Ok(texts)
}

#[derive(Clone, PartialEq)]
struct Source {
    file: PathBuf,
    folder: PathBuf,
    base: Option<String>,
    answers: bool,
}

struct State {
    api: Arc<Api>,
    looked: Looked,
}

impl Documents {
    /// A description, which is read if nobody has it yet.
    pub fn get(&mut self, rules: &OpenApi) -> Result<Arc<Document>, String> {
        let source = Source::of(rules);
        self.known.retain(|one| one.strong_count() > 0);
        if let Some(known) = self.known.iter().filter_map(Weak::upgrade).find(|one| one.source == source) {
            return Ok(known);
        }
        let mut looked = Looked::default();
        let api = source.read(&mut looked)?;
        let (state, reread) = (State { api: Arc::new(api), looked }, Arc::clone(&self.reread));
        let document = Arc::new(Document { source, state: RwLock::new(state), reread });
        self.known.push(Arc::downgrade(&document));
        Ok(document)
    }

    /// How often one of them was read again and is another one since.
    pub fn reread(&self) -> u64 {
        self.reread.load(Ordering::Relaxed)
    }

    /// Those that somebody has.
    pub fn all(&self) -> Vec<Arc<Document>> {
        self.known.iter().filter_map(Weak::upgrade).collect()
    }
}

impl Document {
    /// What is in force now.
    pub fn api(&self) -> Arc<Api> {
        Arc::clone(&self.state.read().unwrap_or_else(PoisonError::into_inner).api)
    }

    /// Looks at the files, and reads them if one has changed. May take a while.
    pub fn refresh(&self) {
        if !self.state.read().unwrap_or_else(PoisonError::into_inner).looked.has_changed() {
            return;
        }
        let mut looked = Looked::default();
        let read = self.source.read(&mut looked);
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.looked = looked;
        let file = self.source.file.display();
        match read {
            Ok(api) => {
                state.api = Arc::new(api);
                self.reread.fetch_add(1, Ordering::Relaxed);
                tracing::info!(%file, "a description was read again: its files have changed");
            }
            Err(why) => tracing::warn!(
                code = %code::OPENAPI_FILE, %file, why,
                "a changed description cannot be used; the one before stays in force"
            ),
        }
    }
}

impl Source {
    fn of(rules: &OpenApi) -> Self {
        Self {
            file: rules.file.clone(),
            folder: rules.folder.clone(),
            base: rules.base_path.clone(),
            answers: rules.responses != OpenApiMode::Off,
        }
    }

    fn read(&self, looked: &mut Looked) -> Result<Api, String> {
        let files = Files::read(&self.file, &self.folder, looked)?;
        let api = Api::compile(&files, self.base.as_deref(), self.answers)?;
        for pattern in &api.unchecked {
            tracing::warn!(
                file = %self.file.display(), pattern,
                "a regular expression of a description is not checked: it cannot be matched in linear time"
            );
        }
        Ok(api)
    }
}
