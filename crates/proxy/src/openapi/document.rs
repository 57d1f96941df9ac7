//! Descriptions in use. Their files are read again when they change; what cannot be read leaves the one before in force.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock, Weak};

use tutti_core::code;
use tutti_ports::routing::{OpenApi, OpenApiMode};

use super::api::Api;
use super::files::{Files, Looked};

/// All descriptions.
#[derive(Default)]
pub struct Documents {
    known: Vec<Weak<Document>>,
}

/// A description, and where it comes from.
pub struct Document {
    source: Source,
    state: RwLock<State>,
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
        let source = Source {
            file: rules.file.clone(),
            folder: rules.folder.clone(),
            base: rules.base_path.clone(),
            answers: rules.responses != OpenApiMode::Off,
        };
        self.known.retain(|one| one.strong_count() > 0);
        if let Some(known) = self.known.iter().filter_map(Weak::upgrade).find(|one| one.source == source) {
            return Ok(known);
        }
        let mut looked = Looked::default();
        let api = source.read(&mut looked)?;
        let document =
            Arc::new(Document { source, state: RwLock::new(State { api: Arc::new(api), looked }) });
        self.known.push(Arc::downgrade(&document));
        Ok(document)
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
