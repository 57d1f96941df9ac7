//! `tutti trust`: has the programs of this machine trust the development authority, or no longer.

use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::Context as _;
use clap::Subcommand;
use serde::Serialize;
use tutti_trust::dev::stores::{Machine, Outcome, stores};
use tutti_trust::dev::{Authority, default_folder};

use super::Context;
use crate::exit;
use crate::term::Style;

/// Have browsers and other programs trust the development certificates of this user.
#[derive(Debug, clap::Args)]
pub(crate) struct Trust {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Have the system and browsers trust the development authority; makes it if there is none
    Install,
    /// Have them trust it no longer; the authority stays
    Uninstall,
    /// Show the authority and who trusts it
    Status,
    /// Print its root certificate in PEM, for programs with a list of their own
    Export {
        /// Write it to a file instead
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

/// One list of trusted authorities, for JSON.
#[derive(Serialize)]
struct Line {
    store: String,
    /// `done`, `already`, `needs`, `failed`; of `status`: `trusted`, `missing`, `unknown`.
    state: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    why: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    commands: Vec<String>,
}

/// What is shown of the authority, for JSON.
#[derive(Serialize)]
struct Shown {
    name: Option<String>,
    root: PathBuf,
    sha256: Option<String>,
    not_after: Option<String>,
    stores: Vec<Line>,
}

impl Trust {
    pub(crate) fn run(&self, context: &Context) -> anyhow::Result<i32> {
        let folder = folder()?;
        let machine = Machine::this();
        let root = folder.join("root.pem");
        match &self.verb {
            Verb::Install => {
                let authority = Authority::open(&folder, SystemTime::now())?;
                let lists = stores(&machine);
                let lines = lists.iter().map(|list| line(&list.name, list.add(&machine, &authority, &root)));
                change(context, lines.collect(), &authority, &root, "trusts")
            }
            Verb::Uninstall => {
                let Some(authority) = Authority::load(&folder)? else {
                    context.say("there is no development authority; nothing can trust it");
                    return Ok(0);
                };
                let lists = stores(&machine);
                let lines = lists.iter().map(|list| line(&list.name, list.remove(&machine, &authority)));
                change(context, lines.collect(), &authority, &root, "does not trust")
            }
            Verb::Status => status(context, &machine, Authority::load(&folder)?, root),
            Verb::Export { output } => {
                let authority = Authority::open(&folder, SystemTime::now())?;
                match output {
                    Some(path) => std::fs::write(path, authority.pem())
                        .with_context(|| format!("cannot write {}", path.display()))?,
                    None => context.out.write(authority.pem()),
                }
                Ok(0)
            }
        }
    }
}

/// Where the authority of this user lies.
pub(crate) fn folder() -> anyhow::Result<PathBuf> {
    default_folder(|name| std::env::var(name).ok()).context(
        "the development authority lies in the user's home, and neither HOME nor XDG_DATA_HOME is set",
    )
}

fn line(store: &str, outcome: Outcome) -> Line {
    let (state, why, commands) = match outcome {
        Outcome::Done => ("done", String::new(), Vec::new()),
        Outcome::Already => ("already", String::new(), Vec::new()),
        Outcome::Needs { why, commands } => ("needs", why, commands),
        Outcome::Failed(why) => ("failed", why, Vec::new()),
    };
    Line { store: store.to_owned(), state, why, commands }
}

/// Shows what was changed; the exit code says whether it all was.
fn change(
    context: &Context,
    lines: Vec<Line>,
    authority: &Authority,
    root: &std::path::Path,
    now: &str,
) -> anyhow::Result<i32> {
    let good = lines.iter().all(|line| matches!(line.state, "done" | "already"));
    let code = if good { 0 } else { exit::FAILED };
    if context.json {
        context.print_json(&shown(Some(authority), root.to_owned(), lines))?;
        return Ok(code);
    }
    let paint = context.out.paint;
    if lines.is_empty() {
        context.out.line("no list of trusted authorities that Tutti knows was found on this machine");
        context.out.line(&format!("give programs the root itself: {}", root.display()));
        return Ok(exit::FAILED);
    }
    for line in &lines {
        match line.state {
            "done" => context.out.line(&format!("{} {} {now} it", paint.on(Style::Good, "ok  "), line.store)),
            "already" => {
                context.out.line(&format!(
                    "{} {} {now} it already",
                    paint.on(Style::Good, "ok  "),
                    line.store
                ));
            }
            _ => {
                context.out.line(&format!("{} {}: {}", paint.on(Style::Bad, "not "), line.store, line.why));
                if !line.commands.is_empty() {
                    context.out.line("     run this yourself:");
                }
                line.commands.iter().for_each(|command| context.out.line(&format!("       {command}")));
            }
        }
    }
    if !good {
        context.say("`tutti explain TUT0702` tells more");
    }
    Ok(code)
}

fn status(
    context: &Context,
    machine: &Machine,
    authority: Option<Authority>,
    root: PathBuf,
) -> anyhow::Result<i32> {
    let Some(authority) = authority else {
        if context.json {
            context.print_json(&shown(None, root, Vec::new()))?;
        } else {
            context.out.line(
                "there is no development authority yet; the first listener with TLS makes it, and so does",
            );
            context.out.line("`tutti trust install`");
        }
        return Ok(0);
    };
    let lines: Vec<Line> = stores(machine)
        .iter()
        .map(|list| {
            let (state, why) = match list.trusts(machine, &authority) {
                Some(true) => ("trusted", ""),
                Some(false) => ("missing", ""),
                None => ("unknown", "`certutil` is not installed"),
            };
            Line { store: list.name.clone(), state, why: why.to_owned(), commands: Vec::new() }
        })
        .collect();
    let shown = shown(Some(&authority), root, lines);
    if context.json {
        context.print_json(&shown)?;
        return Ok(0);
    }
    let paint = context.out.paint;
    context.out.line(&paint.on(Style::Bold, authority.name()));
    context.out.line(&format!("  root     {}", shown.root.display()));
    context.out.line(&format!("  sha-256  {}", authority.fingerprint()));
    context.out.line(&format!("  until    {}", shown.not_after.as_deref().unwrap_or_default()));
    for line in &shown.stores {
        let (mark, style) = match line.state {
            "trusted" => ("trusted", Style::Good),
            "missing" => ("missing", Style::Warn),
            _ => ("unknown", Style::Dim),
        };
        let why = if line.why.is_empty() { String::new() } else { format!(" ({})", line.why) };
        context.out.line(&format!("  {}  {}{why}", paint.on(style, mark), line.store));
    }
    Ok(0)
}

fn shown(authority: Option<&Authority>, root: PathBuf, stores: Vec<Line>) -> Shown {
    Shown {
        name: authority.map(|authority| authority.name().to_owned()),
        root,
        sha256: authority.map(Authority::fingerprint),
        not_after: authority.map(|authority| day(authority.not_after())),
        stores,
    }
}

fn day(at: SystemTime) -> String {
    jiff::Timestamp::try_from(at).map(|at| at.strftime("%Y-%m-%d").to_string()).unwrap_or_default()
}
