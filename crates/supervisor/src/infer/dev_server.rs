//! Development servers of JavaScript frameworks: they serve from the source, so that no build is needed before, and some of them
//! have to be told their port by a flag.

use tutti_model::app::Command;

use super::{Folder, OWN_PORT, Program, Step, node, show};

/// A development server.
struct Server {
    program: &'static str,
    /// Its first argument; empty: none is needed, and none of `not`.
    verb: &'static str,
    /// First arguments that make it something else.
    not: &'static [&'static str],
    /// It takes `--port` and `--host`, and does not read `PORT`.
    flags: bool,
}

const fn server(program: &'static str, verb: &'static str, flags: bool) -> Server {
    Server { program, verb, not: &["build", "preview", "optimize"], flags }
}

const SERVERS: &[Server] = &[
    server("react-scripts", "start", false),
    server("next", "dev", false),
    server("nuxt", "dev", false),
    server("nuxi", "dev", false),
    server("vue-cli-service", "serve", false),
    server("remix", "dev", false),
    server("parcel", "", false),
    server("nodemon", "", false),
    server("ts-node", "", false),
    server("ts-node-dev", "", false),
    server("tsx", "", false),
    server("nest", "start", false),
    server("vite", "", true),
    server("ng", "serve", true),
    server("astro", "dev", true),
    server("webpack", "serve", true),
    server("webpack-dev-server", "", true),
    server("gatsby", "develop", true),
];

/// Folders that builds write: what runs from there needs the build.
const BUILT: &[&str] = &["dist/", "build/", "out/"];

/// Leaves out the build before a development server, and tells it its port where that takes a flag.
pub(super) fn adapt(folder: &Folder, program: &mut Program, steps: &mut Vec<Step>, notes: &mut Vec<String>) {
    let Program::Command(command) = &*program else { return };
    let Some((line, script)) = line(folder, command) else { return };
    let Some(server) = SERVERS.iter().find(|server| server.is(&line)) else { return };
    let before = steps.len();
    steps.retain(|step| !step.name.ends_with("run build"));
    if steps.len() < before {
        notes.push(format!("`{}` serves from the source: no build before it", server.program));
    }
    if !server.flags || line.contains("--port") || line.contains(" -p ") {
        return;
    }
    let mut flags = vec!["--port", OWN_PORT];
    if !line.contains("--host") {
        // Their own choice, `localhost`, may be the IPv6 one only.
        flags.extend(["--host", "127.0.0.1"]);
    }
    let between = if script == Some("npm") { vec!["--"] } else { Vec::new() };
    let words = between.into_iter().chain(flags);
    let told = match command {
        Command::Args(args) => Command::Args(args.iter().cloned().chain(words.map(str::to_owned)).collect()),
        Command::Shell(line) => Command::Shell(format!("{line} {}", words.collect::<Vec<_>>().join(" "))),
    };
    notes.push(format!("listens where it is told: `{}`", show(&told)));
    *program = Program::Command(told);
}

impl Server {
    fn is(&self, line: &str) -> bool {
        if line.contains(['&', '|', ';']) || BUILT.iter().any(|folder| line.contains(folder)) {
            return false;
        }
        let mut words = line
            .split_whitespace()
            .skip_while(|word| word.contains('=') || matches!(*word, "cross-env" | "npx" | "exec"));
        let program = words.next().and_then(|word| word.rsplit('/').next());
        let verb = words.next().unwrap_or_default();
        program == Some(self.program)
            && if self.verb.is_empty() { !self.not.contains(&verb) } else { verb == self.verb }
    }
}

/// The line that a command comes to: a script of `package.json` with the manager that runs it, or the command itself.
fn line<'c>(folder: &Folder, command: &'c Command) -> Option<(String, Option<&'c str>)> {
    let words: Vec<&str> = match command {
        Command::Args(args) => args.iter().map(String::as_str).collect(),
        Command::Shell(line) => line.split_whitespace().collect(),
    };
    let words = match words.as_slice() {
        ["corepack" | "exec", words @ ..] | words => words,
    };
    let (manager, name) = match words {
        [manager @ "npm", "start"] => (*manager, "start"),
        [manager @ ("npm" | "yarn" | "pnpm"), "run", name] => (*manager, *name),
        [manager @ ("yarn" | "pnpm"), name] => (*manager, *name),
        _ => return Some((words.join(" "), None)),
    };
    let package = node::package(folder)?;
    Some((node::script(&package, name)?.to_owned(), Some(manager)))
}
