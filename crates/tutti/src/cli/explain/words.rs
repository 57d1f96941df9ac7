//! What became of a request, in words for somebody who was woken up: first what went wrong and who failed, then the way it took.

use tutti_proxy::explain::told::{Attempt, Failure, Limit, Standing, Upstream};
use tutti_proxy::explain::{Explanation, Summary};

use crate::term::{self, Out, Paint, Style, Table};

/// The whole text.
pub(super) fn of(told: &Explanation, out: &Out) -> String {
    let mut text = Text { lines: Vec::new(), paint: out.paint };
    text.request(&told.request);
    if let Some(failure) = &told.failure {
        text.failure(failure);
    }
    text.routing(told);
    text.guards(told);
    text.tries(told);
    if let Some(upstream) = &told.upstream {
        text.upstream(upstream, &told.request.instance, out);
    }
    text.lines.join("\n") + "\n"
}

/// What a client has written, made safe to show.
pub(super) fn safe(text: &str) -> String {
    term::safe(text, false)
}

/// Milliseconds as people say them.
pub(super) fn millis(ms: f64) -> String {
    if ms < 10.0 {
        format!("{ms:.1}ms")
    } else {
        term::duration(std::time::Duration::from_secs_f64(ms / 1e3))
    }
}

/// How a request is to be looked at.
pub(super) fn style(one: &Summary) -> Style {
    match one.failed.as_deref() {
        Some("client") => Style::Warn,
        Some(_) => Style::Bad,
        None if one.status >= 500 => Style::Bad,
        None if one.status >= 400 || one.cut => Style::Warn,
        None => Style::Good,
    }
}

struct Text {
    lines: Vec<String>,
    paint: Paint,
}

impl Text {
    fn line(&mut self, text: String) {
        self.lines.push(text);
    }

    /// A line with a word in front; an empty word continues the part before.
    fn part(&mut self, word: &str, text: &str) {
        let word = self.paint.on(Style::Bold, format!("{word:<9}"));
        self.line(format!("{word} {text}"));
    }

    fn request(&mut self, one: &Summary) {
        let asked = safe(&format!("{} {}{}", one.method, one.host, one.path));
        let status = match (one.status, one.protocol.as_str()) {
            (499, _) => "the client left before there was an answer".to_owned(),
            (_, "tcp") => "a connection whose bytes are passed on".to_owned(),
            (status, _) => status.to_string(),
        };
        let status = self.paint.on(style(one), status);
        let head =
            format!("{} → {status}, in {}", self.paint.on(Style::Bold, asked), millis(one.duration_ms));
        self.line(head);
        let first =
            one.first_byte_ms.map(|ms| format!(", answer began after {}", millis(ms))).unwrap_or_default();
        let cut = if one.cut { ", and did not reach its end" } else { "" };
        let sizes =
            format!("{} in, {} out{first}{cut}", term::bytes(one.bytes_in), term::bytes(one.bytes_out));
        self.line(format!("{} from {} over {}: {sizes}", term::clock(one.at_ms), one.client, one.protocol));
        let trace = if one.trace == one.id { "the same".to_owned() } else { one.trace.clone() };
        self.line(self.paint.on(Style::Dim, format!("id {}, trace {trace}", safe(&one.id))));
        self.line(String::new());
    }

    fn failure(&mut self, failure: &Failure) {
        let who = match failure.who.as_str() {
            "client" => "The client failed",
            "upstream" => "The service failed",
            _ => "Tutti failed",
        };
        let style = if failure.who == "client" { Style::Warn } else { Style::Bad };
        let title = if failure.title.is_empty() { String::new() } else { format!(": {}", failure.title) };
        let code = if failure.code.is_empty() { String::new() } else { format!(" [{}]", failure.code) };
        let line = format!("{}{title}{code}", self.paint.on(style, who));
        self.line(line);
        if !failure.message.is_empty() {
            self.line(format!("  {}", safe(&failure.message)));
        }
        if let Some(hop) = &failure.hop {
            self.line(format!("  at {}", safe(hop)));
        }
        if !failure.code.is_empty() {
            self.line(format!("  `tutti explain {}` tells cause and remedy", failure.code));
        }
        self.line(String::new());
    }

    fn routing(&mut self, told: &Explanation) {
        let one = &told.request;
        let matched = &told.routing.matched;
        if one.protocol == "tcp" {
            return self.part("route", &format!("{}, which passes bytes on", safe(&one.listener)));
        }
        let took = match (one.route.as_str(), matched.as_str()) {
            ("", _) => format!("none of {} took it", one.listener),
            (route, "") => format!("{route} of {}", one.listener),
            (route, matched) => format!("{route} of {}, because of: {matched}", one.listener),
        };
        self.part("route", &safe(&took));
        for note in &told.routing.notes {
            self.part("", &self.paint.on(Style::Warn, safe(note)));
        }
        for other in &told.routing.others {
            let near = if one.route.is_empty() { "near" } else { "not" };
            self.part("", &safe(&format!("{near} {}: {}", other.route, other.why)));
        }
    }

    fn guards(&mut self, told: &Explanation) {
        let said: Vec<String> = told
            .guards
            .iter()
            .map(|one| {
                let style = match one.verdict.as_str() {
                    "passed" => Style::Good,
                    "refused" => Style::Bad,
                    _ => Style::Dim,
                };
                format!("{} {}", one.guard, self.paint.on(style, &one.verdict))
            })
            .collect();
        if !said.is_empty() {
            self.part("guards", &said.join(", "));
        }
        for (at, limit) in told.limits.iter().enumerate() {
            self.part(if at == 0 { "limits" } else { "" }, &limit_words(limit));
        }
    }

    fn tries(&mut self, told: &Explanation) {
        let many = told.attempts.len() > 1;
        for (at, one) in told.attempts.iter().enumerate() {
            let number = if many { format!("{}. ", at + 1) } else { String::new() };
            let line = format!("{number}{}", attempt_words(one, self.paint));
            self.part(if at == 0 { "tries" } else { "" }, &line);
        }
        if told.attempts.is_empty() && told.request.protocol != "tcp" {
            self.part("tries", "none: no instance was asked");
        }
        if told.retry_denied {
            let percent = told.upstream.as_ref().map_or(0, |upstream| upstream.retry_percent);
            let line =
                format!("another was wanted, but the retry budget ({percent} % of the requests) was used up");
            self.part("", &self.paint.on(Style::Warn, line));
        }
    }

    fn upstream(&mut self, upstream: &Upstream, chosen: &str, out: &Out) {
        let mut words = vec![format!("{}:{}", upstream.service, upstream.port)];
        words.extend(upstream.subset.as_ref().map(|subset| format!("only {subset}")));
        words.push(format!("chosen by {}", upstream.balance));
        words.extend(upstream.breaker.as_ref().map(|breaker| format!("breaker {breaker}")));
        words.extend(upstream.room.as_ref().map(|room| {
            format!("room for {} at a time: {} there, {} wait", room.limit, room.inside, room.waiting)
        }));
        if upstream.panic {
            words.push("panic: health is not looked at, since so few are well".to_owned());
        }
        self.part("service", &words.join(", "));
        if !upstream.then.is_empty() {
            let then = upstream.then.iter().map(|one| {
                let passed = if one.passed_over.is_empty() {
                    String::new()
                } else {
                    format!(", passed over ({})", one.passed_over)
                };
                format!("{} had {} under way{passed}", one.instance, one.in_flight)
            });
            let then = then.collect::<Vec<_>>().join("; ");
            self.part("", &format!("when it failed: {then}"));
        }
        if upstream.instances.is_empty() {
            return self.part("", &self.paint.on(Style::Bad, "it has no instance now"));
        }
        let mut table = Table::new(&[
            "",
            "INSTANCE NOW",
            "ADDRESS",
            "HEALTH",
            "UNDER WAY",
            "LEVEL",
            "WEIGHT",
            "ZONE",
            "WHY",
        ]);
        for one in &upstream.instances {
            table.row(row(one, one.instance == chosen));
        }
        self.line(String::new());
        self.line(table.render(out).trim_end().to_owned());
    }
}

fn limit_words(limit: &Limit) -> String {
    let length = |ms: u64| term::duration(std::time::Duration::from_millis(ms));
    let name = if limit.name.is_empty() { "a limit that is gone".to_owned() } else { safe(&limit.name) };
    let policy = match limit.requests {
        0 => String::new(),
        requests => format!(" ({requests} in {})", length(limit.window_ms)),
    };
    match limit.allowed {
        true => format!(
            "{name}{policy}: passed, {} left, all forgotten after {}",
            limit.remaining,
            length(limit.reset_ms)
        ),
        false => format!("{name}{policy}: refused, the next could pass after {}", length(limit.reset_ms)),
    }
}

fn attempt_words(one: &Attempt, paint: Paint) -> String {
    let took = one.took_ms.map(millis).unwrap_or_default();
    let (style, ended) = match (one.ended.as_str(), one.status) {
        ("answered", Some(status)) => {
            let style = if status >= 500 { Style::Bad } else { Style::Good };
            (style, format!("answered {status} after {took}"))
        }
        ("answered", None) => (Style::Good, "took the connection".to_owned()),
        ("refused", _) => (Style::Bad, format!("accepted no connection ({took})")),
        ("stale", _) => (Style::Warn, format!("had closed the kept connection ({took})")),
        ("late", _) => (Style::Bad, format!("gave no answer within {took}")),
        ("broke", _) => (Style::Bad, format!("broke off after {took}")),
        _ => (Style::Warn, "was not waited for to its end".to_owned()),
    };
    let connect = match (one.connect_ms, one.ended.as_str()) {
        (_, "refused") => String::new(),
        (Some(ms), _) => format!(", connected in {}", millis(ms)),
        (None, "answered" | "broke" | "stale") if one.status.is_some() => ", on a kept connection".to_owned(),
        _ => String::new(),
    };
    let instance = if one.instance.is_empty() { "an instance that is gone" } else { &one.instance };
    let address = if one.address.is_empty() { String::new() } else { format!(" at {}", one.address) };
    format!("{instance}{address} {}{connect}, begun at +{}", paint.on(style, ended), millis(one.began_ms))
}

fn row(one: &Standing, chosen: bool) -> Vec<(String, Option<Style>)> {
    let well = matches!(one.health.as_str(), "passing" | "warning");
    let health = match (well, one.passed_over.as_str()) {
        (true, "") => (one.health.clone(), Some(Style::Good)),
        (true, why) => {
            let left = one.passed_over_ms.map(|ms| format!(" for {}", millis(ms as f64))).unwrap_or_default();
            (format!("passed over ({why}{left})"), Some(Style::Warn))
        }
        (false, _) => (one.health.clone(), Some(Style::Bad)),
    };
    vec![
        (if chosen { "→" } else { "" }.to_owned(), None),
        (one.instance.clone(), Some(Style::Bold)),
        (one.address.clone(), None),
        health,
        (one.in_flight.to_string(), None),
        (one.level.map(|level| level.to_string()).unwrap_or_default(), None),
        (one.weight.to_string(), None),
        (one.zone.clone().unwrap_or_default(), None),
        (safe(&one.reason), Some(Style::Dim)),
    ]
}
