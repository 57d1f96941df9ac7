//! gRPC methods and mirrors of a route.

use tutti_core::code;
use tutti_ports::routing::{Filter, PathMatch};

use super::Reader;
use crate::diagnostic::Problem;
use crate::overlay::types::{self, Condition, Fraction, GrpcMatch, Mirror, OneOrMany};

impl Reader<'_> {
    /// What the paths of gRPC methods must be.
    pub(super) fn grpc(&mut self, route: &types::Route) -> Vec<PathMatch> {
        let mut out = Vec::new();
        for GrpcMatch { service, method } in OneOrMany::list(route.grpc.as_ref()) {
            if let (None | Some(Condition::Exact(_)), None | Some(Condition::Exact(_))) = (&service, &method)
            {
                let text = |condition: Option<Condition>| match condition {
                    Some(Condition::Exact(text)) => Some(text),
                    _ => None,
                };
                let (service, method) = (text(service), text(method));
                for name in service.iter().chain(&method) {
                    let fine = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
                    if name.is_empty() || !name.chars().all(fine) {
                        self.bad::<()>(
                            "grpc",
                            format!("`{name}` is not the name of a gRPC service or method"),
                        );
                    }
                }
                out.push(PathMatch::Grpc { service, method });
                continue;
            }
            let mut part = |condition: Option<Condition>| match condition {
                None => "[^/]+".to_owned(),
                Some(Condition::Exact(text)) => regex::escape(&text),
                Some(Condition::Regex(pattern)) => {
                    self.regex("grpc", &pattern.regex);
                    format!("(?:{})", pattern.regex)
                }
            };
            let (service, method) = (part(service), part(method));
            out.push(PathMatch::Regex(format!("/{service}/{method}")));
        }
        out
    }

    pub(super) fn mirrors(&mut self, route: &types::Route) -> Vec<Filter> {
        let mirrors = OneOrMany::list(route.mirror.as_ref());
        let span = self.span("mirror");
        if !mirrors.is_empty() && route.redirect.is_some() {
            self.report.error(code::CONFLICT, span, "`mirror` and `redirect` exclude each other");
        }
        let most = tutti_core::limits::ROUTE_MIRRORS;
        if mirrors.len() > most {
            self.bad::<()>("mirror", format!("a route has at most {most} mirrors"));
        }
        let mut out = Vec::new();
        for mirror in mirrors {
            let share = match mirror {
                Mirror::Short(to) => types::MirrorShare { to, ..types::MirrorShare::default() },
                Mirror::Long(share) => share,
            };
            let (numerator, denominator) = match (share.percent, &share.fraction) {
                (Some(_), Some(_)) => {
                    let message = "`percent` and `fraction` exclude each other";
                    self.report.add(Problem::error(code::CONFLICT, message).at(span));
                    continue;
                }
                (percent, None) => (percent.unwrap_or(100), 100),
                (None, Some(Fraction { numerator, denominator })) => (*numerator, denominator.unwrap_or(100)),
            };
            if numerator > denominator {
                self.bad::<()>("mirror", format!("{numerator} of {denominator} is more than all requests"));
            }
            let Some(mut backend) = self.backend(&share.to, 1, span) else { continue };
            if let Some(edit) = &share.request_headers {
                backend.filters.push(Filter::RequestHeaders(self.edit("mirror", edit)));
            }
            out.push(Filter::Mirror { backend: Box::new(backend), numerator, denominator });
        }
        out
    }
}
