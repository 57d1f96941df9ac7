//! `tutti config check | print | schema`.

use tutti_supervisor::infer::{self, Toolbox, Workshop};
use tutti_supervisor::rewrite::Rewrite;

use super::Context;
use crate::control::ControlError;
use crate::term::{Style, Table};

/// Check and print the configuration.
#[derive(Debug, clap::Args)]
pub(crate) struct Config {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Read all files and show every problem
    Check,
    /// Print the configuration as it is understood
    Print(Print),
    /// Print the JSON Schema of tutti.yaml
    Schema,
}

#[derive(Debug, Default, clap::Args)]
struct Print {
    /// Show every address that is changed in environments and commands so that it reaches the peer
    #[arg(long)]
    rewrites: bool,
    /// Show how each service is built and run, and how that was found out
    #[arg(long)]
    plan: bool,
    /// Only the names of the services
    #[arg(long)]
    services: bool,
}

impl Config {
    pub(crate) fn run(&self, context: &Context) -> anyhow::Result<i32> {
        match &self.what {
            Some(What::Check) => check(context),
            Some(What::Schema) => {
                context.print_json(&tutti_model::schema())?;
                Ok(0)
            }
            Some(What::Print(print)) => print.run(context),
            None => Print::default().run(context),
        }
    }
}

fn check(context: &Context) -> anyhow::Result<i32> {
    let loaded = context.load()?;
    context.show_problems(&loaded.notices)?;
    let (services, notices) = (loaded.application.services.len(), loaded.notices.len());
    context.say(&format!(
        "{} {services} services, {notices} notices",
        context.err.paint.on(Style::Good, "valid:")
    ));
    Ok(0)
}

impl Print {
    fn run(&self, context: &Context) -> anyhow::Result<i32> {
        if self.rewrites {
            return rewrites(context);
        }
        let loaded = context.load()?;
        if self.plan {
            return plans(context, &loaded.application);
        }
        if self.services {
            loaded.application.services.keys().for_each(|name| context.out.line(name.as_str()));
            return Ok(0);
        }
        context.print_json(&loaded.model)?;
        Ok(0)
    }
}

fn plans(context: &Context, application: &tutti_model::app::Application) -> anyhow::Result<i32> {
    let paint = context.out.paint;
    let tools = Toolbox::new(std::env::var_os("PATH").unwrap_or_default());
    let data_dir = context.data_dir()?;
    for service in application.services.values() {
        context.out.line(&paint.on(Style::Bold, &service.name));
        if service.skip {
            context.out.line("  left out (skip: true)");
            continue;
        }
        let workshop = Workshop { folder: data_dir.join("setup").join(service.name.as_str()) };
        match infer::plan(service, &application.folder, &workshop, &tools) {
            Ok(plan) => {
                context.out.line(&format!("  in     {}", super::shown(&plan.launch.cwd)));
                for step in &plan.steps {
                    context.out.line(&format!("  build  {}", infer::show(&step.command)));
                }
                context.out.line(&format!("  run    {}", infer::show_program(&plan.launch.program)));
                plan.notes
                    .iter()
                    .for_each(|note| context.out.line(&format!("  {}", paint.on(Style::Dim, note))));
            }
            Err(cannot) => {
                context.out.line(&format!("  {}", paint.on(Style::Bad, &cannot)));
                context.out.line(&format!("  {}", cannot.remedy()));
            }
        }
    }
    Ok(0)
}

/// The rewrites of the running application, or those that `up` would make.
fn rewrites(context: &Context) -> anyhow::Result<i32> {
    let rewrites: Vec<Rewrite> = context.block_on(async {
        match context.client()?.get("/v1/rewrites").await {
            Err(ControlError::NotRunning { .. }) => {
                context.say("nothing runs here; the ports below are examples");
                Ok(tutti_supervisor::rewrite::preview(&context.load()?.application))
            }
            answer => Ok(answer?),
        }
    })?;
    if context.json {
        context.print_json(&rewrites)?;
        return Ok(0);
    }
    let mut table = Table::new(&["SERVICE", "WHERE", "FROM", "TO", "WHY"]);
    for rewrite in rewrites {
        table.row(vec![
            (rewrite.service.to_string(), Some(Style::Bold)),
            (rewrite.key, None),
            (rewrite.from, None),
            (rewrite.to, Some(Style::Link)),
            (rewrite.reason, Some(Style::Dim)),
        ]);
    }
    context.out.write(&table.render(&context.out));
    Ok(0)
}
