//! Whether a request, or an answer, is as an operation describes it.
//!
//! What is wrong is told by the name of the parameter or the place in the body, and by what was expected. What stood there is
//! not told: it may be a secret.

use http::HeaderMap;
use http::header::{CONTENT_TYPE, COOKIE};
use jsonschema::Validator;
use serde_json::Value;

use super::api::{Content, Media, Operation, Parameter, Place};
use super::json;
use super::steps;
use super::style::{self, Pair, Shape, pairs};
use crate::error::Problem;

/// Most problems that are told.
const PROBLEMS: usize = 8;

/// How much work a parameter may make, and a body besides what its length allows.
const STEPS: u64 = 50_000;

const COMPLEX: &str = "it is too much work to look at";

/// Longest text of one.
const TEXT: usize = 300;

/// A text, if it is not too long, else its beginning.
pub fn cut(text: &str) -> String {
    match text.char_indices().nth(TEXT) {
        None => text.to_owned(),
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
    }
}

fn problem(place: &'static str, name: &str, detail: &str) -> Problem {
    Problem { place, name: cut(name), detail: cut(detail) }
}

impl Place {
    fn as_str(self) -> &'static str {
        match self {
            Place::Path => "path",
            Place::Query => "query",
            Place::Header => "header",
            Place::Cookie => "cookie",
        }
    }
}

/// What is wrong with the parameters of a request; `path` is what stands there for the names of the template.
pub fn parameters(
    operation: &Operation,
    path: &[(&str, &str)],
    query: Option<&str>,
    headers: &HeaderMap,
) -> Vec<Problem> {
    let query = pairs(query.unwrap_or_default());
    let mut out = Vec::new();
    for parameter in &operation.parameters {
        let value = read(parameter, path, &query, headers);
        judge(parameter, value, &mut out);
        if out.len() >= PROBLEMS {
            break;
        }
    }
    out.truncate(PROBLEMS);
    out
}

fn read(
    parameter: &Parameter,
    path: &[(&str, &str)],
    query: &[Pair<'_>],
    headers: &HeaderMap,
) -> Result<Option<Value>, String> {
    let name = parameter.name.as_str();
    let Some((style, explode)) = parameter.style else {
        let text = match parameter.place {
            Place::Path => {
                let found = path.iter().find(|(key, _)| *key == name);
                found.map(|(_, text)| style::text(text).map(|text| style::decode(text, false))).transpose()?
            }
            Place::Query => {
                let found = only(query.iter().filter(|(key, _)| key == name).map(|(_, text)| *text))?;
                found.map(|text| style::text(text).map(|text| style::decode(text, true))).transpose()?
            }
            Place::Header => joined(headers, name)?,
            Place::Cookie => cookie(headers, name)?,
        };
        return text.map(|text| json::parse(text.as_bytes())).transpose();
    };
    let shape = &parameter.shape;
    let single = |text: &str, encoded| style::single(text, style, explode, name, shape, encoded);
    let value = match parameter.place {
        Place::Path => {
            path.iter().find(|(key, _)| *key == name).map(|(_, text)| single(text, true)).transpose()
        }
        Place::Query => style::queried(query, style, explode, name, shape),
        Place::Header => joined(headers, name)?.map(|text| single(&text, false)).transpose(),
        Place::Cookie => cookie(headers, name)?.map(|text| single(&text, true)).transpose(),
    };
    value.map_err(str::to_owned)
}

fn joined(headers: &HeaderMap, name: &str) -> Result<Option<String>, String> {
    let texts: Result<Vec<&str>, _> = headers.get_all(name).iter().map(|value| value.to_str()).collect();
    let texts = texts.map_err(|_| "it is no text".to_owned())?;
    Ok((!texts.is_empty()).then(|| texts.join(",")))
}

/// The one that there is: readers differ in which of several counts.
fn only<T>(mut all: impl Iterator<Item = T>) -> Result<Option<T>, style::Bad> {
    let first = all.next();
    if all.next().is_some() { Err(style::TWICE) } else { Ok(first) }
}

/// The value of a cookie. Other cookies may hold what they like.
fn cookie(headers: &HeaderMap, name: &str) -> Result<Option<String>, String> {
    let fields = headers.get_all(COOKIE).iter();
    let parts = fields.flat_map(|field| field.as_bytes().split(|byte| *byte == b';'));
    let named = parts.filter_map(|part| {
        let part = part.trim_ascii();
        let at = part.iter().position(|byte| *byte == b'=')?;
        let (key, value) = part.split_at_checked(at)?;
        (key.trim_ascii() == name.as_bytes()).then(|| value.get(1..).unwrap_or_default())
    });
    let value = only(named)?.map(|value| std::str::from_utf8(value).map(str::to_owned));
    value.transpose().map_err(|_| "it is no text".to_owned())
}

fn judge(parameter: &Parameter, value: Result<Option<Value>, String>, out: &mut Vec<Problem>) {
    let place = parameter.place.as_str();
    let name = parameter.name.as_str();
    let value = match value {
        Ok(Some(value)) => value,
        Ok(None) if parameter.required => return out.push(problem(place, name, "it is missing")),
        Ok(None) => return,
        Err(why) => return out.push(problem(place, name, &why)),
    };
    if parameter.empty && value == Value::String(String::new()) {
        return;
    }
    let Some(schema) = &parameter.schema else { return };
    // A text that reads as a number may have been meant as a text.
    let as_text = (parameter.shape.text && is_scalar(&value)).then(|| Value::String(value.to_string()));
    match steps::bounded(STEPS, || {
        schema.is_valid(&value) || as_text.as_ref().is_some_and(|text| schema.is_valid(text))
    }) {
        Some(true) => return,
        Some(false) => {}
        None => return out.push(problem(place, name, COMPLEX)),
    }
    for (at, why) in errors(schema, &value) {
        let name = if at.is_empty() { name.to_owned() } else { format!("{name}{at}") };
        out.push(problem(place, &name, &why));
    }
}

fn is_scalar(value: &Value) -> bool {
    value.is_number() || value.is_boolean() || value.is_null()
}

/// Where and why a value is not as its schema says, without the value.
fn errors(schema: &Validator, value: &Value) -> Vec<(String, String)> {
    let tell = || {
        let told = schema.iter_errors(value).take(PROBLEMS);
        told.map(|error| (error.instance_path().to_string(), error.masked_with("it").to_string())).collect()
    };
    // To say why takes more work than to say whether.
    steps::bounded(STEPS, tell)
        .unwrap_or_else(|| vec![(String::new(), "it is not as its schema says".to_owned())])
}

/// Which of the described bodies one is, by its type; `Err` says what is taken.
pub fn media<'a>(content: &'a Content, headers: &HeaderMap) -> Result<(usize, &'a str), Problem> {
    let said = only(headers.get_all(CONTENT_TYPE).iter());
    let said = said.map_err(|why| problem("header", "content-type", why))?;
    let said = said.and_then(|value| value.to_str().ok()).unwrap_or_default().to_ascii_lowercase();
    let mut parts = said.split(';');
    let kind = parts.next().unwrap_or_default().trim();
    let mut charsets = parts.filter_map(|part| {
        let (name, set) = part.split_once('=')?;
        (name.trim() == "charset").then(|| set.trim().trim_matches('"'))
    });
    if is_read(kind) && charsets.any(|set| !matches!(set, "utf-8" | "utf8" | "us-ascii")) {
        return Err(problem("header", "content-type", "such a body is written in UTF-8"));
    }
    let fits = |described: &str| match described.split_once('/') {
        Some(("*", "*")) => true,
        Some((main, "*")) => kind.split_once('/').is_some_and(|(own, _)| own == main),
        _ => described == kind,
    };
    let found = content.media.iter().enumerate().find(|(_, (described, _))| fits(described));
    found.map(|(at, (described, _))| (at, described.as_str())).ok_or_else(|| {
        let taken: Vec<&str> = content.media.iter().map(|(kind, _)| kind.as_str()).collect();
        problem("header", "content-type", &format!("it is one of: {}", taken.join(", ")))
    })
}

/// Whether a media type is JSON.
pub fn is_json(kind: &str) -> bool {
    kind == "application/json" || kind.ends_with("+json")
}

/// Whether bodies of a type are looked into.
pub fn is_read(kind: &str) -> bool {
    is_json(kind) || kind == "application/x-www-form-urlencoded"
}

/// What is wrong with a body. `kind` is its own type, without parameters.
pub fn body(media: &Media, kind: &str, text: &[u8]) -> Vec<Problem> {
    let value = if is_json(kind) {
        json::parse(text)
    } else {
        let text = std::str::from_utf8(text).map_err(|_| "it is no text".to_owned());
        text.and_then(|text| {
            let object = Shape {
                properties: Some(media.shape.properties.clone().unwrap_or_default()),
                ..Shape::default()
            };
            style::form(&pairs(text), &object).map_err(str::to_owned)
        })
    };
    let value = match value {
        Ok(value) => value,
        Err(why) => return vec![problem("body", "", &why)],
    };
    let Some(schema) = &media.schema else { return Vec::new() };
    match steps::bounded(STEPS + 10 * text.len() as u64, || schema.is_valid(&value)) {
        Some(true) => return Vec::new(),
        Some(false) => {}
        None => return vec![problem("body", "", COMPLEX)],
    }
    errors(schema, &value).iter().map(|(at, why)| problem("body", at, why)).collect()
}

/// What is wrong with the header of an answer.
pub fn fields(described: &[Parameter], headers: &HeaderMap) -> Vec<Problem> {
    let mut out = Vec::new();
    for parameter in described {
        judge(parameter, read(parameter, &[], &[], headers), &mut out);
    }
    out.truncate(PROBLEMS);
    out
}
