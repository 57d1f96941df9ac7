//! The dependency graph, reduced to what the rules ask of it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use cargo_metadata::{DependencyKind, MetadataCommand};

use crate::shell;

/// A package of the workspace.
#[derive(Clone, Debug, Default)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Its manifest, below the root.
    pub manifest: String,
    /// What it depends on directly.
    pub dependencies: Vec<Dependency>,
}

/// A direct dependency.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dependency {
    /// The package's name.
    pub name: String,
    /// Only for tests.
    pub dev: bool,
    /// A package of this workspace.
    pub ours: bool,
}

/// A package from outside, somewhere in the tree.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Outside {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its licence expression, as it states it.
    pub licence: String,
}

/// The graph.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// The workspace.
    pub members: Vec<Member>,
    /// Everything from outside that is compiled for any platform.
    pub outside: BTreeSet<Outside>,
}

impl Graph {
    /// As cargo resolves it.
    pub fn of_repository() -> Result<Self> {
        let root = shell::root();
        let metadata = MetadataCommand::new().current_dir(&root).exec().context("cargo metadata failed")?;
        let ours: BTreeSet<_> = metadata.workspace_members.iter().collect();
        let packages: BTreeMap<_, _> =
            metadata.packages.iter().map(|package| (&package.id, package)).collect();
        let member = |package: &&cargo_metadata::Package| Member {
            name: package.name.to_string(),
            manifest: package
                .manifest_path
                .strip_prefix(&root)
                .map_or_else(|_| package.manifest_path.to_string(), ToString::to_string),
            dependencies: package
                .dependencies
                .iter()
                .map(|dependency| Dependency {
                    name: dependency.name.clone(),
                    dev: dependency.kind == DependencyKind::Development,
                    ours: dependency.path.is_some(),
                })
                .collect(),
        };
        let members = packages.values().filter(|package| ours.contains(&package.id)).map(member).collect();
        // The resolved nodes, not all packages: an optional dependency that is off is not in the tree. Cargo resolves one
        // also where only a feature of it is named (`ring?/alloc`), so the tree is walked from our own packages.
        let resolved = metadata.resolve.as_ref().context("cargo metadata resolved nothing")?;
        let nodes: BTreeMap<_, _> = resolved.nodes.iter().map(|node| (&node.id, node)).collect();
        let mut reached: BTreeSet<_> = ours.clone();
        let mut next: Vec<_> = ours.iter().copied().collect();
        while let Some(id) = next.pop() {
            let (Some(node), Some(package)) = (nodes.get(id), packages.get(id)) else { continue };
            for dependency in &node.deps {
                let name = packages.get(&dependency.pkg).map_or("", |package| package.name.as_str());
                if is_on(package, name, &node.features) && reached.insert(&dependency.pkg) {
                    next.push(&dependency.pkg);
                }
            }
        }
        let outside = reached
            .iter()
            .filter(|id| !ours.contains(*id))
            .filter_map(|id| packages.get(id))
            .map(|package| Outside {
                name: package.name.to_string(),
                version: package.version.to_string(),
                licence: package.license.clone().unwrap_or_default(),
            })
            .collect();
        Ok(Self { members, outside })
    }
}

/// Whether a dependency is not optional, or one of the features that are on turns it on.
fn is_on<F: AsRef<str>>(package: &cargo_metadata::Package, name: &str, features: &[F]) -> bool {
    // Nothing of ours is compiled for a browser.
    let browsers = |one: &cargo_metadata::Dependency| {
        one.target.as_ref().is_some_and(|platform| platform.to_string().contains("wasm"))
    };
    let mut declared = package.dependencies.iter().filter(|one| one.name == name && !browsers(one));
    if declared.clone().next().is_none() {
        return false;
    }
    let Some(optional) = declared.clone().find(|one| one.optional) else { return true };
    if declared.any(|one| !one.optional) {
        return true;
    }
    let called = optional.rename.as_deref().unwrap_or(name);
    let turns_on = |word: &String| {
        word.strip_prefix("dep:") == Some(called)
            || word == called
            || word.strip_prefix(called).is_some_and(|rest| rest.starts_with('/'))
    };
    features.iter().any(|feature| {
        feature.as_ref() == called
            || package.features.get(feature.as_ref()).is_some_and(|words| words.iter().any(turns_on))
    })
}
