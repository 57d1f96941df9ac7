//! Runs setup steps through the keeper, so that none survives Tutti.

use std::io;
use std::path::Path;
use std::sync::Arc;

use indexmap::IndexMap;
use tutti_model::app::Command;

use super::Runner;
use crate::diagnose;
use crate::driver::{Driver, Process, Start, Surroundings};
use crate::infer::Step;
use crate::rewrite::Targets;

/// Runs setup steps through a driver.
pub(crate) struct DriverRunner {
    pub(crate) driver: Arc<dyn Driver>,
    /// What every step inherits.
    pub(crate) env: IndexMap<String, String>,
}

#[async_trait::async_trait]
impl Runner for DriverRunner {
    async fn run(&self, step: &Step, output: &Path) -> io::Result<i32> {
        let mut env = self.env.clone();
        env.extend(step.env.iter().map(|(key, value)| (key.clone(), value.clone())));
        let argv = match &step.command {
            Command::Args(args) => args.clone(),
            Command::Shell(line) => vec![diagnose::SHELL.to_owned(), "-c".to_owned(), line.clone()],
        };
        let around = Surroundings {
            env: env.into_iter().collect(),
            dir: step.cwd.clone(),
            targets: Targets::default(),
        };
        let stdout = std::fs::OpenOptions::new().create(true).append(true).open(output)?;
        let stderr = stdout.try_clone()?;
        let start = Start {
            argv: &argv,
            around: &around,
            stdin: None,
            stdout: stdout.into(),
            stderr: stderr.into(),
            terminal: false,
        };
        let process = self.driver.launch(start).await;
        let process = process.map_err(|failure| io::Error::other(failure.reason))?;
        let mut process = Guarded { process, ended: false };
        let status = process.process.wait().await;
        process.ended = true;
        Ok(status.shell())
    }
}

/// Kills a step that nobody waits for any more.
struct Guarded {
    process: Box<dyn Process>,
    ended: bool,
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if !self.ended {
            self.process.kill_now();
        }
    }
}
