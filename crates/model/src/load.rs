//! The way from files to an application.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tutti_core::code;
use tutti_ports::routing::Routing;

use crate::app::Application;
use crate::compose::discover::Found;
use crate::compose::environment::Environment;
use crate::compose::files::{Loader, Place};
use crate::compose::schema::{Shape, top::TOP};
use crate::compose::{check, consistency, decode, discover, normalise, notices, paths, project};
use crate::diagnostic::{Problem, Problems, Report};
use crate::origin::{Disk, Origin};
use crate::source::Sources;
use crate::yaml::Node;
use crate::{listens, normal, overlay, routing};

/// What to load. Everything but `folder` may be left empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct LoadOptions {
    /// Where to begin: the working folder. Relative paths of the options begin here.
    pub folder: PathBuf,
    /// Compose files (`-f`); the first is the base. None: `COMPOSE_FILE`, else the nearest folder that has one.
    pub files: Vec<PathBuf>,
    /// The project's folder (`--project-directory`), if it is not that of the first file.
    pub project_folder: Option<PathBuf>,
    /// Files of variables (`--env-file`) in place of `.env`.
    pub env_files: Vec<PathBuf>,
    /// Active profiles (`--profile`), in place of `COMPOSE_PROFILES`.
    pub profiles: Vec<String>,
    /// The project's name (`-p`).
    pub project_name: Option<String>,
    /// The variables of the shell. Nothing is read from this process's own environment.
    pub env: BTreeMap<String, String>,
    /// The overlay; `None`: `tutti.yaml` in the project's folder, if there is one.
    pub overlay: Option<PathBuf>,
    /// Services that were named on the command line: their profiles are active.
    pub services: Vec<String>,
}

/// What was loaded.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The application.
    pub application: Application,
    /// Warnings, and keys that have no effect.
    pub notices: Problems,
    /// The normalised model, in the shape of `docker compose config --format json`.
    pub model: serde_json::Value,
    /// What it was read from.
    pub origin: Origin,
}

/// Reads and checks an application. Every problem that can be found is in the error.
pub fn load(options: &LoadOptions) -> Result<Loaded, Problems> {
    load_from(options, Disk::default())
}

/// The same, from other files than those of the machine.
pub(crate) fn load_from(options: &LoadOptions, disk: Disk) -> Result<Loaded, Problems> {
    let start = std::path::absolute(&options.folder).unwrap_or_else(|_| options.folder.clone());
    let mut loader = Loader::new(Report::new(Sources::of(&start, disk)));
    let Some((found, mut env)) = locate(options, &start, &mut loader) else {
        return Err(loader.report.into_problems());
    };
    let asked = options.project_name.as_deref();
    let name = project::name(asked, &found.files, &found.folder, &env, &mut loader.report);
    let shown = name.as_ref().map_or("", |name| name.as_str()).to_owned();
    env.set("COMPOSE_PROJECT_NAME", &shown);
    let place = Place { folder: &found.folder, env: &env, included: &[] };
    let mut root = loader.model(&found.files, place);
    if loader.budget.is_spent() {
        // What was left out would only be missed further on.
        return Err(loader.report.into_problems());
    }
    check::complete(&root, &Shape::Object(&TOP), "", &mut loader.report);
    version(&mut root, &mut loader);
    let profiles = project::profiles(&options.profiles, &env);
    let disabled = project::apply_profiles(&mut root, &profiles, &options.services, &mut loader);
    normalise::normalise(&mut root, &shown, &env);
    project::service_files(&mut root, &env, &mut loader);
    consistency::consistency(&root, &disabled, &mut loader.report);
    notices::notices(&root, &mut loader.report);
    let services = decode::services(&root, &mut loader.report);
    let known = Known { root: &root, disabled: &disabled, env: &env };
    let Some(name) = name else { return Err(loader.report.into_problems()) };
    let model = normal::print(&root, name.as_str());
    let application =
        Application { name, folder: found.folder, files: Vec::new(), services, routing: Routing::default() };
    let application = finish(application, options, &start, &known, &mut loader);
    if loader.report.failed() {
        return Err(loader.report.into_problems());
    }
    let origin = Origin::new(options, &env.asked(), &loader.report.sources.disk);
    Ok(Loaded { application, notices: loader.report.into_notices(), model, origin })
}

/// The project's folder, found as [`load`] finds it. The files themselves may be broken: only their place counts.
pub fn project_folder(options: &LoadOptions) -> Result<PathBuf, Problems> {
    let start = std::path::absolute(&options.folder).unwrap_or_else(|_| options.folder.clone());
    let mut loader = Loader::new(Report::new(Sources::new(&start)));
    let found = locate(options, &start, &mut loader);
    found.map(|(found, _)| found.folder).ok_or_else(|| loader.report.into_problems())
}

/// Finds the files and the variables. `.env` of the working folder, or of the first file that was named, comes first,
/// because it may say which files are meant (`COMPOSE_FILE`); that of the project's folder, if it is another one, lies below it.
fn locate(options: &LoadOptions, start: &Path, loader: &mut Loader) -> Option<(Found, Environment)> {
    let mut env = Environment::new(options.env.clone());
    let folder = options.project_folder.as_ref().map(|folder| paths::clean(&start.join(folder)));
    let named: Vec<PathBuf> = options.env_files.iter().map(|file| paths::clean(&start.join(file))).collect();
    let off = matches!(env.get("COMPOSE_DISABLE_ENV_FILE"), Some("1" | "t" | "T" | "true" | "TRUE" | "True"));
    let of_file = || paths::clean(&start.join(options.files.first()?)).parent().map(Path::to_owned);
    let near = folder.clone().or_else(of_file).unwrap_or_else(|| start.to_owned());
    let first = if named.is_empty() { vec![near.join(".env")] } else { named.clone() };
    let disk = loader.report.sources.disk.clone();
    let default = |path: &PathBuf| !off && disk.is_file(path);
    read_env(first.into_iter().filter(|path| !named.is_empty() || default(path)), &mut env, loader);
    let found = discover::discover(start, folder.as_deref(), &options.files, &env, &mut loader.report)?;
    if named.is_empty() && found.folder != near {
        read_env(Some(found.folder.join(".env")).into_iter().filter(default), &mut env, loader);
    }
    Some((found, env))
}

fn read_env(files: impl Iterator<Item = PathBuf>, env: &mut Environment, loader: &mut Loader) {
    let files: Vec<_> = files.map(|file| (file, None)).collect();
    let vars = loader.env_files(&files, env);
    env.add_missing(vars);
}

/// What is known from the compose files when the overlay is read.
struct Known<'a> {
    root: &'a Node,
    disabled: &'a [String],
    env: &'a Environment,
}

/// Lays the overlay over the application, and adds what depends on both: peers and listeners.
fn finish(
    mut application: Application,
    options: &LoadOptions,
    start: &Path,
    known: &Known<'_>,
    loader: &mut Loader,
) -> Application {
    let (sound, whole) = (!loader.report.failed(), !loader.report.is_partial());
    let disk = &loader.report.sources.disk;
    let overlay = match &options.overlay {
        Some(path) => Some(paths::clean(&start.join(path))),
        None => {
            overlay::NAMES.iter().map(|name| application.folder.join(name)).find(|path| disk.exists(path))
        }
    };
    let overlay = overlay.and_then(|path| overlay::read(&path, known.env, loader));
    let mut uses = overlay::Uses::new();
    if let Some(overlay) = &overlay {
        let (services, folder) = (&mut application.services, &application.folder);
        let known = overlay::Known { disabled: known.disabled, whole, env: known.env };
        uses = overlay::apply(overlay, services, &known, folder, &mut loader.report);
    }
    application.files = std::mem::take(&mut loader.files);
    if !sound {
        // Peers and routes of half an application would only raise false alarms.
        return application;
    }
    let names: Vec<_> = application.services.keys().cloned().collect();
    for (name, peers) in decode::peers(known.root, &names, &uses) {
        if let Some(service) = application.services.get_mut(&name) {
            service.peers = peers;
        }
    }
    listens::complete(&mut application);
    let overlay = overlay.as_ref();
    let gateway = overlay
        .map(|overlay| overlay::gateway(overlay, &application, known.env, &mut loader.report))
        .unwrap_or_default();
    application.routing = routing::routing(&application, gateway, known.root, &mut loader.report);
    if let Some(overlay) = overlay {
        application.routing.observe = overlay::observe(overlay, &application.folder, known.env);
        application.routing.upstreams =
            overlay::upstreams(overlay, &application, known.env, &mut loader.report);
    }
    application
}

/// `version` has no meaning any more.
fn version(root: &mut Node, loader: &mut Loader) {
    if let Some(node) = root.remove("version") {
        let problem =
            Problem::warning(code::DEPRECATED_KEY, "`version` is obsolete and has no effect").at(node.span);
        loader.report.add(problem.hint("remove the line"));
    }
}
