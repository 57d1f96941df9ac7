//! Health checks that call `curl`, `wget`, `nc` or `grpc_health_probe`, understood as native probes.
//!
//! A compose file's check runs inside a container, where `localhost:8080` is the service and the tool is in the image.
//! In process mode neither holds; and starting a process every few seconds for each instance costs more than the
//! question. So a command that is *equal in meaning* to a probe becomes that probe, and everything else stays a
//! command, with the reason why, for the notice. When in doubt, it stays.
//!
//! Differences that are accepted, because the health of the service does not depend on them:
//! - A redirect passes; `wget` and `curl -L` would go on to its target.
//! - HEAD (`curl -I`, `wget --spider`) becomes GET.
//! - 429 Too Many Requests warns, where `curl -f` fails.
//! - `wget` without `-O` does not leave a file behind.

mod client;
mod shell;
#[cfg(test)]
mod tests;

use std::time::Duration;

use indexmap::IndexMap;

use crate::app::{Command, Healthcheck, Test};

/// What a check may refer to.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// The service's environment.
    pub environment: &'a IndexMap<String, String>,
    /// The names by which the service may call itself: its own, its `container_name`, `hostname`, aliases.
    pub names: &'a [&'a str],
}

/// What became of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Native {
    /// It was no command.
    AsIs,
    /// A probe of the same meaning.
    Probe {
        /// The probe.
        test: Test,
        /// The command's own limit in time, if it is to be kept beside the check's `timeout`.
        limit: Option<Duration>,
    },
    /// It stays a command.
    Command {
        /// Why, as the end of a sentence that begins "it stays a command: ".
        why: String,
    },
}

/// Understands a check, if it can be.
pub fn native(test: &Test, surroundings: &Surroundings<'_>) -> Native {
    let Test::Command(command) = test else { return Native::AsIs };
    match understand(command, surroundings) {
        Ok((test, limit)) => Native::Probe { test, limit },
        Err(why) => Native::Command { why },
    }
}

/// Replaces a command that is understood by its probe. Gives the reason if it stays a command.
pub fn make_native(check: &mut Healthcheck, surroundings: &Surroundings<'_>) -> Option<String> {
    match native(&check.test, surroundings) {
        Native::AsIs => None,
        Native::Probe { test, limit } => {
            check.test = test;
            check.timeout = limit.map_or(check.timeout, |limit| limit.min(check.timeout));
            None
        }
        Native::Command { why } => Some(why),
    }
}

type Understood = (Test, Option<Duration>);

fn understand(command: &Command, surroundings: &Surroundings<'_>) -> Result<Understood, String> {
    match command {
        Command::Shell(line) => understand_line(line, surroundings),
        Command::Args(args) => understand_words(args, &[], surroundings),
    }
}

fn understand_line(line: &str, surroundings: &Surroundings<'_>) -> Result<Understood, String> {
    let line = shell::parse(line, surroundings)?;
    understand_words(&line.words, &line.redirects, surroundings)
}

fn understand_words(
    words: &[String],
    redirects: &[(bool, String)],
    surroundings: &Surroundings<'_>,
) -> Result<Understood, String> {
    if let Some(understood) = bash_socket(words, redirects, surroundings) {
        return understood;
    }
    let harmless = |(reads, target): &(bool, String)| {
        target == "/dev/null"
            || (!reads && matches!(target.as_str(), "&1" | "&2" | "/dev/stdout" | "/dev/stderr"))
    };
    if let Some((_, target)) = redirects.iter().find(|redirect| !harmless(redirect)) {
        return Err(format!("it is redirected to or from {target}"));
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let Some((program, args)) = words.split_first() else { return Err("it is empty".to_owned()) };
    match (program.rsplit('/').next().unwrap_or(program), args) {
        ("curl", args) => client::curl(args, surroundings),
        ("wget", args) | ("busybox", ["wget", args @ ..]) => client::wget(args, surroundings),
        ("nc" | "ncat" | "netcat", args) | ("busybox", ["nc", args @ ..]) => client::nc(args, surroundings),
        ("grpc_health_probe" | "grpc-health-probe", args) => client::grpc_health_probe(args, surroundings),
        ("sh" | "bash" | "ash" | "dash", ["-c" | "-ec" | "-lc", line]) => understand_line(line, surroundings),
        ("exec", [_, ..]) => understand_words(&owned(args), &[], surroundings),
        ("timeout", [limit, rest @ ..]) if !rest.is_empty() => {
            let limit =
                client::duration(limit).ok_or_else(|| format!("timeout {limit} is not understood"))?;
            let (test, own) = understand_words(&owned(rest), &[], surroundings)?;
            Ok((test, Some(own.map_or(limit, |own| own.min(limit)))))
        }
        (other, _) => Err(format!("{other} has no native equal")),
    }
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// `echo > /dev/tcp/localhost/8080` in its variants: bash opens a connection and does nothing with it.
fn bash_socket(
    words: &[String],
    redirects: &[(bool, String)],
    surroundings: &Surroundings<'_>,
) -> Option<Result<Understood, String>> {
    let mut sockets =
        redirects.iter().filter_map(|(reads, to)| Some((*reads, to.strip_prefix("/dev/tcp/")?)));
    let (reads, socket) = sockets.next()?;
    if sockets.next().is_some() {
        return Some(Err("it opens more than one connection".to_owned()));
    }
    let program = words.first().map(String::as_str);
    let idle = match program {
        None | Some(":" | "true" | "exec") => words.len() <= 1,
        Some("echo" | "printf") => true,
        Some("cat") => !reads && words.len() == 1 && redirects.contains(&(true, "/dev/null".to_owned())),
        _ => false,
    };
    if !idle {
        return Some(Err("it talks over the connection that it opens".to_owned()));
    }
    let Some((host, port)) = socket.split_once('/') else {
        return Some(Err(format!("/dev/tcp/{socket} is not understood")));
    };
    Some(client::own_port(host, port, surroundings).map(|port| (Test::Tcp { port }, None)))
}
