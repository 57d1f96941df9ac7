//! What every verb needs: the outputs, the project, the running Tutti.

use std::ffi::OsString;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;
use tutti_model::diagnostic::Problems;
use tutti_model::{LoadOptions, Loaded};
use tutti_store::DataDir;

use super::Global;
use crate::control::{Client, socket_path};
use crate::exit;
use crate::term::{ColorChoice, Out, Style};

/// The surroundings of a verb.
#[derive(Debug)]
pub(crate) struct Context {
    /// The flags that every verb takes.
    pub(crate) global: Global,
    /// Standard output: what was asked for.
    pub(crate) out: Out,
    /// Standard error: what happens, and what went wrong.
    pub(crate) err: Out,
    /// Print JSON.
    pub(crate) json: bool,
}

/// The data directory in the project's folder.
pub(super) const DATA: &str = ".tutti";

/// The files have problems, which have been shown.
#[derive(Debug, thiserror::Error)]
#[error("the files have problems")]
pub(crate) struct BadFiles;

impl Context {
    pub(crate) fn new(global: Global) -> Self {
        let (out, err) = (Out::stdout(global.color), Out::stderr(global.color));
        Self { json: global.json, global, out, err }
    }

    /// No colour from here on, whatever `--color` says.
    pub(crate) fn no_color(&mut self) {
        self.global.color = ColorChoice::Never;
        (self.out, self.err) = (Out::stdout(ColorChoice::Never), Out::stderr(ColorChoice::Never));
    }

    /// Runs a future to its end on a small runtime.
    pub(crate) fn block_on<T>(&self, future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.context("cannot start the runtime")?.block_on(future)
    }

    /// Prints a value as JSON.
    pub(crate) fn print_json(&self, value: &(impl Serialize + ?Sized)) -> anyhow::Result<()> {
        self.out.line(&serde_json::to_string_pretty(value)?);
        Ok(())
    }

    /// Tells something to the person at the terminal; nothing with `--json`.
    pub(crate) fn say(&self, text: &str) {
        if !self.json {
            self.err.line(text);
        }
    }

    /// How the model is to be loaded, by flags and environment.
    pub(crate) fn load_options(&self) -> anyhow::Result<LoadOptions> {
        let text =
            |(key, value): (OsString, OsString)| Some((key.into_string().ok()?, value.into_string().ok()?));
        Ok(LoadOptions {
            folder: std::env::current_dir().context("the current folder is gone")?,
            files: self.global.file.clone(),
            project_folder: self.global.project_directory.clone(),
            env_files: self.global.env_file.clone(),
            profiles: self.global.profile.clone(),
            project_name: self.global.project_name.clone(),
            env: std::env::vars_os().filter_map(text).collect(),
            overlay: self.global.overlay.clone(),
            services: Vec::new(),
        })
    }

    /// The same, with the profiles of services that are named active.
    pub(crate) fn load_options_for(&self, services: &[String]) -> anyhow::Result<LoadOptions> {
        Ok(LoadOptions { services: services.to_vec(), ..self.load_options()? })
    }

    /// Loads the model; problems are shown, all of them, and end the verb.
    pub(crate) fn load(&self) -> anyhow::Result<Loaded> {
        self.load_for(&[])
    }

    /// The same, with the profiles of services that are named active.
    pub(crate) fn load_for(&self, services: &[String]) -> anyhow::Result<Loaded> {
        let options = self.load_options_for(services)?;
        match tutti_model::load(&options) {
            Ok(loaded) => Ok(loaded),
            Err(problems) => {
                self.show_problems(&problems)?;
                Err(BadFiles.into())
            }
        }
    }

    /// Shows what the files say and process mode cannot honour.
    pub(crate) fn show_notices(&self, loaded: &Loaded) -> anyhow::Result<()> {
        if loaded.notices.is_empty() || self.json {
            return Ok(());
        }
        let count = loaded.notices.len();
        let noun = if count == 1 { "notice" } else { "notices" };
        self.say(&format!("{count} {noun} about your files: `tutti config check` shows them"));
        Ok(())
    }

    /// Shows problems, or notices.
    pub(crate) fn show_problems(&self, problems: &Problems) -> anyhow::Result<()> {
        if self.json {
            return self.print_json(&problems.to_json());
        }
        self.err.write(&problems.render(self.err.paint.0));
        Ok(())
    }

    /// The data directory: as said, or `.tutti` in the project's folder.
    pub(crate) fn data_dir(&self) -> anyhow::Result<PathBuf> {
        if let Some(said) = &self.global.data_dir {
            return std::path::absolute(said).context("--data-dir");
        }
        let options = self.load_options()?;
        let folder = tutti_model::project_folder(&options).or_else(|problems| {
            // Without any compose file: where one was in force.
            super::kept::folder_above(&options).ok_or_else(|| {
                let _ = self.show_problems(&problems);
                BadFiles
            })
        })?;
        Ok(folder.join(DATA))
    }

    /// A client for the Tutti that runs here.
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        Ok(Client::new(&self.socket()?))
    }

    /// The control socket.
    pub(crate) fn socket(&self) -> anyhow::Result<PathBuf> {
        Ok(socket_path(&self.data_dir()?))
    }

    /// Waits until the running Tutti has ended: nothing answers, and the data directory is free for the next one.
    pub(crate) async fn wait_until_gone(&self, client: &Client) -> anyhow::Result<()> {
        let data_dir = self.data_dir()?;
        for _ in 0..3_000 {
            // It closes its socket first and gives up the directory last.
            if !client.is_running().await && !matches!(DataDir::holder(&data_dir), Ok(Some(_))) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        anyhow::bail!("Tutti still runs after 30 s")
    }

    /// Shows an error and answers the exit code for it.
    pub(crate) fn report(&self, error: &anyhow::Error) -> i32 {
        if error.is::<BadFiles>() {
            return exit::BAD_FILES;
        }
        let code = crate::failure::code_of(error);
        if self.json {
            let error = serde_json::json!({ "message": format!("{error:#}"), "code": code.map(|code| code.to_string()) });
            self.out.line(&serde_json::json!({ "error": error }).to_string());
        }
        let mut text = format!("{} {error:#}", self.err.paint.on(Style::Bad, "error:"));
        if let Some(code) = code {
            text.push_str(&format!(" [{code}]\n  `tutti explain {code}` tells cause and remedy"));
        }
        self.err.line(&text);
        crate::failure::exit_of(error)
    }
}

/// A path as a person in this folder would write it.
pub(crate) fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    match path.strip_prefix(&here) {
        Ok(rest) if rest.as_os_str().is_empty() => ".".to_owned(),
        Ok(rest) => rest.display().to_string(),
        Err(_) => path.display().to_string(),
    }
}
