//! `tutti logs`: what services print.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use tutti_core::InstanceId;
use tutti_supervisor::logs::{Fields, LogLine, LogQuery, fields};

use super::Context;
use crate::control::{Client, ControlError};
use crate::query::Query;
use crate::term::{self, Paint, Style};

/// Show what services print.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Logs {
    /// Only these services
    services: Vec<String>,
    /// Go on showing new lines
    #[arg(short, long)]
    follow: bool,
    /// Not older than: a time (2026-01-02T13:23:37Z) or how long ago (42m)
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    since: Option<u64>,
    /// Not younger than
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    until: Option<u64>,
    /// The last so many lines of each instance
    #[arg(short = 'n', long, value_name = "N", value_parser = tail)]
    tail: Option<Tail>,
    /// Only this instance, such as web-2
    #[arg(long, value_name = "INSTANCE")]
    instance: Option<String>,
    /// Of one service: only the instance of this number
    #[arg(long, value_name = "N", conflicts_with = "instance")]
    index: Option<u32>,
    /// No colour
    #[arg(long)]
    no_color: bool,
    /// Show the time of each line
    #[arg(short, long)]
    timestamps: bool,
    /// Do not say which instance printed a line
    #[arg(long)]
    no_log_prefix: bool,
    /// Show JSON lines as they are
    #[arg(long)]
    raw: bool,
}

/// How many of the last lines.
#[derive(Clone, Copy, Debug)]
enum Tail {
    All,
    Last(usize),
}

/// One value of `GET /v1/logs`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Item {
    /// A line.
    Line(LogLine),
    /// So many lines came too fast to be shown; they are in the files.
    Lost(u64),
}

fn tail(text: &str) -> Result<Tail, String> {
    match text {
        "all" => Ok(Tail::All),
        number => number.parse().map(Tail::Last).map_err(|_| "expected a number or `all`".to_owned()),
    }
}

/// Reads a moment: RFC 3339, seconds since 1970, or how long ago. The result is in microseconds since 1970.
fn moment(text: &str) -> Result<u64, String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let expected =
        || format!("{text:?} is neither a time such as 2026-01-02T13:23:37Z nor a duration such as 42m");
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(seconds.saturating_mul(1_000_000));
    }
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return u64::try_from(at.as_microsecond()).map_err(|_| expected());
    }
    if let Ok(at) = text.parse::<jiff::civil::DateTime>() {
        let zoned = at.to_zoned(jiff::tz::TimeZone::system()).map_err(|_| expected())?;
        return u64::try_from(zoned.timestamp().as_microsecond()).map_err(|_| expected());
    }
    let ago: jiff::SignedDuration = text.parse().map_err(|_| expected())?;
    let ago = Duration::try_from(ago).map_err(|_| expected())?;
    Ok(u64::try_from(now.saturating_sub(ago).as_micros()).unwrap_or(u64::MAX))
}

/// How far back the logs are read again when another process has taken over: lines of several services do not come strictly in order.
const OVERLAP_US: u64 = 5_000_000;

impl Logs {
    /// What services print from now on.
    pub(crate) fn following(services: &[String], timestamps: bool, prefix: bool) -> Self {
        let tail = Some(Tail::Last(0));
        Self {
            services: services.to_vec(),
            follow: true,
            tail,
            timestamps,
            no_log_prefix: !prefix,
            ..Self::default()
        }
    }

    pub(crate) fn run(&self, context: &mut Context) -> anyhow::Result<i32> {
        if self.no_color {
            context.no_color();
        }
        let context = &*context;
        context.block_on(async {
            let client = context.client()?;
            match self.show_until_interrupted(context, &client).await {
                Err(error) if is_not_running(&error) => self.of_the_stopped(context, error),
                code => code,
            }
        })
    }

    /// Shows lines until there are no more, or Ctrl-C.
    pub(crate) async fn show_until_interrupted(
        &self,
        context: &Context,
        client: &Client,
    ) -> anyhow::Result<i32> {
        // One for the whole time: between two of them a Ctrl-C would be lost.
        let interrupted = std::pin::pin!(tokio::signal::ctrl_c());
        tokio::select! {
            biased;
            _ = interrupted => Ok(0),
            shown = self.show_until_gone(context, client) => shown,
        }
    }

    /// Shows lines until there are no more. With `-f` another process that has taken over goes on where the one before it ended.
    pub(crate) async fn show_until_gone(&self, context: &Context, client: &Client) -> anyhow::Result<i32> {
        let printer = self.printer(context);
        let mut query = self.query()?;
        let mut seen: HashMap<String, u64> = HashMap::new();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut last_us = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
        loop {
            let mut items = client.stream(&format!("/v1/logs?{query}")).await?;
            while let Some(item) = items.next::<Item>().await {
                let item = match item {
                    // With -f the end of Tutti is an end like any other.
                    Err(_) if self.follow => break,
                    item => item.context("the logs ended early")?,
                };
                if let Item::Line(line) = &item {
                    // The first lines of the next process may be the last ones of the one before.
                    last_us = line.at_us;
                    let last = seen.entry(line.service.to_string()).or_default();
                    if line.seq <= std::mem::replace(last, line.seq.max(*last)) {
                        continue;
                    }
                }
                self.show(context, &printer, &item)?;
            }
            if !self.follow || !client.is_running().await {
                return Ok(0);
            }
            let since = last_us.saturating_sub(OVERLAP_US).max(self.since.unwrap_or_default());
            query = Self { since: Some(since), tail: None, ..self.clone() }.query()?;
        }
    }

    /// Nothing runs: what was printed before is in the files.
    fn of_the_stopped(&self, context: &Context, error: anyhow::Error) -> anyhow::Result<i32> {
        let data_dir = context.data_dir()?;
        if !data_dir.join("logs").is_dir() {
            return Err(error);
        }
        for service in &self.services {
            let known = data_dir.join("logs").join(service).is_dir();
            anyhow::ensure!(known, "there are no logs of a service {service:?}, and nothing runs here");
        }
        let query = LogQuery {
            services: self.services.clone(),
            instance: self.instance()?,
            since_us: self.since,
            until_us: self.until,
            tail: self.lines(),
        };
        let printer = self.printer(context);
        for line in tutti_supervisor::logs::read_back(&data_dir, &query) {
            self.show(context, &printer, &Item::Line(line))?;
        }
        if self.follow {
            context.say("nothing runs here, so nothing more will come");
        }
        Ok(0)
    }

    fn printer(&self, context: &Context) -> Printer {
        Printer {
            paint: context.out.paint,
            timestamps: self.timestamps,
            prefix: !self.no_log_prefix,
            raw: self.raw,
        }
    }

    fn instance(&self) -> anyhow::Result<Option<String>> {
        match (self.index, self.services.as_slice()) {
            (None, _) => Ok(self.instance.clone()),
            (Some(number), [service]) => Ok(Some(format!("{service}-{number}"))),
            (Some(_), _) => anyhow::bail!("--index needs exactly one service"),
        }
    }

    fn lines(&self) -> Option<usize> {
        match self.tail {
            Some(Tail::Last(lines)) => Some(lines),
            Some(Tail::All) | None => None,
        }
    }

    fn show(&self, context: &Context, printer: &Printer, item: &Item) -> anyhow::Result<()> {
        match item {
            Item::Line(line) if context.json => context.out.line(&serde_json::to_string(line)?),
            Item::Line(line) => context.out.line(&printer.line(line)),
            Item::Lost(count) => {
                context.say(&format!("({count} lines came too fast to be shown; `tutti logs` has them)"))
            }
        }
        Ok(())
    }

    fn query(&self) -> anyhow::Result<Query> {
        let mut query = Query::default();
        self.services.iter().for_each(|service| query.push("service", service));
        let pairs = [
            ("instance", self.instance()?),
            ("since_us", self.since.map(|at| at.to_string())),
            ("until_us", self.until.map(|at| at.to_string())),
            ("follow", self.follow.then(|| "1".to_owned())),
        ];
        pairs
            .into_iter()
            .for_each(|(name, value)| value.into_iter().for_each(|value| query.push(name, value)));
        if let Some(lines) = self.lines() {
            query.push("tail", lines.to_string());
        }
        Ok(query)
    }
}

fn is_not_running(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(ControlError::NotRunning { .. }))
}

/// How lines are shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Printer {
    /// Colour.
    pub(crate) paint: Paint,
    /// The time before each line.
    pub(crate) timestamps: bool,
    /// The instance before each line.
    pub(crate) prefix: bool,
    /// JSON lines as they are.
    pub(crate) raw: bool,
}

impl Printer {
    /// A line as it is shown.
    pub(crate) fn line(&self, line: &LogLine) -> String {
        let mut shown = String::new();
        if self.prefix {
            let instance = InstanceId::of(&line.service, line.ordinal);
            shown.push_str(&self.paint.on(color_of(line.service.as_str()), format!("{instance:<14} │ ")));
        }
        if self.timestamps {
            shown.push_str(&self.paint.on(Style::Dim, format!("{} ", term::clock(line.at_us / 1_000))));
        }
        match fields(&line.text).filter(|_| !self.raw) {
            Some(fields) => self.fields(&fields, &mut shown),
            None => shown.push_str(&term::safe(&line.text, self.paint.0)),
        }
        if line.cut {
            shown.push_str(&self.paint.on(Style::Dim, " … (cut)"));
        }
        shown
    }

    /// A JSON line: level, message, then everything else, dim.
    fn fields(&self, fields: &Fields, shown: &mut String) {
        if let Some(level) = fields.level {
            let style = match level {
                "error" | "fatal" => Style::Bad,
                "warn" => Style::Warn,
                "info" => Style::Good,
                _ => Style::Dim,
            };
            shown.push_str(&self.paint.on(style, format!("{level:<5} ")));
        }
        shown.push_str(&term::safe(fields.message.as_deref().unwrap_or_default(), false));
        let trace = fields.trace_id.iter().map(|id| ("trace_id".to_owned(), id.clone()));
        for (key, value) in fields.rest.iter().cloned().chain(trace) {
            let pair = format!(" {}={}", term::safe(&key, false), term::safe(&value, false));
            shown.push_str(&self.paint.on(Style::Dim, pair));
        }
    }
}

/// The same colour for the same service each time.
fn color_of(service: &str) -> Style {
    Style::Nth(
        service.bytes().fold(7_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(byte))),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_in_every_form() {
        assert_eq!(moment("1700000000"), Ok(1_700_000_000_000_000));
        assert_eq!(moment("2023-11-14T22:13:20Z"), Ok(1_700_000_000_000_000));
        let now = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap();
        let ago = now - moment("1h30m").unwrap();
        assert!((5_399_000_000..5_401_000_000).contains(&ago), "{ago}");
        assert!(moment("yesterday").is_err());
    }
}
