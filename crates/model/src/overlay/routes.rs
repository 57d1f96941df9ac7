//! `routes:` become the routes of the gateway.

mod content;
mod external;
mod filters;
mod openapi;
pub(super) mod resilience;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use tutti_core::{ServiceName, code};
use tutti_ports::routing::{
    Backend, FieldMatch, Filter, Guard, HeaderEdit, Match, PathMatch, PathRewrite, RateLimit, Route,
    Timeouts, ValueMatch,
};

use super::Overlay;
use super::apply::{main_port, unknown};
use super::guard;
use super::types::{self, Condition, Several, Target, Targets};
use crate::app::{Application, Service};
use crate::diagnostic::{Problem, Report};
use crate::source::Span;
use crate::value::duration;
use crate::yaml::Node;

/// The routes, and where in the file they stand.
pub(super) fn routes(overlay: &Overlay, application: &Application, report: &mut Report) -> Vec<Arc<Route>> {
    let common = match (&overlay.types.gateway, overlay.tree.get("gateway")) {
        (Some(gateway), Some(node)) => {
            guard::rate_limits(gateway.rate_limit.as_ref(), "gateway", node, report)
        }
        _ => Vec::new(),
    };
    let nodes = overlay.tree.get("routes").map(Node::items).unwrap_or_default();
    let mut names = BTreeSet::new();
    let mut routes = Vec::with_capacity(overlay.types.routes.len());
    for (at, (route, node)) in overlay.types.routes.iter().zip(nodes).enumerate() {
        let production = overlay.types.mode == types::Mode::Production;
        let (services, folder) = (&application.services, &application.folder);
        let external = overlay.types.gateway.as_ref().and_then(|gateway| gateway.external_auth.as_ref());
        let additions = &overlay.types.services;
        let mut reader =
            Reader { node, services, folder, additions, production, common: &common, external, report };
        if let Some(route) = reader.route(route, at) {
            if !names.insert(route.name.clone()) {
                let message = format!("two routes are called `{}`", route.name);
                report.error(code::CONFLICT, node.get("name").map_or(node.span, |node| node.span), message);
            }
            routes.push(Arc::new(route));
        }
    }
    routes
}

/// Where the bytes of a stream go: as for a route, without what is done to requests.
pub(super) fn stream_backends(
    to: &Targets,
    node: &Node,
    application: &Application,
    report: &mut Report,
) -> Vec<Backend> {
    let (services, folder) = (&application.services, &application.folder);
    let additions = &BTreeMap::new();
    let mut reader =
        Reader { node, services, folder, additions, production: false, common: &[], external: None, report };
    let asked = types::Route { to: Some(to.clone()), ..types::Route::default() };
    let backends = reader.backends(&asked);
    if backends.iter().any(|backend| !backend.filters.is_empty()) {
        reader.bad::<()>("to", "bytes that are passed on have no header fields to edit".to_owned());
    }
    backends
}

struct Reader<'a> {
    node: &'a Node,
    services: &'a IndexMap<ServiceName, Service>,
    folder: &'a std::path::Path,
    /// What the overlay says of services.
    additions: &'a BTreeMap<String, types::Service>,
    production: bool,
    /// Limits of rate that every route has.
    common: &'a [RateLimit],
    /// Who decides about every route that does not say otherwise.
    external: Option<&'a types::external::ExternalAuth>,
    report: &'a mut Report,
}

impl Reader<'_> {
    fn span(&self, key: &str) -> Span {
        self.node.get(key).map_or(self.node.span, |node| node.span)
    }

    fn bad<T>(&mut self, key: &str, message: String) -> Option<T> {
        let span = self.span(key);
        self.report.error(code::BAD_VALUE, span, message);
        None
    }

    fn route(&mut self, route: &types::Route, at: usize) -> Option<Route> {
        let before = self.report.errors();
        let hosts = self.hosts(route);
        let matches = self.matches(route);
        let filters = self.filters(route);
        let backends = self.backends(route);
        let resilience = self.resilience(route);
        let content = self.content(route);
        let name = route.name.clone().unwrap_or_else(|| format!("route-{}", at + 1));
        let external = self.external(route, &backends);
        let guard = guard::guard(route, &name, self.node, self.common, self.folder, self.report);
        let guard = Guard { external, ..guard };
        let length = |text: &Option<String>| -> Option<Duration> { duration::parse(text.as_ref()?).ok() };
        let timeouts = Timeouts {
            request: length(&route.timeout),
            per_try: length(&route.per_try_timeout),
            idle: length(&route.idle_timeout),
        };
        (self.report.errors() == before).then_some(Route {
            name,
            section: None,
            hosts,
            matches,
            when: route.when.clone(),
            filters,
            backends,
            timeouts,
            guard: guard.into(),
            content: content.into(),
            resilience: resilience.into(),
            unlogged: route.access_log == Some(false),
        })
    }

    fn hosts(&mut self, route: &types::Route) -> Vec<String> {
        let hosts: Vec<String> =
            Several::list(route.host.as_ref()).iter().map(|host| host.to_ascii_lowercase()).collect();
        for host in &hosts {
            let name = host.strip_prefix("*.").unwrap_or(host);
            let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
            if name.is_empty() || !name.chars().all(allowed) {
                self.bad::<()>(
                    "host",
                    format!("`{host}` is not a host name: it is exact or `*.suffix`, without a port"),
                );
            }
        }
        hosts
    }

    /// Every combination of a path and a method, each with all conditions on fields.
    fn matches(&mut self, route: &types::Route) -> Vec<Match> {
        let mut paths: Vec<Option<PathMatch>> = Vec::new();
        for (key, list) in
            [("path", &route.path), ("path_exact", &route.path_exact), ("path_regex", &route.path_regex)]
        {
            for text in Several::list(list.as_ref()) {
                if key == "path_regex" {
                    self.regex(key, &text);
                } else if !text.starts_with('/') || text.contains(['?', '#', ' ']) {
                    self.bad::<()>(
                        key,
                        format!("`{text}` is not a path: it begins with `/` and has no query"),
                    );
                }
                paths.push(Some(match key {
                    "path" => PathMatch::Prefix(text),
                    "path_exact" => PathMatch::Exact(text),
                    _ => PathMatch::Regex(text),
                }));
            }
        }
        paths.extend(self.grpc(route).into_iter().map(Some));
        let mut methods: Vec<Option<String>> = Vec::new();
        for method in Several::list(route.method.as_ref()) {
            if method.is_empty() || !method.chars().all(|c| c.is_ascii_alphabetic() || c == '-') {
                self.bad::<()>("method", format!("`{method}` is not a method"));
            }
            methods.push(Some(method.to_ascii_uppercase()));
        }
        let headers = self.fields("headers", &route.headers);
        let query = self.fields("query", &route.query);
        if paths.is_empty() && methods.is_empty() && headers.is_empty() && query.is_empty() {
            return Vec::new();
        }
        let any = |list: Vec<Option<String>>| if list.is_empty() { vec![None] } else { list };
        let methods = any(methods);
        if paths.is_empty() {
            paths.push(None);
        }
        let mut out = Vec::with_capacity(paths.len() * methods.len());
        for path in &paths {
            for method in &methods {
                out.push(Match {
                    path: path.clone(),
                    method: method.clone(),
                    headers: headers.clone(),
                    query: query.clone(),
                });
            }
        }
        out
    }

    fn regex(&mut self, key: &str, text: &str) {
        // The same bounds that the engine has: a pattern that passes here is compiled there.
        if let Err(error) = regex::RegexBuilder::new(text).size_limit(1 << 20).build() {
            let why = error.to_string();
            let why = why.lines().last().unwrap_or("").trim().trim_start_matches("error: ").to_owned();
            self.bad::<()>(key, format!("`{text}` is not a regular expression: {why}"));
        }
    }

    fn fields(&mut self, key: &str, fields: &BTreeMap<String, Condition>) -> Vec<FieldMatch> {
        let mut out = Vec::new();
        for (name, condition) in fields {
            if key == "headers" {
                self.field_name(key, name);
            }
            let value = match condition {
                Condition::Exact(text) => ValueMatch::Exact(text.clone()),
                Condition::Regex(pattern) => {
                    self.regex(key, &pattern.regex);
                    ValueMatch::Regex(pattern.regex.clone())
                }
            };
            let name = if key == "headers" { name.to_ascii_lowercase() } else { name.clone() };
            out.push(FieldMatch { name, value });
        }
        out
    }

    /// RFC 9110 section 5.1: a field's name is a token.
    fn field_name(&mut self, key: &str, name: &str) {
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if name.is_empty() || !name.chars().all(token) {
            self.bad::<()>(key, format!("`{name}` is not the name of a header field"));
        }
    }

    fn filters(&mut self, route: &types::Route) -> Vec<Filter> {
        let mut out = self.mirrors(route);
        if let Some(edit) = &route.request_headers {
            out.push(Filter::RequestHeaders(self.edit("request_headers", edit)));
        }
        if let Some(edit) = &route.response_headers {
            out.push(Filter::ResponseHeaders(self.edit("response_headers", edit)));
        }
        if route.strip_prefix && route.path.is_none() {
            self.bad::<()>(
                "strip_prefix",
                "`strip_prefix` needs a `path` whose prefix can be taken off".to_owned(),
            );
        }
        let rewrite = route.rewrite.clone().unwrap_or_default();
        let strip = route.strip_prefix.then(|| "/".to_owned());
        if strip.is_some() && (rewrite.path.is_some() || rewrite.prefix.is_some()) {
            self.bad::<()>(
                "rewrite",
                "`strip_prefix` and a `rewrite` of the path exclude each other".to_owned(),
            );
        }
        let path = self.path_rewrite(
            "rewrite",
            route,
            rewrite.path.as_ref(),
            rewrite.prefix.as_ref().or(strip.as_ref()),
        );
        if rewrite.host.is_some() || path.is_some() {
            out.push(Filter::Rewrite { host: rewrite.host.clone(), path });
        }
        if let Some(redirect) = &route.redirect {
            let status = redirect.status.unwrap_or(302);
            if !matches!(status, 301 | 302 | 303 | 307 | 308) {
                self.bad::<()>(
                    "redirect",
                    format!("{status} is not the status of a redirect: 301, 302, 303, 307 or 308"),
                );
            }
            let path = self.path_rewrite("redirect", route, redirect.path.as_ref(), redirect.prefix.as_ref());
            let (scheme, host) = (redirect.scheme.clone(), redirect.host.clone());
            out.push(Filter::Redirect { scheme, host, port: redirect.port, path, status });
        }
        out
    }

    fn path_rewrite(
        &mut self,
        key: &str,
        route: &types::Route,
        full: Option<&String>,
        prefix: Option<&String>,
    ) -> Option<PathRewrite> {
        match (full, prefix) {
            (Some(_), Some(_)) => self.bad(key, "`path` and `prefix` exclude each other".to_owned()),
            (Some(path), None) => Some(PathRewrite::Full(path.clone())),
            (None, Some(_))
                if route.path_exact.is_some() || route.path_regex.is_some() || route.grpc.is_some() =>
            {
                self.bad(key, "a prefix can only be replaced where the route matches by `path`".to_owned())
            }
            (None, Some(prefix)) => Some(PathRewrite::Prefix(prefix.clone())),
            (None, None) => None,
        }
    }

    fn edit(&mut self, key: &str, edit: &types::HeaderEdit) -> HeaderEdit {
        let names = edit.set.keys().chain(edit.add.keys()).chain(&edit.remove);
        for name in names {
            self.field_name(key, name);
        }
        for value in edit.set.values().chain(edit.add.values()) {
            if value.chars().any(|c| c.is_control() && c != '\t') {
                self.bad::<()>(key, "the value of a header field has no control characters".to_owned());
            }
        }
        let pairs = |map: &BTreeMap<String, String>| {
            map.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect()
        };
        HeaderEdit {
            set: pairs(&edit.set),
            add: pairs(&edit.add),
            remove: edit.remove.iter().map(|name| name.to_ascii_lowercase()).collect(),
        }
    }

    fn backends(&mut self, route: &types::Route) -> Vec<Backend> {
        let short =
            |service: &String| types::Weighted { service: service.clone(), ..types::Weighted::default() };
        let targets: Vec<types::Weighted> = match &route.to {
            None => Vec::new(),
            Some(Targets::One(target)) => vec![short(target)],
            Some(Targets::Some(target)) => vec![types::Weighted::clone(target)],
            Some(Targets::Many(list)) => list
                .iter()
                .map(|target| match target {
                    Target::Short(target) => short(target),
                    Target::Long(target) => types::Weighted::clone(target),
                })
                .collect(),
        };
        let span = self.span("to");
        match (&route.redirect, targets.is_empty()) {
            (None, true) => {
                let problem =
                    Problem::error(code::MISSING_KEY, "the route says neither `to` nor `redirect`").at(span);
                self.report.add(problem);
            }
            (Some(_), false) => {
                self.report.error(code::CONFLICT, span, "`to` and `redirect` exclude each other")
            }
            _ => {}
        }
        let mut backends = Vec::with_capacity(targets.len());
        backends.extend(targets.into_iter().filter_map(|target| self.weighted(&target, span)));
        backends
    }

    fn weighted(&mut self, target: &types::Weighted, span: Span) -> Option<Backend> {
        let mut backend = self.backend(&target.service, target.weight.unwrap_or(1), span)?;
        backend.subset = target.subset.as_ref().and_then(super::upstream::subset);
        if let Some(edit) = &target.request_headers {
            backend.filters.push(Filter::RequestHeaders(self.edit("to", edit)));
        }
        if let Some(edit) = &target.response_headers {
            backend.filters.push(Filter::ResponseHeaders(self.edit("to", edit)));
        }
        Some(backend)
    }

    fn backend(&mut self, target: &str, weight: u32, span: Span) -> Option<Backend> {
        let (name, port) = match target.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (target, None),
        };
        let Some((name, service)) = self.services.iter().find(|(other, _)| other.as_str() == name) else {
            let names: Vec<ServiceName> = self.services.keys().cloned().collect();
            self.report.add(unknown(name, &names, span, "that a route could go to"));
            return None;
        };
        let port = match port.map(str::parse::<u16>) {
            Some(Ok(port)) if port > 0 => port,
            Some(_) => return self.bad("to", format!("`{target}` is not `service` or `service:port`")),
            None => match main_port(service) {
                Some(port) => port,
                None => {
                    let message = format!("no port of `{name}` is known");
                    let hint = format!("write `to: {name}:8080`, or add `port:` to the service");
                    self.report.add(Problem::error(code::MISSING_KEY, message).at(span).hint(hint));
                    return None;
                }
            },
        };
        let listen = service.listens.iter().find(|listen| listen.port == port && !listen.udp);
        let protocol = listen.map(|listen| listen.protocol).unwrap_or_default();
        Some(Backend { weight, ..Backend::new(name.clone(), port, protocol) })
    }
}
