//! A description, compiled: its paths, and what each operation takes and answers.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use http::{Method, StatusCode};
use jsonschema::{Registry, Validator};
use serde_json::{Value, json};
use tutti_core::limits;

use super::dialect::{Dialect, Side, options};
use super::files::{Files, path_of};
use super::paths::{Paths, canonical};
use super::shape;
use super::style::{Shape, Style};

/// A compiled description.
pub struct Api {
    /// What stands before all paths, the longest first, without a `/` at the end.
    pub bases: Vec<String>,
    /// The paths.
    pub paths: Paths,
    /// What may be done at each.
    pub items: Vec<Vec<(Method, usize)>>,
    /// The operations.
    pub operations: Vec<Operation>,
    /// Regular expressions that are not checked.
    pub unchecked: Vec<String>,
}

/// An operation.
pub struct Operation {
    /// Such as `GET /pets/{id}`.
    pub name: String,
    /// What it takes besides a body.
    pub parameters: Vec<Parameter>,
    /// The body that it takes.
    pub body: Option<Content>,
    /// What it answers; empty if nobody asked for it.
    pub answers: Vec<(Statuses, Answer)>,
}

/// Where a parameter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// In the path.
    Path,
    /// In the query.
    Query,
    /// In the header.
    Header,
    /// In a cookie.
    Cookie,
}

/// A parameter.
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub place: Place,
    /// Whether it must be there.
    pub required: bool,
    /// Whether it may be there without a value.
    pub empty: bool,
    /// How it is written; `None`: as JSON.
    pub style: Option<(Style, bool)>,
    /// What it may be.
    pub shape: Shape,
    /// The schema.
    pub schema: Option<Arc<Validator>>,
}

/// Bodies, by media type.
pub struct Content {
    /// Whether there must be one.
    pub required: bool,
    /// Types and what they hold, exact ones first.
    pub media: Vec<(String, Media)>,
}

/// What a body of one type holds.
pub struct Media {
    /// What it may be.
    pub shape: Shape,
    /// The schema.
    pub schema: Option<Arc<Validator>>,
}

/// Statuses that an answer is described for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Statuses {
    /// One.
    One(u16),
    /// Those of a class: `4XX`.
    Class(u16),
    /// The others.
    Others,
}

impl Statuses {
    /// Whether a status is among them.
    pub fn hold(self, status: StatusCode) -> bool {
        match self {
            Statuses::One(one) => one == status.as_u16(),
            Statuses::Class(class) => class == status.as_u16() / 100,
            Statuses::Others => true,
        }
    }
}

/// An answer.
pub struct Answer {
    /// Its header fields.
    pub headers: Vec<Parameter>,
    /// Its body; `None`: nothing is said.
    pub body: Option<Content>,
}

const METHODS: [Method; 8] = [
    Method::GET,
    Method::PUT,
    Method::POST,
    Method::DELETE,
    Method::OPTIONS,
    Method::HEAD,
    Method::PATCH,
    Method::TRACE,
];

impl Api {
    /// Compiles files. `answers` says whether the answers are compiled, too. The error is a sentence.
    pub fn compile(files: &Files, base: Option<&str>, answers: bool) -> Result<Self, String> {
        let root = files.trees.get(&files.root).ok_or("there is nothing")?;
        let old = is_old(root).map_err(|why| format!("{}: {why}", path_of(&files.root)))?;
        let mut out = Self {
            bases: bases(root, base)?,
            paths: Paths::default(),
            items: Vec::new(),
            operations: Vec::new(),
            unchecked: Vec::new(),
        };
        let (request, mut unchecked) = adapted(files, old, Side::Request);
        let requests = Schemas::of(&request)?;
        let response = answers.then(|| adapted(files, old, Side::Response).0);
        let responses = response.as_ref().map(Schemas::of).transpose()?;
        let root = request.trees.get(&files.root).ok_or("there is nothing")?;
        let paths = root.get("paths").and_then(Value::as_object).into_iter().flatten();
        for (path, _) in paths.filter(|(path, _)| !path.starts_with("x-")) {
            let pointer = format!("/paths/{}", escaped(path));
            let named = |why: String| format!("{}: {path}: {why}", path_of(&files.root));
            out.item(path, &pointer, &requests, responses.as_ref()).map_err(named)?;
        }
        out.unchecked.append(&mut unchecked);
        Ok(out)
    }

    fn item(
        &mut self,
        path: &str,
        pointer: &str,
        requests: &Schemas<'_>,
        responses: Option<&Schemas<'_>>,
    ) -> Result<(), String> {
        let (file, pointer, item) = requests.files.at(&requests.files.root, pointer)?;
        self.paths.add(path, self.items.len())?;
        let mut methods = Vec::new();
        for method in METHODS {
            let key = method.as_str().to_ascii_lowercase();
            let Some(operation) = item.get(&key) else { continue };
            if self.operations.len() >= limits::OPENAPI_OPERATIONS {
                return Err(format!("more than {} operations", limits::OPENAPI_OPERATIONS));
            }
            let own = format!("{pointer}/{key}");
            let name = format!("{method} {path}");
            let mut parameters = BTreeMap::new();
            for (value, at) in [(item, &pointer), (operation, &own)] {
                let list = value.get("parameters").and_then(Value::as_array).map_or(0, Vec::len);
                for number in 0..list {
                    let at = format!("{at}/parameters/{number}");
                    let parameter =
                        requests.parameter(&file, &at).map_err(|why| format!("{method}: {why}"))?;
                    parameters.extend(
                        parameter.map(|parameter| ((parameter.place, parameter.name.clone()), parameter)),
                    );
                }
            }
            let body =
                operation.get("requestBody").map(|_| requests.body(&file, &format!("{own}/requestBody")));
            let body = body.transpose().map_err(|why| format!("{method}: {why}"))?;
            let answers = match responses {
                Some(responses) => {
                    responses.answers(&file, &own).map_err(|why| format!("{method}: {why}"))?
                }
                None => Vec::new(),
            };
            methods.push((method, self.operations.len()));
            let parameters = parameters.into_values().collect();
            self.operations.push(Operation { name, parameters, body, answers });
        }
        self.items.push(methods);
        Ok(())
    }
}

/// Whether it is of version 3.0, not 3.1.
fn is_old(root: &Value) -> Result<bool, String> {
    match root.get("openapi").and_then(Value::as_str) {
        Some(version) if version.starts_with("3.0") => Ok(true),
        Some(version) if version.starts_with("3.1") || version.starts_with("3.2") => Ok(false),
        Some(version) => Err(format!("OpenAPI {} is not read: 3.0 and 3.1 are", super::check::cut(version))),
        None if root.get("swagger").is_some() => {
            Err("Swagger 2.0 is not read: OpenAPI 3.0 and 3.1 are".to_owned())
        }
        None => Err("it does not say `openapi: 3.1.0` or the like".to_owned()),
    }
}

/// What stands before the paths: what was said, else the paths of the `servers`.
fn bases(root: &Value, said: Option<&str>) -> Result<Vec<String>, String> {
    let mut bases: Vec<String> = match said {
        Some(said) => vec![said.to_owned()],
        None => {
            let servers = root.get("servers").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            servers.iter().map(server).collect::<Result<_, _>>()?
        }
    };
    if bases.is_empty() {
        bases.push(String::new());
    }
    for base in &mut bases {
        base.truncate(base.trim_end_matches('/').len());
        *base = canonical(base);
    }
    bases.sort_by_key(|base| std::cmp::Reverse(base.len()));
    bases.dedup();
    Ok(bases)
}

fn server(server: &Value) -> Result<String, String> {
    let mut url = server.get("url").and_then(Value::as_str).ok_or("a server has no `url`")?.to_owned();
    for (name, variable) in server.get("variables").and_then(Value::as_object).into_iter().flatten() {
        let default = variable.get("default").and_then(Value::as_str).unwrap_or_default();
        url = url.replace(&format!("{{{name}}}"), default);
    }
    let path = match url.split_once("://") {
        Some((_, rest)) => rest.find('/').and_then(|at| rest.get(at..)).unwrap_or_default().to_owned(),
        None if url.starts_with('/') || url.is_empty() => url,
        None => format!("/{url}"),
    };
    Ok(path.split(['?', '#']).next().unwrap_or_default().to_owned())
}

fn adapted(files: &Files, old: bool, side: Side) -> (Files, Vec<String>) {
    let mut files = files.clone();
    let mut dialect = Dialect::new(old, side);
    files.trees.values_mut().for_each(|tree| dialect.adapt(tree));
    (files, dialect.unchecked.into_iter().collect())
}

fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// Makes validators of the schemas of files.
struct Schemas<'a> {
    files: &'a Files,
    registry: Registry<'a>,
    made: std::cell::RefCell<HashMap<String, Arc<Validator>>>,
}

impl<'a> Schemas<'a> {
    fn of(files: &'a Files) -> Result<Self, String> {
        let mut builder = Registry::new().draft(jsonschema::Draft::Draft202012);
        for (address, tree) in &files.trees {
            builder = builder.add(address.as_str(), tree).map_err(|error| error.to_string())?;
        }
        let registry = builder.prepare().map_err(|error| error.to_string())?;
        Ok(Self { files, registry, made: Default::default() })
    }

    /// The schema at a place, and what it may be.
    fn schema(&self, file: &str, pointer: &str) -> Result<(Arc<Validator>, Shape), String> {
        let (file, pointer, value) = self.files.at(file, pointer)?;
        let shape = shape::of(self.files, &file, value);
        let fragment: String = pointer
            .bytes()
            .map(|byte| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                    char::from(byte).to_string()
                }
                _ => format!("%{byte:02X}"),
            })
            .collect();
        let reference = format!("{file}#{fragment}");
        if let Some(known) = self.made.borrow().get(&reference) {
            return Ok((Arc::clone(known), shape));
        }
        let made = options().with_registry(&self.registry).build(&json!({ "$ref": reference }));
        let made = Arc::new(made.map_err(|error| format!("{}#{pointer}: {error}", path_of(&file)))?);
        self.made.borrow_mut().insert(reference, Arc::clone(&made));
        Ok((made, shape))
    }

    /// A parameter; `None` for fields that a description does not describe there (OpenAPI 3.1.1 section 4.8.12.1).
    fn parameter(&self, file: &str, pointer: &str) -> Result<Option<Parameter>, String> {
        let (file, pointer, value) = self.files.at(file, pointer)?;
        let text = |key: &str| value.get(key).and_then(Value::as_str);
        let name = text("name").ok_or("a parameter has no `name`")?;
        let place = match text("in") {
            Some("path") => Place::Path,
            Some("query") => Place::Query,
            Some("header") => Place::Header,
            Some("cookie") => Place::Cookie,
            _ => return Err(format!("the parameter `{name}` stands `in` no place that there is")),
        };
        let not_ours = ["accept", "content-type", "authorization"];
        if place == Place::Header && not_ours.contains(&name.to_ascii_lowercase().as_str()) {
            return Ok(None);
        }
        self.field(&file, &pointer, value, name, place).map(Some)
    }

    fn field(
        &self,
        file: &str,
        pointer: &str,
        value: &Value,
        name: &str,
        place: Place,
    ) -> Result<Parameter, String> {
        let truth = |key: &str| value.get(key).and_then(Value::as_bool);
        let default = if matches!(place, Place::Path | Place::Header) { "simple" } else { "form" };
        let style = value.get("style").and_then(Value::as_str).unwrap_or(default);
        let style = Style::of(style).ok_or_else(|| format!("`{name}`: there is no style `{style}`"))?;
        let explode = truth("explode").unwrap_or(style == Style::Form);
        let media = value.get("content").and_then(Value::as_object).and_then(|content| content.keys().next());
        let (at, style) = match media {
            Some(media) => (format!("{pointer}/content/{}/schema", escaped(media)), None),
            None => (format!("{pointer}/schema"), Some((style, explode))),
        };
        let there = value.pointer(at.strip_prefix(pointer).unwrap_or_default()).is_some();
        let (schema, shape) = if there {
            let (schema, shape) = self.schema(file, &at).map_err(|why| format!("`{name}`: {why}"))?;
            (Some(schema), shape)
        } else {
            (None, Shape { text: true, ..Shape::default() })
        };
        let required = place == Place::Path || truth("required").unwrap_or(false);
        let empty = truth("allowEmptyValue").unwrap_or(false);
        Ok(Parameter { name: name.to_owned(), place, required, empty, style, shape, schema })
    }

    fn body(&self, file: &str, pointer: &str) -> Result<Content, String> {
        let (file, pointer, value) = self.files.at(file, pointer)?;
        let mut media = Vec::new();
        for (kind, described) in value.get("content").and_then(Value::as_object).into_iter().flatten() {
            let at = format!("{pointer}/content/{}/schema", escaped(kind));
            let made = described.get("schema").map(|_| self.schema(&file, &at)).transpose()?;
            let (schema, shape) =
                made.map_or((None, Shape::default()), |(schema, shape)| (Some(schema), shape));
            let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
            media.push((kind, Media { shape, schema }));
        }
        media.sort_by_key(|(kind, _)| kind.matches('*').count());
        let required = value.get("required").and_then(Value::as_bool).unwrap_or(false);
        Ok(Content { required, media })
    }

    fn answers(&self, file: &str, operation: &str) -> Result<Vec<(Statuses, Answer)>, String> {
        let (file, at, value) = self.files.at(file, operation)?;
        let mut out = Vec::new();
        for (status, _) in value.get("responses").and_then(Value::as_object).into_iter().flatten() {
            let statuses = match (status.as_str(), status.parse::<u16>()) {
                ("default", _) => Statuses::Others,
                (_, Ok(status)) => Statuses::One(status),
                (class, _) if class.len() == 3 && class.to_ascii_uppercase().ends_with("XX") => {
                    Statuses::Class(class.get(..1).and_then(|digit| digit.parse().ok()).unwrap_or(0))
                }
                _ => continue,
            };
            let (file, at, value) = self.files.at(&file, &format!("{at}/responses/{}", escaped(status)))?;
            let mut headers = Vec::new();
            for (name, _) in value.get("headers").and_then(Value::as_object).into_iter().flatten() {
                let (file, at, value) = self.files.at(&file, &format!("{at}/headers/{}", escaped(name)))?;
                if !name.eq_ignore_ascii_case("content-type") {
                    headers.push(self.field(&file, &at, value, name, Place::Header)?);
                }
            }
            let body = value.get("content").map(|_| self.body(&file, &at)).transpose()?;
            out.push((statuses, Answer { headers, body }));
        }
        out.sort_by_key(|(statuses, _)| *statuses);
        Ok(out)
    }
}
