//! `tutti config check | print | schema | diff`.

use tutti_model::app::{Application, Service};
use tutti_supervisor::infer::{self, Toolbox, Workshop};
use tutti_supervisor::rewrite::Rewrite;

use super::Context;
use crate::control::ControlError;
use crate::control::wire::Plan;
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
    /// Show what `tutti up` would change in the running application; ends with 0: nothing, 1: something, 2: it cannot be told
    Diff,
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
            Some(What::Diff) => Ok(diff(context)),
            None => Print::default().run(context),
        }
    }
}

fn check(context: &Context) -> anyhow::Result<i32> {
    let loaded = context.load()?;
    // What only the data plane reads: OpenAPI descriptions, certificates, files of keys.
    tutti_proxy::check(loaded.application.routing.clone(), &tutti_proxy::Options::default())?;
    context.show_problems(&loaded.notices)?;
    let (services, notices) = (loaded.application.services.len(), loaded.notices.len());
    context.say(&format!(
        "{} {services} services, {notices} notices",
        context.err.paint.on(Style::Good, "valid:")
    ));
    Ok(0)
}

/// Exit codes as those of diff(1).
fn diff(context: &Context) -> i32 {
    let told: anyhow::Result<Plan> = context.block_on(async {
        let options = context.load_options_for(&[])?;
        Ok(context.client()?.post("/v1/diff", &options).await?)
    });
    let shown = told.and_then(|plan| {
        if context.json {
            context.print_json(&plan)?;
        } else if plan.is_empty() {
            context.say("the files say what is in force");
        } else {
            super::plan::lines(&plan, context.out.paint).iter().for_each(|line| context.out.line(line));
        }
        Ok(i32::from(!plan.is_empty()))
    });
    shown.unwrap_or_else(|error| {
        context.report(&error);
        2
    })
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
        if self.services && context.json {
            let names: Vec<&str> = loaded.application.services.keys().map(|name| name.as_str()).collect();
            context.print_json(&names)?;
            return Ok(0);
        }
        if self.services {
            loaded.application.services.keys().for_each(|name| context.out.line(name.as_str()));
            return Ok(0);
        }
        context.print_json(&loaded.model)?;
        Ok(0)
    }
}

fn plans(context: &Context, application: &Application) -> anyhow::Result<i32> {
    let paint = context.out.paint;
    let tools = Toolbox::new(std::env::var_os("PATH").unwrap_or_default());
    let data_dir = context.data_dir()?;
    if context.json {
        let plans =
            application.services.values().map(|service| plan_json(application, service, &data_dir, &tools));
        context.print_json(&plans.collect::<Vec<_>>())?;
        return Ok(0);
    }
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

fn plan_json(
    application: &Application,
    service: &Service,
    data_dir: &std::path::Path,
    tools: &Toolbox,
) -> serde_json::Value {
    let name = service.name.as_str();
    if service.skip {
        return serde_json::json!({ "service": name, "skip": true });
    }
    let workshop = Workshop { folder: data_dir.join("setup").join(name) };
    match infer::plan(service, &application.folder, &workshop, tools) {
        Ok(plan) => serde_json::json!({
            "service": name,
            "folder": plan.launch.cwd,
            "setup": plan.steps.iter().map(|step| infer::show(&step.command)).collect::<Vec<_>>(),
            "run": infer::show_program(&plan.launch.program),
            "notes": plan.notes,
        }),
        Err(cannot) => {
            serde_json::json!({ "service": name, "error": cannot.to_string(), "remedy": cannot.remedy() })
        }
    }
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
