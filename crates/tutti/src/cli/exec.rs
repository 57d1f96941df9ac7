//! `tutti exec SERVICE COMMAND`: a command beside a running instance, with its environment, folder and ports.
//!
//! In ports mode an instance is a plain process, so the command is a child of this one: it has the terminal, and its
//! exit code is ours.

use std::os::unix::process::ExitStatusExt as _;

use anyhow::Context as _;
use tutti_supervisor::exec::Place;

use super::Context;
use crate::exit;
use crate::query::Query;
use crate::term::Style;

/// Run a command beside a running instance.
#[derive(Debug, clap::Args)]
pub(crate) struct Exec {
    /// The service, or one instance such as web-2
    service: String,
    /// The command
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
    /// The instance of this number
    #[arg(long, value_name = "N")]
    index: Option<u32>,
    /// Taken as Compose takes it: the command has this terminal if there is one
    #[arg(short = 'T', long = "no-tty", alias = "no-TTY", hide = true)]
    no_tty: bool,
    /// Taken as Compose takes it
    #[arg(short, long, hide = true)]
    interactive: bool,
    /// Taken as Compose takes it
    #[arg(short, long, hide = true)]
    tty: bool,
    /// Set or change a variable
    #[arg(short, long, value_name = "KEY=VALUE")]
    env: Vec<String>,
    /// Where to run it
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<std::path::PathBuf>,
}

impl Exec {
    pub(crate) fn run(&self, context: &Context) -> anyhow::Result<i32> {
        let place: Place = context.block_on(async {
            let mut query = Query::default();
            let of = self
                .index
                .map_or_else(|| self.service.clone(), |number| format!("{}-{number}", self.service));
            query.push("of", of);
            Ok(context.client()?.get(&format!("/v1/surroundings?{query}")).await?)
        })?;
        execute(context, &place, &self.command, &self.env, self.workdir.as_deref())
    }
}

/// A command that could not be started ends as in a shell (POSIX, XCU 2.8.2).
fn cannot(
    context: &Context,
    program: &str,
    folder: &std::path::Path,
    error: &std::io::Error,
) -> anyhow::Result<i32> {
    if !folder.is_dir() {
        anyhow::bail!("there is no folder {}", folder.display());
    }
    let found = error.kind() != std::io::ErrorKind::NotFound;
    let why = if found { error.to_string() } else { "there is no such program".to_owned() };
    context
        .err
        .line(&format!("{} cannot run {program:?}: {why}", context.err.paint.on(Style::Bad, "error:")));
    Ok(if found { exit::CANNOT_EXECUTE } else { exit::NO_SUCH_PROGRAM })
}

/// Runs a command in surroundings, with this process's terminal; answers its exit code.
pub(crate) fn execute(
    context: &Context,
    place: &Place,
    command: &[String],
    env: &[String],
    workdir: Option<&std::path::Path>,
) -> anyhow::Result<i32> {
    let mut words = command.iter();
    let program = words.next().context("there is no command to run")?;
    let pairs =
        env.iter().map(|pair| pair.split_once('=').with_context(|| format!("{pair:?} is not KEY=VALUE")));
    let pairs: Vec<(&str, &str)> = pairs.collect::<anyhow::Result<_>>()?;
    let folder = workdir.map_or_else(|| place.dir.clone(), |dir| place.dir.join(dir));
    let status = std::process::Command::new(program)
        .args(words)
        .env_clear()
        .envs(&place.env)
        .envs(pairs)
        .current_dir(&folder)
        .status();
    let status = match status {
        Ok(status) => status,
        Err(error) => return cannot(context, program, &folder, &error),
    };
    Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default()))
}
