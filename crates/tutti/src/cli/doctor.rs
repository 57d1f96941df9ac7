//! `tutti doctor`: why something does not start, and what to do.

use super::Context;
use crate::control::wire::Overview;
use crate::doctor::{Finding, Verdict, examine_certificates, examine_running, examine_standing};
use crate::exit;
use crate::term::{self, Style};

/// Find out why something does not start.
#[derive(Debug, clap::Args)]
pub(crate) struct Doctor {
    /// Also show what is as it should be
    #[arg(short, long)]
    all: bool,
}

impl Doctor {
    pub(crate) fn run(&self, context: &Context) -> anyhow::Result<i32> {
        let loaded = context.load()?;
        let overview: Option<Overview> =
            context.block_on(async { Ok(context.client()?.get("/v1/status").await.ok()) })?;
        let certificates: Vec<tutti_trust::Standing> = context
            .block_on(async { Ok(context.client()?.get("/v1/certificates").await.unwrap_or_default()) })?;
        let mut findings = overview.as_ref().map(examine_running).unwrap_or_default();
        findings.extend(examine_standing(&loaded.application, &context.data_dir()?, overview.is_some()));
        findings.extend(examine_certificates(&certificates, std::time::SystemTime::now()));
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.verdict));
        let worst = findings.first().map_or(Verdict::Good, |finding| finding.verdict);
        if context.json {
            context.print_json(&findings)?;
        } else {
            self.show(context, &findings, worst);
        }
        Ok(if worst == Verdict::Bad { exit::FAILED } else { 0 })
    }

    fn show(&self, context: &Context, findings: &[Finding], worst: Verdict) {
        let paint = context.out.paint;
        for finding in findings.iter().filter(|finding| self.all || finding.verdict != Verdict::Good) {
            let (mark, style) = match finding.verdict {
                Verdict::Good => ("ok  ", Style::Good),
                Verdict::Look => ("look", Style::Warn),
                Verdict::Bad => ("bad ", Style::Bad),
            };
            let subject = paint.on(Style::Bold, &finding.subject);
            let text: Vec<String> = finding.text.lines().map(|line| term::safe(line, false)).collect();
            context.out.line(&format!("{} {subject}: {}", paint.on(style, mark), text.join("\n")));
            if !finding.remedy.is_empty() {
                context.out.line(&format!("     → {}", finding.remedy));
            }
        }
        let well = findings.iter().filter(|finding| finding.verdict == Verdict::Good).count();
        if worst == Verdict::Good {
            context
                .out
                .line(&format!("{} looked at {well} things; nothing is wrong", paint.on(Style::Good, "ok")));
        } else if !self.all {
            context.out.line(
                &paint
                    .on(Style::Dim, format!("{well} other things are as they should be (--all shows them)")),
            );
        }
    }
}
