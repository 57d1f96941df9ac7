//! What a Dockerfile says of how its image runs: `ENTRYPOINT`, `CMD`, `ENV`, `EXPOSE`, `WORKDIR`, `HEALTHCHECK` of the final (or
//! targeted) stage with the stages it stands on, and as hints for builds the `RUN` lines and the base images of the stages it needs.
//!
//! Source: Dockerfile reference. Lines that are not understood are passed over: these are hints, and the image is not built here.

use std::collections::HashMap;
use std::time::Duration;

use crate::app::{Build, Command, Healthcheck, Test};
use crate::source::read_text;
use indexmap::IndexMap;

/// The hints of a Dockerfile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dockerfile {
    /// `ENTRYPOINT`.
    pub entrypoint: Option<Command>,
    /// `CMD`.
    pub cmd: Option<Command>,
    /// `ENV`, without what only makes sense inside the image.
    pub env: IndexMap<String, String>,
    /// `EXPOSE`, TCP only.
    pub exposes: Vec<u16>,
    /// `WORKDIR`, if absolute.
    pub workdir: Option<String>,
    /// `HEALTHCHECK`.
    pub health: Option<Healthcheck>,
    /// The `RUN` lines of the stage and of all stages that it needs, in their order.
    pub runs: Vec<String>,
    /// The images that the stage and all stages that it needs stand on: the stage's own first.
    pub bases: Vec<String>,
}

/// A stage while it is read.
#[derive(Clone)]
struct Stage {
    name: String,
    /// What its image says, with what it has from the stage that it stands on.
    says: Dockerfile,
    /// Its own `RUN` lines.
    runs: Vec<String>,
    /// The image that it stands on, if it is none of the stages before.
    image: Option<String>,
    /// The stages before that it stands on or takes files from.
    needs: Vec<usize>,
}

/// Variables of an image that would harm a process of this machine.
const IMAGE_ONLY: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "PWD",
    "SHELL",
    "HOSTNAME",
    "JAVA_HOME",
    "GOPATH",
    "GOROOT",
    "LD_LIBRARY_PATH",
    "TMPDIR",
];

impl Dockerfile {
    /// The Dockerfile of a build, if there is one that can be read.
    pub fn of(build: &Build) -> Option<Self> {
        let text = match (&build.dockerfile_inline, &build.dockerfile) {
            (Some(text), _) => text.clone(),
            (None, Some(path)) => read_text(path).ok()?,
            (None, None) => read_text(&build.context.join("Dockerfile")).ok()?,
        };
        Some(Self::parse(&text, build.target.as_deref(), &build.args))
    }

    /// Reads a Dockerfile's text; `target` names the stage, the last one if none.
    pub fn parse(text: &str, target: Option<&str>, args: &IndexMap<String, Option<String>>) -> Self {
        let mut reader = Reader::new(args);
        for line in logical_lines(text) {
            reader.instruction(&line);
        }
        reader.finish(target)
    }
}

/// Reads instructions in order; each stage begins as a copy of the stage it stands on.
struct Reader<'a> {
    given: &'a IndexMap<String, Option<String>>,
    global_args: HashMap<String, String>,
    args: HashMap<String, String>,
    stages: Vec<Stage>,
}

impl<'a> Reader<'a> {
    fn new(given: &'a IndexMap<String, Option<String>>) -> Self {
        Self { given, global_args: HashMap::new(), args: HashMap::new(), stages: Vec::new() }
    }

    fn instruction(&mut self, line: &str) {
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        match word.to_ascii_uppercase().as_str() {
            "FROM" => self.from(rest),
            "ARG" => self.arg(rest),
            other => self.in_stage(other, rest),
        }
    }

    fn from(&mut self, rest: &str) {
        let words: Vec<&str> = rest.split_whitespace().filter(|word| !word.starts_with("--")).collect();
        let base = words.first().copied().unwrap_or_default();
        let name = match words.as_slice() {
            [_, keyword, name, ..] if keyword.eq_ignore_ascii_case("as") => (*name).to_owned(),
            _ => self.stages.len().to_string(),
        };
        let base = self.expand(base);
        let parent = self.stage(&base);
        let says = parent.and_then(|at| self.stages.get(at)).map(|stage| stage.says.clone());
        let image = parent.is_none().then_some(base);
        let needs = parent.into_iter().collect();
        self.args = self.global_args.clone();
        self.stages.push(Stage { name, says: says.unwrap_or_default(), runs: Vec::new(), image, needs });
    }

    fn arg(&mut self, rest: &str) {
        for word in words(rest) {
            let (name, default) = word.split_once('=').unwrap_or((&word, ""));
            let given = self.given.get(name).cloned().flatten();
            let inherited = self.global_args.get(name).cloned();
            let value = given
                .or_else(|| (!default.is_empty()).then(|| self.expand(default)))
                .or(inherited)
                .unwrap_or_default();
            let scope = if self.stages.is_empty() { &mut self.global_args } else { &mut self.args };
            scope.insert(name.to_owned(), value);
        }
    }

    fn in_stage(&mut self, instruction: &str, rest: &str) {
        let expanded = self.expand(rest);
        let env =
            || env_pairs(rest).into_iter().map(|(key, value)| (key, self.expand(&value))).collect::<Vec<_>>();
        let pairs = if instruction == "ENV" { env() } else { Vec::new() };
        let taken = matches!(instruction, "COPY" | "RUN").then(|| sources(&expanded)).unwrap_or_default();
        let taken: Vec<usize> = taken.iter().filter_map(|name| self.stage(name)).collect();
        let Some(Stage { says: stage, runs, needs, .. }) = self.stages.last_mut() else { return };
        needs.extend(taken);
        match instruction {
            "RUN" => runs.push(rest.to_owned()),
            "ENV" => stage.env.extend(pairs),
            "EXPOSE" => stage.exposes.extend(expanded.split_whitespace().filter_map(tcp_port)),
            "WORKDIR" => stage.workdir = Some(join(stage.workdir.as_deref(), &expanded)),
            "CMD" => stage.cmd = Some(command(rest)),
            "ENTRYPOINT" => {
                stage.entrypoint = Some(command(rest));
                stage.cmd = None;
            }
            "HEALTHCHECK" => stage.health = healthcheck(rest),
            _ => {}
        }
    }

    /// `$NAME`, `${NAME}`, `${NAME:-default}` from the stage's `ENV` and `ARG`.
    fn expand(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            out.push_str(before);
            let (value, tail) = self.variable(after);
            out.push_str(&value);
            rest = tail;
        }
        out.push_str(rest);
        out
    }

    fn variable<'t>(&self, after: &'t str) -> (String, &'t str) {
        if let Some((inner, tail)) = after.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            let (name, default) = inner.split_once(":-").unwrap_or((inner, ""));
            let value =
                self.lookup(name).filter(|value| !value.is_empty()).unwrap_or_else(|| default.to_owned());
            return (value, tail);
        }
        let end = after.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(after.len());
        let (name, tail) = after.split_at(end);
        if name.is_empty() { ("$".to_owned(), after) } else { (self.lookup(name).unwrap_or_default(), tail) }
    }

    fn lookup(&self, name: &str) -> Option<String> {
        let env = self.stages.last().and_then(|stage| stage.says.env.get(name));
        env.or_else(|| self.args.get(name)).or_else(|| self.global_args.get(name)).cloned()
    }

    /// The stage of this name or, as `COPY --from=0` has it, of this number.
    fn stage(&self, name: &str) -> Option<usize> {
        let named = self.stages.iter().rposition(|stage| stage.name.eq_ignore_ascii_case(name));
        named.or_else(|| name.parse().ok().filter(|at| *at < self.stages.len()))
    }

    fn finish(self, target: Option<&str>) -> Dockerfile {
        let last = self.stages.len().checked_sub(1);
        let Some(wanted) = target.and_then(|name| self.stage(name)).or(last) else {
            return Dockerfile::default();
        };
        let mut says = self.stages.get(wanted).map(|stage| stage.says.clone()).unwrap_or_default();
        says.env.retain(|key, _| !IMAGE_ONLY.contains(&key.as_str()));
        says.exposes.dedup();
        // What it stands on is walked before what it takes files from, so that its own image comes first.
        let mut needed = vec![false; self.stages.len()];
        let mut open = vec![wanted];
        while let Some(at) = open.pop() {
            let Some(stage) = self.stages.get(at) else { continue };
            if needed.get_mut(at).is_none_or(|needed| std::mem::replace(needed, true)) {
                continue;
            }
            says.bases.extend(stage.image.clone());
            open.extend(stage.needs.iter().rev());
        }
        let stages = self.stages.iter().zip(needed).filter(|(_, needed)| *needed);
        says.runs = stages.flat_map(|(stage, _)| stage.runs.clone()).collect();
        says
    }
}

/// What `--from=` and `--mount=…,from=` of an instruction name.
fn sources(rest: &str) -> Vec<String> {
    let options = rest.split_whitespace().take_while(|word| word.starts_with("--"));
    options
        .flat_map(|option| option.trim_start_matches("--mount=").split(','))
        .filter_map(|part| part.trim_start_matches("--").strip_prefix("from="))
        .map(str::to_owned)
        .collect()
}

/// Instructions with continuations joined, comments and here-documents' bodies left out.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut open = false;
    let mut here: Option<String> = None;
    for line in text.lines() {
        if let Some(end) = &here {
            if line.trim() == end {
                here = None;
            }
            continue;
        }
        let trimmed = line.trim();
        if trimmed.starts_with('#') || trimmed.is_empty() {
            continue;
        }
        let (content, more) = match trimmed.strip_suffix('\\') {
            Some(content) => (content.trim_end(), true),
            None => (trimmed, false),
        };
        match lines.last_mut().filter(|_| open) {
            Some(last) => {
                last.push(' ');
                last.push_str(content);
            }
            None => lines.push(content.to_owned()),
        }
        open = more;
        here = here_document(content);
    }
    lines
}

fn here_document(line: &str) -> Option<String> {
    let upper = line.get(..4).unwrap_or_default().to_ascii_uppercase();
    if !matches!(upper.trim_end(), "RUN" | "COPY") {
        return None;
    }
    let (_, tag) = line.split_once("<<")?;
    let tag = tag.trim_start_matches('-').split_whitespace().next()?;
    Some(tag.trim_matches(['"', '\'']).to_owned()).filter(|tag| !tag.is_empty())
}

/// The exec form is a JSON list; everything else is a line for the shell.
fn command(rest: &str) -> Command {
    match serde_json::from_str::<Vec<String>>(rest) {
        Ok(args) => Command::Args(args),
        Err(_) => Command::Shell(rest.to_owned()),
    }
}

fn tcp_port(word: &str) -> Option<u16> {
    let (port, protocol) = word.split_once('/').unwrap_or((word, "tcp"));
    protocol.eq_ignore_ascii_case("tcp").then(|| port.parse().ok()).flatten()
}

fn join(base: Option<&str>, path: &str) -> String {
    match base {
        Some(base) if !path.starts_with('/') => format!("{}/{path}", base.trim_end_matches('/')),
        _ => path.to_owned(),
    }
}

/// `ENV A=1 B="two words"` and the old `ENV A the rest`.
fn env_pairs(rest: &str) -> Vec<(String, String)> {
    let first = rest.split_whitespace().next().unwrap_or_default();
    if !first.contains('=') {
        return rest
            .split_once(char::is_whitespace)
            .map(|(key, value)| (key.to_owned(), value.trim().to_owned()))
            .into_iter()
            .collect();
    }
    words(rest)
        .into_iter()
        .filter_map(|word| word.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned())))
        .collect()
}

/// Words with quotes and backslashes taken away.
fn words(text: &str) -> Vec<String> {
    let (mut out, mut word, mut quote, mut any) = (Vec::new(), String::new(), None, false);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\\', None | Some('"')) => word.extend(chars.next()),
            (c, Some(open)) if c == open => quote = None,
            ('"' | '\'', None) => (quote, any) = (Some(c), true),
            (c, None) if c.is_whitespace() => {
                if any || !word.is_empty() {
                    out.push(std::mem::take(&mut word));
                }
                any = false;
            }
            (c, _) => word.push(c),
        }
    }
    if any || !word.is_empty() {
        out.push(word);
    }
    out
}

fn healthcheck(rest: &str) -> Option<Healthcheck> {
    let mut check = Healthcheck {
        test: Test::None,
        interval: Duration::from_secs(30),
        timeout: Duration::from_secs(30),
        retries: 3,
        start_period: Duration::ZERO,
        start_interval: None,
    };
    let mut rest = rest;
    while let Some(option) = rest.strip_prefix("--") {
        let (option, tail) = option.split_once(char::is_whitespace)?;
        let (name, value) = option.split_once('=')?;
        match name {
            "interval" => check.interval = seconds(value)?,
            "timeout" => check.timeout = seconds(value)?,
            "start-period" => check.start_period = seconds(value)?,
            "start-interval" => check.start_interval = Some(seconds(value)?),
            "retries" => check.retries = value.parse().ok()?,
            _ => {}
        }
        rest = tail.trim_start();
    }
    let line = rest.strip_prefix("CMD").or_else(|| rest.strip_prefix("cmd"))?;
    check.test = Test::Command(command(line.trim()));
    Some(check)
}

/// `30s`, `1m30s`, `500ms`, `2h`.
fn seconds(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let (number, tail) = rest.split_at(digits);
        let end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, next) = tail.split_at(end);
        let factor = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total += Duration::try_from_secs_f64(number.parse::<f64>().ok()? * factor).ok()?;
        rest = next;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Dockerfile {
        Dockerfile::parse(text, None, &IndexMap::new())
    }

    #[test]
    fn the_last_stage_counts_with_what_it_stands_on() {
        let file = parse(
            "ARG V=20\nFROM node:$V AS base\nWORKDIR /app\nENV NODE_ENV=production A=\"x y\"\nEXPOSE 8080/tcp 53/udp\n\
             FROM base AS build\nRUN npm ci && \\\n  # why\n  npm run build\nCMD [\"wrong\"]\n\
             FROM base\nWORKDIR dist\nCOPY --from=build /app/dist .\nENV PATH=/app/bin B=${A}!\nENTRYPOINT [\"node\"]\nCMD [\"main.js\", \"--x\"]\n",
        );
        assert_eq!(file.entrypoint, Some(Command::Args(vec!["node".into()])));
        assert_eq!(file.cmd, Some(Command::Args(vec!["main.js".into(), "--x".into()])));
        assert_eq!(file.workdir.as_deref(), Some("/app/dist"));
        assert_eq!(file.exposes, [8080]);
        assert_eq!(
            file.env.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>(),
            ["NODE_ENV=production", "A=x y", "B=x y!"]
        );
        assert_eq!(file.runs, ["npm ci && npm run build"]);
    }

    #[test]
    fn a_target_stage_can_be_named() {
        let file = Dockerfile::parse(
            "FROM a AS dev\nCMD dev run\nFROM b AS prod\nCMD prod run",
            Some("DEV"),
            &IndexMap::new(),
        );
        assert_eq!(file.cmd, Some(Command::Shell("dev run".into())));
    }

    #[test]
    fn only_what_a_stage_needs_counts_as_its_build() {
        let text = "ARG V=20\nFROM node:$V AS deps\nRUN npm ci\nFROM deps AS dev\nRUN touch dev\nCMD npm start\n\
                    FROM deps AS build\nRUN npm run build\nFROM busybox AS assets\nRUN tar x\n\
                    FROM nginx:1\nCOPY --chown=a --from=build /app/dist /html\n\
                    RUN --mount=type=bind,from=assets,target=/a cp -r /a /b\n";
        let last = parse(text);
        assert_eq!(
            last.runs,
            ["npm ci", "npm run build", "tar x", "--mount=type=bind,from=assets,target=/a cp -r /a /b"]
        );
        assert_eq!(last.bases, ["nginx:1", "node:20", "busybox"]);
        let dev = Dockerfile::parse(text, Some("dev"), &IndexMap::new());
        assert_eq!(
            (dev.runs, dev.bases),
            (vec!["npm ci".to_owned(), "touch dev".to_owned()], vec!["node:20".to_owned()])
        );
        assert_eq!(parse("FROM golang\nRUN go build\nFROM scratch\nCOPY --from=0 /a /a").runs, ["go build"]);
        assert_eq!(parse("FROM a AS a\nCOPY --from=a x y").bases, ["a"], "a stage may have its image's name");
    }

    #[test]
    fn an_entrypoint_resets_the_inherited_command() {
        assert_eq!(parse("FROM a AS x\nCMD [\"c\"]\nFROM x\nENTRYPOINT [\"e\"]").cmd, None);
    }

    #[test]
    fn health_checks_are_read() {
        let health = parse("FROM a\nHEALTHCHECK --interval=1m30s --timeout=500ms --retries=5 CMD curl -f http://localhost/ || exit 1").health.unwrap();
        assert_eq!(health.interval, Duration::from_secs(90));
        assert_eq!(health.timeout, Duration::from_millis(500));
        assert_eq!(health.retries, 5);
        assert_eq!(health.test, Test::Command(Command::Shell("curl -f http://localhost/ || exit 1".into())));
        assert_eq!(parse("FROM a\nHEALTHCHECK NONE").health, None);
    }

    #[test]
    fn here_documents_are_no_instructions() {
        let file = parse("FROM a\nRUN <<EOF\nCMD hidden\nEOF\nCMD shown");
        assert_eq!(file.cmd, Some(Command::Shell("shown".into())));
    }

    #[test]
    fn arguments_given_by_compose_win() {
        let given = IndexMap::from([("P".to_owned(), Some("9000".to_owned()))]);
        assert_eq!(Dockerfile::parse("FROM a\nARG P=8000\nEXPOSE $P", None, &given).exposes, [9000]);
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "(?s).{0,200}") {
            parse(&text);
            parse(&format!("FROM a\nENV {text}\nHEALTHCHECK {text}\nEXPOSE {text}"));
        }
    }
}
