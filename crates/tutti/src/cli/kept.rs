//! Starting from the last good configuration when the files cannot be used, and telling of it.

use std::path::{Path, PathBuf};

use tutti_core::code;
use tutti_model::diagnostic::Problems;
use tutti_model::{LoadOptions, Loaded};
use tutti_proxy::ApplyError;

use super::Context;
use super::context::{BadFiles, DATA};
use crate::control::wire::LastGood;
use crate::engine::last_good::{self, Definition};
use crate::term::{self, Style};

/// Why the files cannot be used.
pub(super) enum Unusable {
    /// They have problems.
    Files(Box<Problems>),
    /// The data plane does not take what they say.
    Gateway(Box<ApplyError>),
    /// They could not even be looked for.
    Other(anyhow::Error),
}

impl Unusable {
    /// Shows it, and makes it the error of the verb.
    pub(super) fn fail(self, context: &Context) -> anyhow::Error {
        match self {
            Unusable::Files(problems) => match context.show_problems(&problems) {
                Ok(()) => BadFiles.into(),
                Err(error) => error,
            },
            Unusable::Gateway(error) => (*error).into(),
            Unusable::Other(error) => error,
        }
    }

    /// Shows it on standard error, with `--json`, too: what comes after it goes on all the same.
    pub(super) fn show(&self, context: &Context) {
        let text = match self {
            Unusable::Files(problems) => problems.render(context.err.paint.0),
            Unusable::Gateway(error) => format!("error: {}\n", tutti_core::error::chain(&**error)),
            Unusable::Other(error) => format!("error: {error:#}\n"),
        };
        context.err.write(&text);
    }

    /// In one line.
    fn line(&self) -> String {
        // Where it is, and what it is; the lines after that show the text.
        let first = |problems: &Problems| problems.render(false).lines().next().map(str::to_owned);
        match self {
            Unusable::Files(problems) => first(problems).unwrap_or_else(|| BadFiles.to_string()),
            Unusable::Gateway(error) => tutti_core::error::chain(&**error),
            Unusable::Other(error) => format!("{error:#}"),
        }
    }
}

/// Reads the files, and looks whether the data plane takes what they say: OpenAPI descriptions, certificates, files of keys.
pub(super) fn read(context: &Context, services: &[String]) -> Result<Loaded, Unusable> {
    let options = context.load_options_for(services).map_err(Unusable::Other)?;
    let loaded = tutti_model::load(&options).map_err(|problems| Unusable::Files(Box::new(problems)))?;
    let routing = loaded.application.routing.clone();
    tutti_proxy::check(routing, &tutti_proxy::Options::default())
        .map_err(|error| Unusable::Gateway(Box::new(error)))?;
    Ok(loaded)
}

/// The same; if they cannot be used, it is told how to start all the same.
pub(super) fn hinting(context: &Context, services: &[String]) -> anyhow::Result<Loaded> {
    let unusable = match read(context, services) {
        Ok(loaded) => return Ok(loaded),
        Err(unusable) => unusable,
    };
    let error = unusable.fail(context);
    if let Some((generation, at)) = last_good::found(&context.data_dir()?) {
        context.say(&format!(
            "`tutti up --last-good` starts what was in force before: generation {generation}, kept {}",
            term::clock(at)
        ));
    }
    Err(error)
}

/// What the files say; if they cannot be used, it is what was in force before. With `loud` both are shown; the process behind leaves that to
/// the one that has started it.
pub(super) fn definition(context: &Context, services: &[String], loud: bool) -> anyhow::Result<Definition> {
    let unusable = match read(context, services) {
        Ok(loaded) => return Ok(Definition::of(loaded)),
        Err(unusable) => unusable,
    };
    if loud {
        unusable.show(context);
    }
    let folder = tutti_model::project_folder(&context.load_options()?).ok();
    let definition = Definition::resume(&context.data_dir()?, folder.as_deref(), unusable.line())?;
    let kept = definition.kept.as_ref().filter(|_| loud);
    if let Some(LastGood { generation, kept_at_ms, .. }) = kept.map(|kept| &kept.told) {
        let at = term::clock(*kept_at_ms);
        context.say(&format!("starting what was in force before: generation {generation}, kept {at}"));
    }
    Ok(definition)
}

/// Tells, loudly, that the files are not in force, or that what is in force is not kept.
pub(super) fn tell(context: &Context, last_good: Option<&LastGood>, not_kept: Option<&str>) {
    let warning = context.err.paint.on(Style::Warn, "warning:");
    if let Some(LastGood { generation, kept_at_ms, why }) = last_good {
        let at = term::clock(*kept_at_ms);
        let why = term::safe(why, false);
        context.say(&format!(
            "{warning} the last good configuration runs (generation {generation}, kept {at}), not the files: {why} [{}]",
            code::LAST_GOOD_RUNS
        ));
    }
    if let Some(why) = not_kept {
        let why = term::safe(why, false);
        context.say(&format!(
            "{warning} what is in force could not be kept for a start without the files: {why} [{}]",
            code::LAST_GOOD_NOT_KEPT
        ));
    }
}

/// The nearest folder in whose data directory a configuration was kept; that of the options, if they name one.
pub(super) fn folder_above(options: &LoadOptions) -> Option<PathBuf> {
    let kept = |folder: &Path| folder.join(DATA).join(last_good::NAME).is_file();
    match &options.project_folder {
        Some(folder) => Some(options.folder.join(folder)).filter(|folder| kept(folder)),
        None => options.folder.ancestors().find(|folder| kept(folder)).map(Path::to_owned),
    }
}
