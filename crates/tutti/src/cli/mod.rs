//! The command line: one file per verb. Compose's verbs and flags keep Compose's meaning.
//!
//! A verb is a struct of its flags with a `run`. What verbs share (which project, which output) is [`Context`].

pub(crate) mod behind;
mod board;
mod completions;
mod config;
mod context;
mod doctor;
mod down;
mod events;
mod exec;
mod explain;
mod kept;
pub(crate) mod logs;
mod operate;
mod plan;
mod ps;
mod restart;
mod run;
mod scale;
mod start;
mod stop;
mod top;
pub(crate) mod trust;
mod up;
mod upgrade;
mod version;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory as _, Parser, Subcommand};

pub(crate) use context::{Context, shown};

use crate::term::ColorChoice;

/// A whole microservice architecture in one program, for services in any language, unmodified.
#[derive(Debug, Parser)]
#[command(name = "tutti", version, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 done · 1 failed · 2 wrong usage · 3 problems in your files · 4 nothing runs here"
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    verb: Option<Verb>,
}

/// Flags that every verb takes. As with Compose, `-f` and `-p` stand before the verb: some verbs have an `-f` of their own.
#[derive(Clone, Debug, Args)]
pub(crate) struct Global {
    /// Compose file; give it several times to merge overrides
    #[arg(short, long = "file", value_name = "FILE")]
    pub(crate) file: Vec<PathBuf>,
    /// The overlay [default: tutti.yaml beside the compose file]
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) overlay: Option<PathBuf>,
    /// Project name
    #[arg(short, long, value_name = "NAME")]
    pub(crate) project_name: Option<String>,
    /// Folder where relative paths begin [default: the first compose file's]
    #[arg(long, value_name = "DIR", global = true)]
    pub(crate) project_directory: Option<PathBuf>,
    /// Enable a profile; may be given several times
    #[arg(long, value_name = "NAME", global = true)]
    pub(crate) profile: Vec<String>,
    /// Environment file [default: .env]
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) env_file: Vec<PathBuf>,
    /// Where Tutti keeps its state [default: .tutti in the project's folder]
    #[arg(long, value_name = "DIR", global = true, env = "TUTTI_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// When to use colour
    #[arg(long, value_name = "WHEN", global = true, default_value = "auto", alias = "ansi")]
    pub(crate) color: ColorChoice,
}

impl Global {
    /// The same flags for this program once more, with paths made absolute.
    pub(crate) fn to_args(&self) -> Vec<OsString> {
        let mut args: Vec<OsString> = Vec::new();
        let mut path = |flag: &str, path: &Path| {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
            args.extend([OsString::from(flag), path.into_os_string()]);
        };
        self.file.iter().for_each(|file| path("--file", file));
        self.env_file.iter().for_each(|file| path("--env-file", file));
        self.overlay.iter().for_each(|file| path("--overlay", file));
        self.project_directory.iter().for_each(|folder| path("--project-directory", folder));
        self.data_dir.iter().for_each(|folder| path("--data-dir", folder));
        self.project_name.iter().for_each(|name| args.extend(["--project-name", name].map(OsString::from)));
        self.profile.iter().for_each(|name| args.extend(["--profile", name].map(OsString::from)));
        args
    }
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Start the application, in dependency order, behind its gateway
    Up(up::Up),
    /// Stop everything
    Down(down::Down),
    /// Show services and instances
    Ps(ps::Ps),
    /// Show what services print
    Logs(logs::Logs),
    /// Replace instances one by one without failing a request
    Restart(restart::Restart),
    /// Stop services; the rest goes on
    Stop(stop::Stop),
    /// Start stopped services
    Start(start::Start),
    /// Set how many instances of a service run
    Scale(scale::Scale),
    /// Run a command beside a running instance
    Exec(exec::Exec),
    /// Run a one-off command in a service's surroundings
    Run(run::Run),
    /// Show what each instance uses
    Top(top::Top),
    /// Check and print the configuration
    Config(config::Config),
    /// Find out why something does not start
    Doctor(doctor::Doctor),
    /// Have this machine trust the development certificates
    Trust(trust::Trust),
    /// Explain an error code, or what became of a request
    Explain(explain::Explain),
    /// Have another version of Tutti take over, without a refused connection or a restarted service
    Upgrade(upgrade::Upgrade),
    /// Print the version
    Version(version::Version),
    /// Print a completion script
    Completions(completions::Completions),
    /// The process behind `up -d`
    #[command(hide = true)]
    Daemon(behind::Daemon),
    /// The process that takes over in an upgrade
    #[command(hide = true)]
    TakeOver(upgrade::TakeOver),
}

impl Cli {
    /// Carries out the verb; the number is the exit code.
    pub(crate) fn run(self) -> anyhow::Result<i32> {
        let mut context = Context::new(self.global);
        let Some(verb) = self.verb else {
            context.out.write(&Self::command().render_help().to_string());
            return Ok(0);
        };
        match verb {
            Verb::Up(verb) => verb.run(&mut context),
            Verb::Down(verb) => verb.run(&context),
            Verb::Ps(verb) => verb.run(&context),
            Verb::Logs(verb) => verb.run(&mut context),
            Verb::Restart(verb) => verb.run(&context),
            Verb::Stop(verb) => verb.run(&context),
            Verb::Start(verb) => verb.run(&context),
            Verb::Scale(verb) => verb.run(&context),
            Verb::Exec(verb) => verb.run(&context),
            Verb::Run(verb) => verb.run(&context),
            Verb::Top(verb) => verb.run(&context),
            Verb::Config(verb) => verb.run(&context),
            Verb::Doctor(verb) => verb.run(&context),
            Verb::Trust(verb) => verb.run(&context),
            Verb::Explain(verb) => verb.run(&context),
            Verb::Version(verb) => verb.run(&context),
            Verb::Completions(verb) => verb.run(&context),
            Verb::Daemon(verb) => verb.run(&context),
            Verb::Upgrade(verb) => verb.run(&context),
            Verb::TakeOver(verb) => verb.run(&context),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_flags_of_all_verbs_fit_together() {
        super::Cli::command().debug_assert();
    }
}
