//! Parameters as they stand in a request, and the values that they mean (OpenAPI 3.1.1 section 4.8.12.2 and 4.8.12.7).

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Number, Value};

/// What a value may be, as far as it decides how a text is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// It may be a text, or nothing is said.
    pub text: bool,
    /// It may be a number.
    pub number: bool,
    /// It may be true or false.
    pub truth: bool,
    /// It may be null.
    pub null: bool,
    /// It is a list, of such.
    pub items: Option<Box<Shape>>,
    /// It is an object, with such.
    pub properties: Option<BTreeMap<String, Shape>>,
}

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// `a,b`; in paths and header fields.
    Simple,
    /// `.a.b`; in paths.
    Label,
    /// `;name=a`; in paths.
    Matrix,
    /// `name=a`; in queries and cookies.
    Form,
    /// `name=a%20b`; in queries.
    Space,
    /// `name=a|b`; in queries.
    Pipe,
    /// `name[key]=a`; in queries.
    DeepObject,
}

impl Style {
    /// By its name in a description.
    pub fn of(name: &str) -> Option<Self> {
        Some(match name {
            "simple" => Style::Simple,
            "label" => Style::Label,
            "matrix" => Style::Matrix,
            "form" => Style::Form,
            "spaceDelimited" => Style::Space,
            "pipeDelimited" => Style::Pipe,
            "deepObject" => Style::DeepObject,
            _ => return None,
        })
    }
}

/// Why a text is no value of a parameter.
pub type Bad = &'static str;

/// Readers differ in which one counts.
pub const TWICE: Bad = "it stands there more than once";

/// Percent-decodes; as a form is, where `+` is a space, if asked to.
pub fn decode(text: &str, form: bool) -> String {
    let bytes = decoded_bytes(text, form);
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

fn decoded_bytes(text: &str, form: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        let mut ahead = bytes.clone();
        match (byte, digit(ahead.next()), digit(ahead.next())) {
            (b'%', Some(high), Some(low)) => {
                out.push(u8::try_from(high << 4 | low).unwrap_or(b'?'));
                bytes = ahead;
            }
            (b'+', _, _) if form => out.push(b' '),
            _ => out.push(byte),
        }
    }
    out
}

/// A part of a query or form: its name, decoded, and its value as it stands there.
pub type Pair<'a> = (Cow<'a, str>, &'a str);

/// The parts of a query or form.
pub fn pairs(query: &str) -> Vec<Pair<'_>> {
    let parts = query.split('&').filter(|part| !part.is_empty());
    let split = parts.map(|part| part.split_once('=').unwrap_or((part, "")));
    let plain = |name: &str| !name.contains(['%', '+']);
    split
        .map(|(name, value)| (if plain(name) { name.into() } else { decode(name, true).into() }, value))
        .collect()
}

/// What is not UTF-8 once it is decoded: readers make different texts of it.
const NO_TEXT: Bad = "it is no text in UTF-8";

/// Whether a value that stands in a request is a text.
pub fn text(value: &str) -> Result<&str, Bad> {
    let good = !value.contains('%') || String::from_utf8(decoded_bytes(value, false)).is_ok();
    if good { Ok(value) } else { Err(NO_TEXT) }
}

/// A text as the first of what it may be that it can be read as. What may be a text, too, is a number only if that says all of it.
pub fn plain(text: String, shape: &Shape) -> Value {
    if shape.number
        && let Some(number) = number(&text)
        && (!shape.text || number.to_string() == text)
    {
        return Value::Number(number);
    }
    match text.as_str() {
        "true" if shape.truth => Value::Bool(true),
        "false" if shape.truth => Value::Bool(false),
        "" | "null" if shape.null && !shape.text => Value::Null,
        _ => Value::String(text),
    }
}

fn number(text: &str) -> Option<Number> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    serde_json::from_str(text).ok().filter(|_| plain)
}

/// What a parameter of a path, header field or cookie means; `name` is its own.
pub fn single(
    text: &str,
    style: Style,
    explode: bool,
    name: &str,
    shape: &Shape,
    encoded: bool,
) -> Result<Value, Bad> {
    let decoded = |text: &str| if encoded { decode(text, false) } else { text.to_owned() };
    let text = if encoded { self::text(text)? } else { text };
    let (text, separator) = match style {
        Style::Label => {
            (text.strip_prefix('.').ok_or("it begins with `.`")?, if explode { '.' } else { ',' })
        }
        Style::Matrix => {
            let text = text.strip_prefix(';').ok_or("it begins with `;` and its name")?;
            // Of an object that is written out, each key stands alone.
            if !(explode && shape.properties.is_some()) {
                let own = text.split(if explode { ';' } else { '\0' });
                let values: Option<Vec<&str>> = own
                    .map(|part| part.split_once('=').filter(|(key, _)| *key == name).map(|(_, one)| one))
                    .collect();
                let values = values.ok_or("it begins with `;` and its name")?;
                return Ok(listed(
                    values.iter().flat_map(|one| one.split(',')).collect(),
                    shape,
                    false,
                    decoded,
                ));
            }
            (text, ';')
        }
        _ => (text, ','),
    };
    let parts: Vec<&str> = if shape.items.is_none() && shape.properties.is_none() {
        vec![text]
    } else {
        text.split(separator).map(|part| if encoded { part } else { part.trim() }).collect()
    };
    Ok(listed(parts, shape, explode, decoded))
}

/// Parts as a list, an object or one value, whichever it is.
fn listed(parts: Vec<&str>, shape: &Shape, explode: bool, decoded: impl Fn(&str) -> String) -> Value {
    if let Some(items) = &shape.items {
        let parts = parts.iter().filter(|part| parts.len() > 1 || !part.is_empty());
        return Value::Array(parts.map(|part| plain(decoded(part), items)).collect());
    }
    let Some(properties) = &shape.properties else {
        return plain(decoded(parts.first().copied().unwrap_or_default()), shape);
    };
    let none = Shape { text: true, ..Shape::default() };
    let mut map = Map::new();
    let mut put = |key: &str, value: &str| {
        let key = decoded(key);
        let value = plain(decoded(value), properties.get(&key).unwrap_or(&none));
        map.insert(key, value);
    };
    if explode {
        parts.iter().filter_map(|part| part.split_once('=')).for_each(|(key, value)| put(key, value));
    } else {
        for pair in parts.chunks(2) {
            if let [key, value] = pair {
                put(key, value);
            }
        }
    }
    Value::Object(map)
}

/// What a parameter of a query or form means; `None` when it is not there.
pub fn queried(
    pairs: &[Pair<'_>],
    style: Style,
    explode: bool,
    name: &str,
    shape: &Shape,
) -> Result<Option<Value>, Bad> {
    if style == Style::DeepObject {
        return deep(pairs, name, shape);
    }
    if let (true, Some(properties)) = (explode && style == Style::Form, &shape.properties) {
        let mut map = Map::new();
        for (key, one) in properties {
            let inner = queried(pairs, Style::Form, true, key, one)?;
            map.extend(inner.map(|value| (key.clone(), value)));
        }
        return Ok((!map.is_empty()).then_some(Value::Object(map)));
    }
    let values: Vec<&str> = pairs.iter().filter(|(key, _)| key == name).map(|(_, value)| *value).collect();
    valued(&values, style, explode, shape)
}

/// The values of one name.
fn valued(values: &[&str], style: Style, explode: bool, shape: &Shape) -> Result<Option<Value>, Bad> {
    let decoded = |text: &str| decode(text, true);
    let Some(first) = values.first() else { return Ok(None) };
    for value in values {
        text(value)?;
    }
    if explode && let Some(items) = &shape.items {
        return Ok(Some(Value::Array(values.iter().map(|one| plain(decoded(one), items)).collect())));
    }
    if values.len() > 1 {
        return Err(TWICE);
    }
    let parts: Vec<Cow<'_, str>> = match style {
        _ if shape.items.is_none() && shape.properties.is_none() => vec![Cow::Borrowed(*first)],
        Style::Space => first.split('+').flat_map(|part| part.split("%20")).map(Cow::Borrowed).collect(),
        Style::Pipe => first
            .replace("%7c", "|")
            .replace("%7C", "|")
            .split('|')
            .map(|one| one.to_owned().into())
            .collect(),
        _ => first.split(',').map(Cow::Borrowed).collect(),
    };
    Ok(Some(listed(parts.iter().map(|part| &**part).collect(), shape, false, decoded)))
}

/// `name[key]=value`, each key with one value or a list of them.
fn deep(pairs: &[Pair<'_>], name: &str, shape: &Shape) -> Result<Option<Value>, Bad> {
    let none = Shape { text: true, ..Shape::default() };
    let mut map = Map::new();
    for (key, value) in pairs {
        let Some(inner) = key.strip_prefix(name).and_then(|rest| rest.strip_prefix('[')?.strip_suffix(']'))
        else {
            continue;
        };
        let (inner, value) = (inner.strip_suffix("][").unwrap_or(inner), decode(text(value)?, true));
        let own = shape.properties.as_ref().and_then(|all| all.get(inner)).unwrap_or(&none);
        match &own.items {
            Some(items) => {
                let list = map.entry(inner.to_owned()).or_insert_with(|| Value::Array(Vec::new()));
                if let Value::Array(list) = list {
                    list.push(plain(value, items));
                }
            }
            None if map.contains_key(inner) => return Err(TWICE),
            None => drop(map.insert(inner.to_owned(), plain(value, own))),
        }
    }
    Ok((!map.is_empty()).then_some(Value::Object(map)))
}

/// A form as an object: every part, those that nobody described too.
pub fn form(pairs: &[Pair<'_>], shape: &Shape) -> Result<Value, Bad> {
    let none = Shape { text: true, ..Shape::default() };
    let mut named: HashMap<&str, Vec<&str>> = HashMap::new();
    for (key, value) in pairs {
        named.entry(key).or_default().push(value);
    }
    let mut map = Map::new();
    for (key, values) in named {
        let own = shape.properties.as_ref().and_then(|all| all.get(key)).unwrap_or(&none);
        let flat = Shape { properties: None, text: own.text || own.properties.is_some(), ..own.clone() };
        if let Some(value) = valued(&values, Style::Form, true, &flat)? {
            map.insert(key.to_owned(), value);
        }
    }
    Ok(Value::Object(map))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn text() -> Shape {
        Shape { text: true, ..Shape::default() }
    }

    fn list(of: Shape) -> Shape {
        Shape { items: Some(Box::new(of)), ..Shape::default() }
    }

    fn number() -> Shape {
        Shape { number: true, ..Shape::default() }
    }

    fn rgb() -> Shape {
        let all = ["R", "G", "B"].map(|name| (name.to_owned(), number()));
        Shape { properties: Some(all.into()), ..Shape::default() }
    }

    #[test]
    fn the_styles_of_paths_and_fields() {
        let object = json!({"R": 100, "G": 200});
        let colors = json!(["blue", "bl,ack"]);
        for (written, style, explode, shape, value) in [
            ("5", Style::Simple, false, number(), json!(5)),
            ("5x", Style::Simple, false, number(), json!("5x")),
            ("a%2Fb,c", Style::Simple, false, text(), json!("a/b,c")),
            ("blue,bl%2Cack", Style::Simple, false, list(text()), colors.clone()),
            ("R,100,G,200", Style::Simple, false, rgb(), object.clone()),
            ("R=100,G=200", Style::Simple, true, rgb(), object.clone()),
            (".blue", Style::Label, false, text(), json!("blue")),
            (".blue,bl%2Cack", Style::Label, false, list(text()), colors.clone()),
            (".blue.bl%2Cack", Style::Label, true, list(text()), colors.clone()),
            (".R=100.G=200", Style::Label, true, rgb(), object.clone()),
            (";color=blue", Style::Matrix, false, text(), json!("blue")),
            (";color=blue,bl%2Cack", Style::Matrix, false, list(text()), colors.clone()),
            (";color=blue;color=bl%2Cack", Style::Matrix, true, list(text()), colors),
            (";R=100;G=200", Style::Matrix, true, rgb(), object),
        ] {
            assert_eq!(single(written, style, explode, "color", &shape, true), Ok(value), "{written}");
        }
        assert!(single("blue", Style::Label, false, "color", &text(), true).is_err());
        assert!(single(";other=blue", Style::Matrix, false, "color", &text(), true).is_err());
        assert_eq!(single("1, 2", Style::Simple, false, "x", &list(number()), false), Ok(json!([1, 2])));
    }

    #[test]
    fn the_styles_of_queries() {
        let object = json!({"R": 100, "G": 200});
        for (written, style, explode, shape, value) in [
            ("color=1", Style::Form, true, number(), Some(json!(1))),
            ("other=1", Style::Form, true, number(), None),
            ("c%6Flor=a+b", Style::Form, true, text(), Some(json!("a b"))),
            ("color=blue&x=1&color=black", Style::Form, true, list(text()), Some(json!(["blue", "black"]))),
            ("color=blue,bl%2Cack", Style::Form, false, list(text()), Some(json!(["blue", "bl,ack"]))),
            ("color=R,100,G,200", Style::Form, false, rgb(), Some(object.clone())),
            ("R=100&G=200&x=1", Style::Form, true, rgb(), Some(object.clone())),
            ("color=1%202+3", Style::Space, false, list(number()), Some(json!([1, 2, 3]))),
            ("color=1|2%7C3", Style::Pipe, false, list(number()), Some(json!([1, 2, 3]))),
            ("color[R]=100&color%5BG%5D=200", Style::DeepObject, true, rgb(), Some(object)),
            ("color=", Style::Form, false, list(text()), Some(json!([]))),
        ] {
            let read = queried(&pairs(written), style, explode, "color", &shape);
            assert_eq!(read, Ok(value), "{written}");
        }
        assert!(queried(&pairs("color=1&color=2"), Style::Form, true, "color", &number()).is_err());
    }

    #[test]
    fn a_form_is_an_object_with_everything_in_it() {
        let own = [("n".to_owned(), number()), ("l".to_owned(), list(number()))];
        let shape = Shape { properties: Some(own.into()), ..Shape::default() };
        let value = form(&pairs("n=1&l=2&l=3&x=4+5"), &shape).unwrap();
        assert_eq!(value, json!({"n": 1, "l": [2, 3], "x": "4 5"}));
        assert!(form(&pairs("x=1&x=2"), &shape).is_err());
    }
}
