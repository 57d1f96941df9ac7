//! The OpenAPI descriptions of routes. The data plane reads them from files in the project's folder; in a start without those files it reads
//! the same texts from a folder below `run/`. They are no secrets.

use std::collections::BTreeMap;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use tutti_ports::routing::{OpenApi, Routing, Serve};
use tutti_store::dir::write_atomic;

/// Where they are put, in the data directory.
const FOLDER: &str = "run/last-good";

/// The texts of descriptions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Described {
    /// The path of a description as routes name it, and in the project's folder.
    first: BTreeMap<PathBuf, String>,
    /// Files by their paths in the project's folder.
    files: BTreeMap<String, String>,
}

/// Whether a route has one.
pub(super) fn any(routing: &Routing) -> bool {
    rules(routing).next().is_some()
}

/// Reads them as they are now.
pub(super) fn read(routing: &Routing) -> anyhow::Result<Described> {
    let mut all = Described::default();
    for rules in rules(routing) {
        if all.first.contains_key(&rules.file) {
            continue;
        }
        let texts = tutti_proxy::texts(rules).map_err(anyhow::Error::msg)?;
        all.first.insert(rules.file.clone(), texts.first);
        all.files.extend(texts.files);
    }
    Ok(all)
}

/// Writes them below the data directory, and has the routes name those.
pub(super) fn place(described: &Described, data: &Path, routing: &mut Routing) -> anyhow::Result<()> {
    let folder = data.join(FOLDER);
    for (inside, text) in &described.files {
        let path = below(&folder, inside)?;
        if std::fs::read(&path).is_ok_and(|there| there == text.as_bytes()) {
            continue;
        }
        let parent = path.parent().unwrap_or(&folder);
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(parent);
        made.with_context(|| format!("cannot make {}", parent.display()))?;
        write_atomic(&path, text.as_bytes())?;
    }
    for rules in rules_mut(routing) {
        // One that was not kept is read where it is.
        if let Some(first) = described.first.get(&rules.file) {
            (rules.file, rules.folder) = (below(&folder, first)?, folder.clone());
        }
    }
    Ok(())
}

fn below(folder: &Path, inside: &str) -> anyhow::Result<PathBuf> {
    let plain = Path::new(inside).components().all(|part| matches!(part, Component::Normal(_)));
    anyhow::ensure!(plain && !inside.is_empty(), "{inside:?} is no path in a folder");
    Ok(folder.join(inside))
}

fn rules(routing: &Routing) -> impl Iterator<Item = &OpenApi> {
    let routes = routing.listeners.iter().filter_map(|listener| match &listener.serve {
        Serve::Http(routes) => Some(routes),
        Serve::Tcp(_) | Serve::Stream(_) => None,
    });
    routes.flatten().filter_map(|route| route.content.openapi.as_ref())
}

fn rules_mut(routing: &mut Routing) -> impl Iterator<Item = &mut OpenApi> {
    let routes = routing.listeners.iter_mut().filter_map(|listener| match &mut listener.serve {
        Serve::Http(routes) => Some(routes),
        Serve::Tcp(_) | Serve::Stream(_) => None,
    });
    // Only where there is one: to look at the rest would make what a plain route does without.
    let described = routes.flatten().filter(|route| route.content.openapi.is_some());
    described.filter_map(|route| Arc::make_mut(route).content.openapi.as_mut())
}
