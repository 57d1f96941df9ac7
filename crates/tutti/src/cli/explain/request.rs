//! `tutti explain request`: the requests that the running Tutti remembers, and one of them in full.

use std::time::Duration;

use tutti_proxy::explain::{Explanation, Summary};

use super::words;
use crate::cli::Context;
use crate::control::Client;
use crate::query::Query;
use crate::term::{self, Style, Table};

/// What became of a request, and why; without an id, the last ones.
#[derive(Debug, clap::Args)]
pub(crate) struct Request {
    /// The id that the response's X-Request-Id said, or the trace's id; without one, the last requests are listed
    id: Option<String>,
    /// Only those of this route
    #[arg(long, value_name = "NAME", conflicts_with = "id")]
    route: Option<String>,
    /// Only those with this status: 404, 5xx, 400-499
    #[arg(long, value_name = "STATUS", conflicts_with = "id")]
    status: Option<String>,
    /// Only those whose answer took so long to begin [default: 1s]
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "1s", value_parser = length)]
    slow: Option<Duration>,
    /// Only those that failed
    #[arg(long)]
    failed: bool,
    /// Only those that this instance was asked last
    #[arg(long, value_name = "INSTANCE")]
    instance: Option<String>,
    /// Only those of this client
    #[arg(long, value_name = "ADDRESS")]
    client: Option<std::net::IpAddr>,
    /// How many
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    last: u64,
}

/// A length of time: `300ms`, `2s`.
fn length(text: &str) -> Result<Duration, String> {
    let length = text.parse::<jiff::SignedDuration>().ok().and_then(|length| Duration::try_from(length).ok());
    length.ok_or_else(|| format!("{text:?} is no length of time, such as 300ms or 2s"))
}

impl Request {
    pub(crate) fn run(&self, context: &Context) -> anyhow::Result<i32> {
        context.block_on(async {
            let client = context.client()?;
            match &self.id {
                Some(id) => one(context, &client, id).await,
                None => self.list(context, &client).await,
            }
        })
    }

    async fn list(&self, context: &Context, client: &Client) -> anyhow::Result<i32> {
        let requests: Vec<Summary> = client.get(&format!("/v1/requests?{}", self.query())).await?;
        if context.json {
            context.print_json(&requests)?;
            return Ok(0);
        }
        if requests.is_empty() {
            context.say("no such request is remembered");
            return Ok(0);
        }
        context.out.write(&table(&requests).render(&context.out));
        context.say("`tutti explain request ID` tells all about one of them");
        Ok(0)
    }

    fn query(&self) -> Query {
        let mut query = Query::default();
        let texts = [("route", &self.route), ("status", &self.status), ("instance", &self.instance)];
        for (name, value) in texts {
            value.iter().for_each(|value| query.push(name, value));
        }
        self.slow.iter().for_each(|slow| query.push("slower_ms", slow.as_millis().to_string()));
        self.client.iter().for_each(|client| query.push("client", client.to_string()));
        if self.failed {
            query.push("failed", "1");
        }
        query.push("most", self.last.to_string());
        query
    }
}

async fn one(context: &Context, client: &Client, id: &str) -> anyhow::Result<i32> {
    let mut query = Query::default();
    query.push("id", id);
    let told: Explanation = client.get(&format!("/v1/requests/one?{query}")).await?;
    if context.json {
        context.print_json(&told)?;
    } else {
        context.out.write(&words::of(&told, &context.out));
    }
    Ok(0)
}

fn table(requests: &[Summary]) -> Table {
    let mut table = Table::new(&[
        "TIME", "STATUS", "TOOK", "ROUTE", "INSTANCE", "TRIES", "CLIENT", "ID", "REQUEST", "FAILED",
    ]);
    for one in requests {
        let time = term::clock(one.at_ms);
        let failed = match (&one.failed, &one.code) {
            (Some(who), Some(code)) => format!("{who} {code}"),
            (Some(who), None) => who.clone(),
            _ => String::new(),
        };
        table.row(vec![
            (time.split_once(' ').map_or(time.clone(), |(_, time)| time.to_owned()), Some(Style::Dim)),
            (one.status.to_string(), Some(words::style(one))),
            (words::millis(one.duration_ms), None),
            (words::safe(&one.route), None),
            (one.instance.clone(), None),
            (one.attempts.to_string(), (one.attempts > 1).then_some(Style::Warn)),
            (one.client.clone(), None),
            (words::safe(&one.id), Some(Style::Link)),
            (words::safe(&format!("{} {}{}", one.method, one.host, one.path)), None),
            (failed, Some(Style::Bad)),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_read_like_those_of_logs() {
        let read = |text| length(text).ok();
        assert_eq!(read("300ms"), Some(Duration::from_millis(300)));
        assert_eq!(read("1.5s"), Some(Duration::from_millis(1_500)));
        assert_eq!(read("2m30s"), Some(Duration::from_secs(150)));
        assert_eq!(read("PT1M"), Some(Duration::from_secs(60)));
        for nothing in ["", "5", "soon", "-2s", "1 day"] {
            assert!(length(nothing).is_err_and(|why| why.contains("300ms or 2s")), "{nothing}");
        }
    }
}
