//! The description that requests of a route are held against: its own, or that of the service to which it goes.

use tutti_core::limits;
use tutti_ports::routing::{OpenApi, OpenApiMode};

use super::Reader;
use crate::overlay::types::content::{self, OpenApiRules, UnknownPaths};
use crate::overlay::types::{self, Target, Targets};

impl Reader<'_> {
    pub(super) fn described(&mut self, route: &types::Route) -> Option<OpenApi> {
        let written = match &route.openapi {
            Some(own) => own.clone(),
            None => self.of_service(route)?,
        };
        let rules = match written {
            content::OpenApi::File(file) => OpenApiRules { file, ..OpenApiRules::default() },
            content::OpenApi::Long(rules) => rules,
        };
        let key = if route.openapi.is_some() { "openapi" } else { "to" };
        let path = std::path::Path::new(&rules.file);
        let plain = |part: std::path::Component<'_>| {
            matches!(part, std::path::Component::Normal(_) | std::path::Component::CurDir)
        };
        if !path.components().all(plain) {
            return self.bad(key, format!("`{}` is not in the project's folder", rules.file));
        }
        let file = self.folder.join(path);
        if !self.report.sources.disk.is_file(&file) {
            return self.bad(key, format!("there is no file `{}` in the project's folder", rules.file));
        }
        let max_body = self.size(key, rules.max_body.as_ref()).unwrap_or(1 << 20);
        if max_body > limits::OPENAPI_BODY {
            self.bad::<()>(key, format!("`max_body` is at most {} bytes", limits::OPENAPI_BODY));
        }
        Some(OpenApi {
            file,
            folder: self.folder.to_owned(),
            base_path: rules.base_path,
            requests: mode(rules.requests).unwrap_or(OpenApiMode::Enforce),
            responses: mode(rules.responses).unwrap_or(OpenApiMode::Off),
            unknown_pass: rules.unknown_paths == Some(UnknownPaths::Pass),
            max_body,
        })
    }

    /// The description of the one service to which a route goes.
    fn of_service(&self, route: &types::Route) -> Option<content::OpenApi> {
        let names: Vec<&str> = match route.to.as_ref()? {
            Targets::One(name) => vec![name],
            Targets::Some(target) => vec![&target.service],
            Targets::Many(list) => list
                .iter()
                .map(|target| match target {
                    Target::Short(name) => name.as_str(),
                    Target::Long(target) => target.service.as_str(),
                })
                .collect(),
        };
        let mut names = names.iter().map(|name| name.split(':').next().unwrap_or_default());
        let first = names.next()?;
        names.all(|name| name == first).then(|| self.additions.get(first)?.openapi.clone()).flatten()
    }
}

fn mode(mode: Option<content::OpenApiMode>) -> Option<OpenApiMode> {
    mode.map(|mode| match mode {
        content::OpenApiMode::Off => OpenApiMode::Off,
        content::OpenApiMode::Report => OpenApiMode::Report,
        content::OpenApiMode::Enforce => OpenApiMode::Enforce,
    })
}
