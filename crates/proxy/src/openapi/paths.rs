//! Which path of a description a request means: concrete ones before templates (OpenAPI 3.1.1 section 4.8.8.2).

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use crate::model::path::decode_unreserved;

/// Paths of a description, each with a number.
#[derive(Debug, Default)]
pub struct Paths {
    exact: HashMap<String, usize>,
    /// Templates by their number of segments, the more concrete ones first.
    templates: BTreeMap<usize, Vec<Template>>,
}

#[derive(Debug)]
struct Template {
    segments: Vec<Segment>,
    number: usize,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Segment {
    Text(String),
    /// Texts and names in turn, a text first; all names are of this many bytes at least one.
    Mixed(Vec<Part>),
    Name(String),
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Text(String),
    Name(String),
}

/// A path that was found: its number, and what stands in the request for each name, as it was sent.
pub type Found<'a> = (usize, Vec<(&'a str, &'a str)>);

impl Paths {
    /// Adds a path. The error is a sentence.
    pub fn add(&mut self, path: &str, number: usize) -> Result<(), String> {
        if !path.starts_with('/') {
            return Err(format!("the path `{path}` does not begin with `/`"));
        }
        if !path.contains('{') {
            self.exact.insert(canonical(path), number);
            return Ok(());
        }
        let segments: Vec<Segment> = path.split('/').skip(1).map(segment).collect::<Result<_, _>>()?;
        let list = self.templates.entry(segments.len()).or_default();
        let at = list.partition_point(|other| other.segments <= segments);
        list.insert(at, Template { segments, number });
        Ok(())
    }

    /// Finds the path of a request, without what stands before all paths.
    pub fn find<'a>(&'a self, path: &'a str) -> Option<Found<'a>> {
        if let Some(number) = self.exact.get(path) {
            return Some((*number, Vec::new()));
        }
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        self.templates.get(&parts.len())?.iter().find_map(|template| {
            let mut values = Vec::new();
            let fits = template.segments.iter().zip(&parts).all(|(one, text)| one.holds(text, &mut values));
            fits.then_some((template.number, values))
        })
    }
}

/// A path, or a part of one, as it stands in requests once their paths are in [one form](crate::model::path).
pub fn canonical(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            0x21..=0x7e => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    decode_unreserved(&out).map(Cow::into_owned).unwrap_or(out)
}

fn segment(text: &str) -> Result<Segment, String> {
    let bad = || format!("`{text}` is no segment of a path with names in braces");
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, behind) = after.split_once('}').ok_or_else(bad)?;
        if name.is_empty() || name.contains('{') {
            return Err(bad());
        }
        if !before.is_empty() {
            parts.push(Part::Text(canonical(before)));
        } else if matches!(parts.last(), Some(Part::Name(_))) {
            return Err(format!("in `{text}` nobody can tell where one name ends and the next begins"));
        }
        parts.push(Part::Name(name.to_owned()));
        rest = behind;
    }
    if !rest.is_empty() {
        parts.push(Part::Text(canonical(rest)));
    }
    Ok(match parts.as_slice() {
        [Part::Name(name)] => Segment::Name(name.clone()),
        [Part::Text(text)] => Segment::Text(text.clone()),
        [] => Segment::Text(String::new()),
        _ => Segment::Mixed(parts),
    })
}

impl Segment {
    fn holds<'a>(&'a self, text: &'a str, values: &mut Vec<(&'a str, &'a str)>) -> bool {
        match self {
            Segment::Text(own) => own == text,
            Segment::Name(name) => {
                values.push((name, text));
                !text.is_empty()
            }
            Segment::Mixed(parts) => mixed(parts, text, values),
        }
    }
}

/// Each name reaches up to where the next text first stands.
fn mixed<'a>(parts: &'a [Part], text: &'a str, values: &mut Vec<(&'a str, &'a str)>) -> bool {
    match parts {
        [] => text.is_empty(),
        [Part::Text(own), rest @ ..] => {
            text.strip_prefix(own.as_str()).is_some_and(|text| mixed(rest, text, values))
        }
        [Part::Name(name)] => {
            values.push((name, text));
            !text.is_empty()
        }
        [Part::Name(name), rest @ ..] => {
            let Some(Part::Text(next)) = rest.first() else { return false };
            // The last text of all stands at the end.
            let at = if rest.len() == 1 {
                text.strip_suffix(next.as_str()).map(str::len)
            } else {
                text.find(next)
            };
            let Some((value, text)) = at.filter(|at| *at > 0).and_then(|at| text.split_at_checked(at)) else {
                return false;
            };
            values.push((name, value));
            mixed(rest, text, values)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn concrete_paths_come_before_templates() {
        let mut paths = Paths::default();
        let all = [
            "/pets/{id}",
            "/pets/mine",
            "/{any}/{id}",
            "/pets/{id}.{form}",
            "/",
            "/pets/v{n}/x",
            "/{a}/mine/x",
            "/a:{verb}",
        ];
        for (at, path) in all.iter().enumerate() {
            paths.add(path, at).unwrap();
        }
        let found = |path| paths.find(path).map(|(at, values)| (all[at], values));
        assert_eq!(found("/pets/mine").unwrap().0, "/pets/mine");
        assert_eq!(found("/pets/7"), Some(("/pets/{id}", vec![("id", "7")])));
        assert_eq!(found("/pets/7.json"), Some(("/pets/{id}.{form}", vec![("id", "7"), ("form", "json")])));
        assert_eq!(found("/cats/7").unwrap().0, "/{any}/{id}");
        assert_eq!(found("/pets/v2/x"), Some(("/pets/v{n}/x", vec![("n", "2")])));
        assert_eq!(found("/a:run"), Some(("/a:{verb}", vec![("verb", "run")])));
        assert_eq!(found("/").unwrap().0, "/");
        for none in ["/pets/", "/pets/7/", "/a:", "/pets", "/pets/v/x"] {
            assert_eq!(found(none), None, "{none}");
        }
    }

    #[test]
    fn templates_that_cannot_be_told_apart_are_refused() {
        for bad in ["/{a}{b}", "/{a", "/{}", "pets"] {
            assert!(Paths::default().add(bad, 0).is_err(), "{bad}");
        }
    }
}
