//! Node.js: `package.json` (npm, Yarn, pnpm by their lock file).

use serde_json::Value;
use tutti_model::app::Command;

use super::{Folder, Inputs, Kind, Program, Step, Tool, Toolbox};

const REMEDY_NODE: &str =
    "install Node.js (https://nodejs.org), or say how to run the service with `run:` in tutti.yaml";
const REMEDY_YARN: &str = "run `corepack enable`, or `npm install -g yarn`";
const REMEDY_PNPM: &str = "run `corepack enable`, or `npm install -g pnpm`";

pub(super) fn detect(folder: &Folder, installed: &Toolbox) -> Option<Kind> {
    let package = package(folder)?;
    let root = workspace(folder);
    let manager = Manager::of(root.as_ref().unwrap_or(folder), installed);
    let mut tools = vec![Tool::new("node", REMEDY_NODE)];
    tools.push(manager.tool());
    let mut steps = Vec::new();
    if has_dependencies(&package) {
        steps.push(match &root {
            Some(root) => manager.install_workspace(root),
            None => manager.install(folder),
        });
    }
    if script(&package, "build").is_some() {
        steps.push(folder.step(&manager.with(&["run", "build"]), folder.everything(), Vec::new()));
    }
    Some(Kind {
        because: "package.json",
        tools,
        steps,
        habit: habit(folder, &package, &manager),
        commands: commands(&package),
        env: Vec::new(),
        path: std::iter::once(folder).chain(&root).map(|at| at.path.join("node_modules/.bin")).collect(),
    })
}

/// Programs that `node_modules/.bin` holds, and the packages that put them there.
const PROGRAMS: &[(&str, &str)] = &[
    ("ng", "@angular/cli"),
    ("nest", "@nestjs/cli"),
    ("vue-cli-service", "@vue/cli-service"),
    ("next", "next"),
    ("nuxt", "nuxt"),
    ("vite", "vite"),
    ("tsx", "tsx"),
    ("ts-node", "ts-node"),
    ("nodemon", "nodemon"),
    ("react-scripts", "react-scripts"),
    ("serve", "serve"),
    ("http-server", "http-server"),
];

/// First words of commands that can be run here: an image may have more, installed for all (`npm install -g`).
fn commands(package: &Value) -> Vec<&'static str> {
    let depends = |name: &str| {
        let kinds = ["dependencies", "devDependencies"];
        kinds.iter().any(|kind| package.get(kind).is_some_and(|list| list.get(name).is_some()))
    };
    let own = PROGRAMS.iter().filter(|(_, package)| depends(package)).map(|(program, _)| *program);
    ["node", "npm", "npx", "yarn", "pnpm"].into_iter().chain(own).collect()
}

/// The folder's `package.json`.
pub(super) fn package(folder: &Folder) -> Option<Value> {
    serde_json::from_str(&folder.read("package.json")?).ok()
}

/// Folders above that are looked at for the root of a workspace.
const WORKSPACE_DEPTH: usize = 4;

/// The root of the workspace (npm, Yarn and pnpm have the same idea of it) that a folder without a lock file belongs to.
fn workspace(folder: &Folder) -> Option<Folder> {
    let locks = ["package-lock.json", "npm-shrinkwrap.json", "yarn.lock", "pnpm-lock.yaml"];
    let locked = |folder: &Folder| locks.iter().any(|lock| folder.has(lock));
    if locked(folder) {
        return None;
    }
    let above =
        folder.path.ancestors().skip(1).take(WORKSPACE_DEPTH).map(|path| Folder { path: path.to_owned() });
    above.into_iter().find(|root| {
        let shared = || package(root).is_some_and(|package| package.get("workspaces").is_some());
        locked(root) && (root.has("pnpm-workspace.yaml") || shared())
    })
}

enum Manager {
    Npm {
        locked: bool,
    },
    /// Yarn as installed.
    Yarn,
    /// Yarn or pnpm by Corepack, which comes with Node.js, because they are not installed themselves.
    Corepack(&'static str),
    /// The Yarn that the repository carries: `yarnPath` of `.yarnrc.yml`, run by node.
    OwnYarn(String),
    Pnpm,
}

impl Manager {
    fn of(folder: &Folder, installed: &Toolbox) -> Self {
        let corepack = |name: &'static str| {
            let only = installed.find(name).is_none() && installed.find("corepack").is_some();
            only.then_some(Manager::Corepack(name))
        };
        if folder.has("pnpm-lock.yaml") {
            corepack("pnpm").unwrap_or(Manager::Pnpm)
        } else if folder.has("yarn.lock") {
            let own = own_yarn(folder).map(Manager::OwnYarn).or_else(|| corepack("yarn"));
            own.unwrap_or(Manager::Yarn)
        } else {
            Manager::Npm { locked: folder.has("package-lock.json") || folder.has("npm-shrinkwrap.json") }
        }
    }

    /// The words that run it.
    fn words(&self) -> Vec<&str> {
        match self {
            Manager::Npm { .. } => vec!["npm"],
            Manager::Yarn => vec!["yarn"],
            Manager::OwnYarn(path) => vec!["node", path],
            Manager::Corepack(name) => vec!["corepack", name],
            Manager::Pnpm => vec!["pnpm"],
        }
    }

    fn with<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        self.words().into_iter().chain(more.iter().copied()).collect()
    }

    fn tool(&self) -> Tool {
        match self {
            Manager::Npm { .. } => Tool::new("npm", REMEDY_NODE),
            Manager::Yarn => Tool::new("yarn", REMEDY_YARN),
            Manager::OwnYarn(_) | Manager::Corepack(_) => Tool::new("node", REMEDY_NODE),
            Manager::Pnpm => Tool::new("pnpm", REMEDY_PNPM),
        }
    }

    fn install(&self, folder: &Folder) -> Step {
        let inputs: Inputs = folder.files(&[
            "package.json",
            "package-lock.json",
            "npm-shrinkwrap.json",
            "yarn.lock",
            "pnpm-lock.yaml",
            ".npmrc",
            ".yarnrc.yml",
        ]);
        let arguments: &[&str] = match self {
            Manager::Npm { locked: true } => &["ci", "--no-audit", "--no-fund"],
            Manager::Npm { locked: false } => &["install", "--no-audit", "--no-fund"],
            Manager::OwnYarn(_) => &["install", "--immutable"],
            Manager::Yarn | Manager::Pnpm | Manager::Corepack(_) => &["install", "--frozen-lockfile"],
        };
        let mut step = folder.step(&self.with(arguments), inputs, vec![folder.path.join("node_modules")]);
        // Corepack would ask before it fetches what `packageManager` names.
        step.env.insert("COREPACK_ENABLE_DOWNLOAD_PROMPT".to_owned(), "0".to_owned());
        step
    }

    /// Several services share the root's packages: `npm ci` would take them away from one that runs already.
    fn install_workspace(&self, root: &Folder) -> Step {
        let mut step = match self {
            Manager::Npm { .. } => Manager::Npm { locked: false }.install(root),
            other => other.install(root),
        };
        step.group = Some("node workspace");
        step
    }
}

fn own_yarn(folder: &Folder) -> Option<String> {
    let settings = folder.read(".yarnrc.yml")?;
    let path =
        settings.lines().find_map(|line| line.strip_prefix("yarnPath:"))?.trim().trim_matches(['"', '\'']);
    folder.has(path).then(|| path.to_owned())
}

fn has_dependencies(package: &Value) -> bool {
    ["dependencies", "devDependencies", "optionalDependencies", "workspaces"]
        .iter()
        .any(|key| package.get(key).is_some_and(|value| value.as_object().is_none_or(|map| !map.is_empty())))
}

pub(super) fn script<'a>(package: &'a Value, name: &str) -> Option<&'a str> {
    package.get("scripts")?.get(name)?.as_str().filter(|line| !line.trim().is_empty())
}

/// `start`, as npm has it: the script, or `node server.js`; else the package's `main`.
fn habit(folder: &Folder, package: &Value, manager: &Manager) -> Option<Program> {
    let args = |words: &[&str]| {
        Some(Program::Command(Command::Args(words.iter().map(|word| (*word).to_owned()).collect())))
    };
    if let Some(line) = script(package, "start") {
        // A plain `node file` needs no npm in between: one process fewer, and signals reach it directly.
        let plain =
            line.starts_with("node ") && !line.contains(['&', '|', ';', '$', '"', '\'', '`', '>', '<', '*']);
        return match plain {
            true => args(&line.split_whitespace().collect::<Vec<_>>()),
            false => args(&manager.with(&["run", "start"])),
        };
    }
    if folder.has("server.js") {
        return args(&["node", "server.js"]);
    }
    let main = package.get("main").and_then(Value::as_str).unwrap_or("index.js");
    if folder.has(main) { args(&["node", main]) } else { None }
}
