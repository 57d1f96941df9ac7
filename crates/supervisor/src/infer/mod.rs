//! Finding out how a service is built and run from its own folder.
//!
//! The order of what is believed, first wins:
//! 1. what the overlay says: `run:`, `setup:`;
//! 2. Compose's `entrypoint` and `command`, and the Dockerfile's `ENTRYPOINT` and `CMD`, if the program they name is one of the
//!    folder's own language or lies in the folder;
//! 3. a `Procfile`'s `web:` line;
//! 4. the language's habit: `npm start`, the built jar, the built binary, `main.py`.
//!
//! Nothing is executed here and nothing is written: the result is a [`Plan`] that can be shown (`tutti config print
//! --plan`) before it is carried out, or a [`Cannot`] that says exactly what is missing and what to do.

mod cannot;
mod dev_server;
mod engine;
mod folder;
mod foreign;
mod go;
mod java;
mod node;
mod own_port;
mod program;
mod python;
mod rust;
mod tool;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use tutti_model::app::{Command, Service};
use tutti_model::dockerfile::Dockerfile;

use folder::{Folder, read_bounded};

pub use cannot::Cannot;
pub use own_port::{expand, fill, in_env as own_ports_in_env};
pub use program::{OWN_PORT, Program, show, show_program};
pub use tool::{Tool, Toolbox};

/// How a service is built and run in process mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Build steps, one after the other.
    pub steps: Vec<Step>,
    /// The process.
    pub launch: Launch,
    /// What was inferred and from where, a line each, for `up` and `config print`.
    pub notes: Vec<String>,
}

/// A build step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What is shown: the command in short.
    pub name: String,
    /// The command.
    pub command: Command,
    /// Where it runs.
    pub cwd: PathBuf,
    /// Environment on top of the inherited one.
    pub env: IndexMap<String, String>,
    /// What it depends on: it is skipped while none of these has changed.
    pub inputs: Inputs,
    /// What it makes: it runs again when one of these is not there.
    pub outputs: Vec<PathBuf>,
    /// Steps of one group never run at the same time: their tools share a cache that is not made for it.
    pub group: Option<&'static str>,
}

/// What a step depends on, besides its own command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inputs {
    /// These files; one that does not exist counts as empty.
    Files(Vec<PathBuf>),
    /// Every file of the folder, without what builds leave there (see `setup::hash`).
    Folder(PathBuf),
}

/// The process of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// What is executed.
    pub program: Program,
    /// The working folder.
    pub cwd: PathBuf,
    /// Environment below the service's own: from the Dockerfile's `ENV`, and what the language's tools need.
    /// In values, [`OWN_PORT`] stands for the instance's port.
    pub env: IndexMap<String, String>,
    /// Folders put before `PATH`.
    pub path: Vec<PathBuf>,
    /// The ports that the image would expose (`EXPOSE`), for a service that names none.
    pub exposes: Vec<u16>,
    /// The image's own health check (`HEALTHCHECK`), for a service that has none.
    pub health: Option<tutti_model::app::Healthcheck>,
}

/// Where the results of builds that need a place of their own are kept: one folder for the service in the data directory.
#[derive(Clone, Debug)]
pub struct Workshop {
    /// The folder; made when a step first needs it.
    pub folder: PathBuf,
}

/// A language's answer for a folder.
struct Kind {
    /// The file that gave it away.
    because: &'static str,
    /// What its tools are.
    tools: Vec<Tool>,
    /// Build steps.
    steps: Vec<Step>,
    /// How it is run by habit; `None` when the folder has no habit (a library, no start script).
    habit: Option<Program>,
    /// First words of a command that belong to this language.
    commands: Vec<&'static str>,
    /// Environment for the process.
    env: Vec<(&'static str, String)>,
    /// Folders put before `PATH`.
    path: Vec<PathBuf>,
}

const LOOKED_FOR: &str = "there is no package.json, requirements.txt, pyproject.toml, Cargo.toml, go.mod, pom.xml, build.gradle or Procfile";

/// Finds out how to build and run a service.
pub fn plan(service: &Service, project: &Path, workshop: &Workshop, tools: &Toolbox) -> Result<Plan, Cannot> {
    let folder = Folder::of(service, project)?;
    let build = service.build.as_ref().filter(|_| folder.is_some());
    let dockerfile = build.and_then(Dockerfile::of).unwrap_or_default();
    let said = service.run.is_some() || service.dir.is_some();
    if let Some(engine) = engine::configured(service, &dockerfile).filter(|_| !said) {
        return Err(engine);
    }
    let mut kind = folder.as_ref().and_then(|folder| detect(folder, service, workshop, &dockerfile, tools));
    let mut notes = Vec::new();
    let mut program = choose(service, folder.as_ref(), kind.as_ref(), &dockerfile, &mut notes)?;
    if let (Some(folder), Some(kind)) = (&folder, &mut kind) {
        dev_server::adapt(folder, &mut program, &mut kind.steps, &mut notes);
    }
    let cwd = folder.map_or_else(|| project.to_owned(), |folder| folder.path);
    let steps = steps(service, kind.as_ref(), &cwd, &mut notes);
    require_tools(service, kind.as_ref(), &steps, tools)?;
    let mut env: IndexMap<String, String> = dockerfile.env.clone();
    let mut path = Vec::new();
    if let Some(kind) = kind {
        env.extend(kind.env.into_iter().map(|(key, value)| (key.to_owned(), value)));
        path = kind.path;
    }
    let ports: Vec<u16> =
        service.listens.iter().map(|listen| listen.port).chain(dockerfile.exposes.clone()).collect();
    let program = own_port::in_program(program, &ports, &mut notes);
    own_port::in_env(&mut env, &ports);
    let launch = Launch { program, cwd, env, path, exposes: dockerfile.exposes, health: dockerfile.health };
    Ok(Plan { steps, launch, notes })
}

/// The first language that recognises the folder.
fn detect(
    folder: &Folder,
    service: &Service,
    workshop: &Workshop,
    dockerfile: &Dockerfile,
    tools: &Toolbox,
) -> Option<Kind> {
    node::detect(folder, tools)
        .or_else(|| java::detect(folder, dockerfile))
        .or_else(|| go::detect(folder, service, workshop, dockerfile))
        .or_else(|| rust::detect(folder))
        .or_else(|| python::detect(folder, workshop))
}

/// What is executed, by the order of belief.
fn choose(
    service: &Service,
    folder: Option<&Folder>,
    kind: Option<&Kind>,
    dockerfile: &Dockerfile,
    notes: &mut Vec<String>,
) -> Result<Program, Cannot> {
    if let Some(run) = &service.run {
        return Ok(Program::Command(run.clone()));
    }
    let Some(folder) = folder else {
        return Err(engine::cannot(service));
    };
    if let Some((command, origin)) = container_command(service, dockerfile)
        && let Some(command) = fits(&command, folder, kind, dockerfile)
    {
        notes.push(format!("runs `{}` (from {origin})", show(&command)));
        return Ok(Program::Command(command));
    }
    if let Some(line) = folder.read("Procfile").as_deref().and_then(procfile_web) {
        notes.push(format!("runs `{line}` (from Procfile)"));
        return Ok(Program::Command(Command::Shell(line)));
    }
    if let Some(kind) = kind
        && let Some(habit) = &kind.habit
    {
        notes.push(format!("runs `{}` (from {})", show_program(habit), kind.because));
        return Ok(habit.clone());
    }
    Err(no_idea(service, folder, kind, dockerfile))
}

fn no_idea(service: &Service, folder: &Folder, kind: Option<&Kind>, dockerfile: &Dockerfile) -> Cannot {
    let name = service.name.as_str();
    if kind.is_none()
        && let Some(foreign) = foreign::cannot(name, &folder.path)
    {
        return foreign;
    }
    let mut found = match container_command(service, dockerfile) {
        Some((command, origin)) => {
            format!("{origin} says `{}`, which is no file of the folder, and ", show(&command))
        }
        None => String::new(),
    };
    found += &match kind {
        Some(kind) => format!("{} names no program to start", kind.because),
        None => LOOKED_FOR.to_owned(),
    };
    if let Some(base) = dockerfile.bases.first() {
        found += &format!(" (its image stands on {base})");
    }
    let remedy = format!(
        "say it in tutti.yaml: services: {{ {name}: {{ run: \"…\" }} }}, with dir: \"…\" if the source is in another folder"
    );
    Cannot::NoIdea { service: name.to_owned(), folder: folder.path.clone(), found, remedy }
}

/// What the container would execute: entrypoint then command (Dockerfile reference, "Understand how CMD and ENTRYPOINT
/// interact"), Compose's before the image's.
fn container_command(service: &Service, dockerfile: &Dockerfile) -> Option<(Command, &'static str)> {
    let own = service.entrypoint.is_some() || service.command.is_some();
    let entrypoint = service.entrypoint.clone().or_else(|| dockerfile.entrypoint.clone());
    let command = match (&service.command, &service.entrypoint) {
        (Some(command), _) => Some(command.clone()),
        (None, Some(_)) => None,
        (None, None) => dockerfile.cmd.clone(),
    };
    let origin = if own { "the compose file's command" } else { "the Dockerfile" };
    let joined =
        match (entrypoint.filter(|command| !is_empty(command)), command.filter(|command| !is_empty(command)))
        {
            (Some(Command::Shell(line)), _) => Command::Shell(line),
            (Some(Command::Args(mut args)), Some(Command::Args(more))) => {
                args.extend(more);
                Command::Args(args)
            }
            (Some(Command::Args(mut args)), Some(Command::Shell(line))) => {
                args.extend(["/bin/sh".to_owned(), "-c".to_owned(), line]);
                Command::Args(args)
            }
            (Some(args), None) => args,
            (None, Some(command)) => command,
            (None, None) => return None,
        };
    Some((joined, origin))
}

fn is_empty(command: &Command) -> bool {
    match command {
        Command::Args(args) => args.is_empty(),
        Command::Shell(line) => line.trim().is_empty(),
    }
}

/// The container's command as a process of this machine, if it makes sense here: its program, or each program of its shell
/// line, belongs to the folder's language or is a file of the folder. Paths below the image's `WORKDIR` become paths of the folder.
fn fits(command: &Command, folder: &Folder, kind: Option<&Kind>, dockerfile: &Dockerfile) -> Option<Command> {
    let moved = move_paths(command, &folder.path, dockerfile.workdir.as_deref());
    let moved = kind.map_or(moved.clone(), |kind| by_name(moved, kind));
    if kind.is_some_and(|kind| kind.because == "Cargo.toml") && rust::runs_default(&moved) {
        return None;
    }
    // What the image has at an absolute path was built for it; the language's own build makes the one for here.
    let built =
        kind.is_some_and(|kind| matches!(kind.habit, Some(Program::Built { .. }))) && moved != *command;
    let here = |word: &str| {
        let of_language = kind.is_some_and(|kind| kind.commands.contains(&word));
        let path = folder.path.join(word);
        of_language || (word.contains('/') && path.starts_with(&folder.path) && path.is_file() && !built)
    };
    let fits = match &moved {
        Command::Args(args) => match args.as_slice() {
            [shell, flag, line, ..] if is_shell(shell) && flag.ends_with('c') => line_fits(line, here),
            args => args.first().is_some_and(|first| here(first)),
        },
        Command::Shell(line) => line_fits(line, here),
    };
    fits.then_some(moved)
}

fn is_shell(word: &str) -> bool {
    matches!(word.rsplit('/').next(), Some("sh" | "bash" | "ash" | "dash"))
}

/// Words that a shell knows by itself, and harmless programs that every machine has.
const SHELL_WORDS: &[&str] =
    &["cd", "set", "export", "echo", "sleep", "ulimit", "umask", "mkdir", "true", "wait", "trap"];

/// Whether each command of a shell line can be run here, and one of them is the service's own.
fn line_fits(line: &str, here: impl Fn(&str) -> bool) -> bool {
    let commands = line.split(['&', '|', ';', '\n']).map(str::trim).filter(|command| !command.is_empty());
    let words: Vec<&str> = commands.filter_map(first_word).collect();
    words.iter().any(|word| here(word)) && words.iter().all(|word| here(word) || SHELL_WORDS.contains(word))
}

/// The language's programs by their names instead of where the image has them, such as `/venv/bin/python`, and without
/// the manager in front (`uv run`, `poetry run`): here they are in the folders put before `PATH`.
fn by_name(command: Command, kind: &Kind) -> Command {
    let Command::Args(args) = command else { return command };
    let named = args.into_iter().map(|arg| match arg.rsplit_once("/bin/") {
        Some((folder, name)) if folder.starts_with('/') && kind.commands.contains(&name) => name.to_owned(),
        Some(("", name)) if kind.commands.contains(&name) => name.to_owned(),
        _ => arg,
    });
    let named: Vec<String> = named.collect();
    let words: Vec<&str> = named.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["uv" | "poetry" | "pipenv" | "pdm", "run", rest @ ..]
            if rest.first().is_some_and(|word| !word.starts_with('-')) =>
        {
            Command::Args(rest.iter().map(|word| (*word).to_owned()).collect())
        }
        _ => Command::Args(named),
    }
}

/// The first word of a shell line that is neither `exec` nor an assignment.
fn first_word(line: &str) -> Option<&str> {
    line.split_whitespace().find(|word| *word != "exec" && !word.contains('='))
}

fn move_paths(command: &Command, folder: &Path, workdir: Option<&str>) -> Command {
    let Some(workdir) = workdir.map(|dir| dir.trim_end_matches('/')).filter(|dir| dir.len() > 1) else {
        return command.clone();
    };
    let inside = format!("{workdir}/");
    let to = format!("{}/", folder.display());
    match command {
        Command::Args(args) => Command::Args(
            args.iter()
                .map(|arg| match arg.strip_prefix(&inside) {
                    Some(rest) => format!("{to}{rest}"),
                    None => arg.clone(),
                })
                .collect(),
        ),
        Command::Shell(line) => Command::Shell(line.replace(&format!(" {inside}"), &format!(" {to}"))),
    }
}

fn procfile_web(text: &str) -> Option<String> {
    let line = text.lines().find_map(|line| line.strip_prefix("web:"))?.trim();
    (!line.is_empty()).then(|| line.to_owned())
}

/// The build steps: the overlay's, or the language's.
fn steps(service: &Service, kind: Option<&Kind>, cwd: &Path, notes: &mut Vec<String>) -> Vec<Step> {
    if let Some(setup) = &service.setup {
        return setup.iter().map(|command| overlay_step(command, cwd)).collect();
    }
    let Some(kind) = kind else {
        return Vec::new();
    };
    for step in &kind.steps {
        notes.push(format!("builds with `{}` (from {})", step.name, kind.because));
    }
    kind.steps.clone()
}

fn overlay_step(command: &Command, cwd: &Path) -> Step {
    Step {
        name: show(command),
        command: command.clone(),
        cwd: cwd.to_owned(),
        env: IndexMap::new(),
        inputs: Inputs::Folder(cwd.to_owned()),
        outputs: Vec::new(),
        group: None,
    }
}

/// The language's tools must be there, unless the overlay says both how to build and how to run.
fn require_tools(
    service: &Service,
    kind: Option<&Kind>,
    steps: &[Step],
    tools: &Toolbox,
) -> Result<(), Cannot> {
    let overridden = service.run.is_some() && (service.setup.is_some() || steps.is_empty());
    let Some(kind) = kind.filter(|_| !overridden) else {
        return Ok(());
    };
    match kind.tools.iter().find(|tool| !tools.has(tool)) {
        None => Ok(()),
        Some(tool) => Err(Cannot::Toolchain {
            service: service.name.to_string(),
            tool: tool.name.clone(),
            why: format!("it has a {}", kind.because),
            remedy: tool.remedy.to_owned(),
        }),
    }
}
