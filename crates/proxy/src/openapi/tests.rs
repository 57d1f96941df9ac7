//! Descriptions, compiled and held against requests.

use http::HeaderMap;
use serde_json::{Value, json};

use super::api::Api;
use super::check;
use super::files::{Files, Looked};
use crate::error::Problem;

fn compile(description: &Value) -> Result<Api, String> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("api.json");
    std::fs::write(&file, description.to_string()).unwrap();
    let files = Files::read(&file, dir.path(), &mut Looked::default())?;
    Api::compile(&files, None, true)
}

fn shop(version: &str) -> Value {
    json!({
        "openapi": version,
        "servers": [{"url": "https://{host}/api/v1/", "variables": {"host": {"default": "x.test"}}}],
        "paths": {
            "/orders/{id}": {
                "parameters": [{"$ref": "#/components/parameters/id"}],
                "get": {
                    "parameters": [
                        {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 100}},
                        {"name": "tag", "in": "query", "schema": {"type": "array", "items": {"enum": ["a", "b"]}}},
                        {"name": "filter", "in": "query", "style": "deepObject", "schema": {
                            "type": "object", "properties": {"price": {"type": "number"}}, "additionalProperties": false}},
                        {"name": "X-Tenant", "in": "header", "required": true, "schema": {"type": "string", "pattern": "^[a-z]+$"}},
                        {"name": "session", "in": "cookie", "schema": {"type": "string", "minLength": 4}},
                        {"name": "Authorization", "in": "header", "required": true, "schema": {"type": "integer"}},
                        {"name": "where", "in": "query", "content": {"application/json": {"schema": {"type": "object"}}}}
                    ],
                    "responses": {"200": {"description": "x"}}
                },
                "put": {
                    "requestBody": {"required": true, "content": {
                        "application/json": {"schema": {"$ref": "#/components/schemas/Order"}},
                        "application/x-www-form-urlencoded": {"schema": {"$ref": "#/components/schemas/Order"}}}},
                    "responses": {}
                }
            }
        },
        "components": {
            "parameters": {"id": {"name": "id", "in": "path", "required": true, "schema": {"type": "integer"}}},
            "schemas": {
                "Order": {"type": "object", "required": ["id", "name", "items"], "additionalProperties": false, "properties": {
                    "id": {"type": "integer", "readOnly": true},
                    "name": {"type": "string", "maxLength": 10},
                    "note": if version.starts_with("3.0") { json!({"type": "string", "nullable": true}) } else { json!({"type": ["string", "null"]}) },
                    "items": {"type": "array", "minItems": 1, "items": {"type": "integer"}},
                    "parent": {"$ref": "#/components/schemas/Order"}
                }}
            }
        }
    })
}

fn shown(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(|one| format!("{} {}: {}", one.place, one.name, one.detail)).collect()
}

fn get(api: &Api, id: &str, query: &str, headers: &[(&'static str, &str)]) -> Vec<String> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, value.parse().unwrap());
    }
    let (number, names) = api.paths.find("/orders/x").unwrap();
    let names: Vec<(&str, &str)> = names.iter().map(|(name, _)| (*name, id)).collect();
    let (_, operation) = api.items[number].iter().find(|(method, _)| method == "GET").unwrap();
    shown(&check::parameters(&api.operations[*operation], &names, Some(query), &map))
}

fn put(api: &Api, kind: &str, body: &str) -> Vec<String> {
    let operation = api.operations.iter().find(|one| one.name.starts_with("PUT")).unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("content-type", kind.parse().unwrap());
    match check::media(operation.body.as_ref().unwrap(), &headers) {
        Err(problem) => shown(&[problem]),
        Ok((at, kind)) => {
            shown(&check::body(&operation.body.as_ref().unwrap().media[at].1, kind, body.as_bytes()))
        }
    }
}

#[test]
fn parameters_are_held_against_their_schemas() {
    let api = compile(&shop("3.1.0")).unwrap();
    assert_eq!(api.bases, ["/api/v1"]);
    let tenant = ("x-tenant", "acme");
    let none: [String; 0] = [];
    assert_eq!(get(&api, "7", "limit=5&tag=a&tag=b&filter[price]=1.5&where=%7B%7D&other=1", &[tenant]), none);
    for (id, query, headers, expected) in [
        ("x", "", &[tenant][..], "path id: it is not of type \"integer\""),
        ("7", "limit=0", &[tenant], "query limit: it is less than the minimum of 1"),
        ("7", "limit=5x", &[tenant], "query limit: it is not of type \"integer\""),
        ("7", "limit=5&limit=6", &[tenant], "query limit: it stands there more than once"),
        ("7", "tag=a&tag=c", &[tenant], "query tag/1: it is not one of \"a\" or \"b\""),
        ("7", "filter[price]=x", &[tenant], "query filter/price: it is not of type \"number\""),
        (
            "7",
            "filter[cost]=1",
            &[tenant],
            "query filter: Additional properties are not allowed ('cost' was unexpected)",
        ),
        ("7", "where=[]", &[tenant], "query where: it is not of type \"object\""),
        ("7", "where={", &[tenant], "query where: it is no JSON"),
        // Which of two counts, readers do not agree on.
        ("7", "where=%7B%7D&where=[]", &[tenant], "query where: it stands there more than once"),
        (
            "7",
            "filter[price]=1&filter%5Bprice%5D=2",
            &[tenant],
            "query filter: it stands there more than once",
        ),
        // Nor what these bytes mean: an overlong `<` to some, U+FFFD to others.
        ("7", "tag=a&tag=%C0%BC", &[tenant], "query tag: it is no text in UTF-8"),
        ("%FF", "", &[tenant], "path id: it is no text in UTF-8"),
        ("7", "", &[], "header X-Tenant: it is missing"),
        ("7", "", &[("x-tenant", "S3cret!")], "header X-Tenant: it does not match"),
        (
            "7",
            "",
            &[tenant, ("cookie", "a=b; session=abc")],
            "cookie session: it is shorter than 4 characters",
        ),
        (
            "7",
            "",
            &[tenant, ("cookie", "session=good; session=abc")],
            "cookie session: it stands there more than once",
        ),
        // What stands in a cookie beside it hides it from nobody.
        ("7", "", &[tenant, ("cookie", "a=\u{e9}; session=abc")], "cookie session: it is shorter than"),
    ] {
        let problems = get(&api, id, query, headers);
        assert_eq!(problems.len(), 1, "{id} {query}: {problems:?}");
        assert!(problems[0].starts_with(expected), "{problems:?} is not {expected:?}");
        assert!(!problems[0].contains("S3cret"), "{problems:?}");
    }
}

#[test]
fn bodies_are_held_against_their_schemas_in_both_versions() {
    for version in ["3.0.3", "3.1.0"] {
        let api = compile(&shop(version)).unwrap();
        let none: [String; 0] = [];
        let json = "application/json; charset=utf-8";
        // What is only read need not be there.
        assert_eq!(put(&api, json, r#"{"name": "a", "items": [1], "note": null}"#), none);
        assert_eq!(put(&api, "application/x-www-form-urlencoded", "name=a&items=1&items=2"), none);
        for (kind, body, expected) in [
            (
                json,
                r#"{"name": "hunter2hunter2", "items": [1]}"#,
                "body /name: it is longer than 10 characters",
            ),
            (
                json,
                r#"{"name": "a", "items": [1, "hunter2"]}"#,
                "body /items/1: it is not of type \"integer\"",
            ),
            (json, r#"{"items": [1]}"#, "body : \"name\" is a required property"),
            (
                json,
                r#"{"name": "a", "items": [1], "parent": {"name": "a", "items": []}}"#,
                "body /parent/items: it has less than 1 item",
            ),
            (json, r#"{"name": "a", "name": "b", "items": [1]}"#, "body : a name stands twice"),
            (json, "{", "body : it is no JSON"),
            ("application/x-www-form-urlencoded", "name=a&items=x", "body /items/0: it is not of type"),
            ("application/xml", "<a/>", "header content-type: it is one of: application/json"),
            (
                "application/json; charset=utf-16",
                "{}",
                "header content-type: such a body is written in UTF-8",
            ),
            (
                "application/json; Charset=\"UTF-16\"",
                "{}",
                "header content-type: such a body is written in UTF-8",
            ),
            (
                "application/x-www-form-urlencoded; x=y; charset=ibm037",
                "name=a&items=1",
                "header content-type: such a body is written in UTF-8",
            ),
            ("application/x-www-form-urlencoded", "name=%FF&items=1", "body : it is no text in UTF-8"),
            (
                "application/x-www-form-urlencoded",
                "name=a&items=1&n%61me=b",
                "body : it stands there more than",
            ),
            ("", "{}", "header content-type: it is one of"),
        ] {
            let problems = put(&api, kind, body);
            assert_eq!(problems.len(), 1, "{version} {body}: {problems:?}");
            assert!(problems[0].starts_with(expected), "{problems:?} is not {expected:?}");
            assert!(!problems[0].contains("hunter2"), "{problems:?}");
        }
    }
}

#[test]
fn what_is_no_description_is_refused_with_its_place() {
    for (description, why) in [
        (json!({"swagger": "2.0"}), "Swagger 2.0 is not read"),
        (json!({"openapi": "4.0.0"}), "OpenAPI 4.0.0 is not read"),
        (json!({}), "does not say `openapi"),
        (
            json!({"openapi": "3.1.0", "paths": {"/a": {"get": {"parameters": [{"in": "query"}]}}}}),
            "/a: GET: a parameter has no `name`",
        ),
        (
            json!({"openapi": "3.1.0", "paths": {"/a": {"get": {"parameters": [{"name": "x", "in": "query", "schema": {"type": "strng"}}]}}}}),
            "`x`",
        ),
        (
            json!({"openapi": "3.1.0", "paths": {"/a": {"post": {"requestBody": {"$ref": "#/components/none"}}}}}),
            "there is nothing",
        ),
        (
            json!({"openapi": "3.1.0", "paths": {"/a": {"get": {"parameters": [{"name": "x", "in": "query", "schema": {"$ref": "#/none"}}]}}}}),
            "there is nothing",
        ),
    ] {
        let error = compile(&description).err().unwrap_or_else(|| panic!("{description}"));
        assert!(error.contains(why), "{error} is not {why}");
    }
}

/// Schemas that branch at each level, and recurse: what a naive reader takes exponential time for.
#[test]
fn a_bomb_of_schemas_or_bodies_stalls_nobody() {
    let mut schemas = serde_json::Map::new();
    for level in 0..24 {
        let next = json!({"$ref": format!("#/components/schemas/L{}", level + 1)});
        schemas.insert(format!("L{level}"), json!({"allOf": [next, next]}));
    }
    schemas.insert("L24".into(), json!({"type": "object"}));
    let node = json!({"$ref": "#/components/schemas/Node"});
    let branch = |extra: &str| json!({"type": "object", "properties": {"c": {"type": "array", "items": node}, extra: {"type": "string"}}});
    schemas.insert("Node".into(), json!({"oneOf": [branch("a"), branch("b"), {"type": "integer"}]}));
    schemas.insert("Loop".into(), json!({"allOf": [{"$ref": "#/components/schemas/Loop2"}]}));
    schemas.insert(
        "Loop2".into(),
        json!({"anyOf": [{"$ref": "#/components/schemas/Loop"}, {"type": "object"}]}),
    );
    for (name, body) in [
        ("L0", "{}".to_owned()),
        ("L0", "[]".to_owned()),
        ("Node", format!("{}1{}", "{\"c\": [".repeat(30), "]}".repeat(30))),
        ("Node", format!("{}true{}", "{\"c\": [".repeat(30), "]}".repeat(30))),
        ("Loop", "{}".to_owned()),
        ("Loop", "1".to_owned()),
    ] {
        let schema = json!({"$ref": format!("#/components/schemas/{name}")});
        let content = json!({"application/json": {"schema": schema}});
        let description = json!({"openapi": "3.1.0", "components": {"schemas": schemas.clone()},
            "paths": {"/a": {"post": {"requestBody": {"content": content}}}}});
        let begun = std::time::Instant::now();
        let api = compile(&description).unwrap_or_else(|error| panic!("{name}: {error}"));
        let compiled = begun.elapsed();
        let media = &api.operations[0].body.as_ref().unwrap().media[0].1;
        let problems = shown(&check::body(media, "application/json", body.as_bytes()));
        eprintln!(
            "{name}: compiled in {compiled:?}, looked at in {:?}: {problems:?}",
            begun.elapsed() - compiled
        );
        // What only refers to itself forbids nothing.
        let fine = name == "Loop";
        assert_eq!(problems.is_empty(), fine, "{name} {body}: {problems:?}");
    }
}

/// Each schema leads to the next: the program must not end for want of stack.
#[test]
fn a_row_of_thousands_of_schemas_is_too_much() {
    let mut schemas = serde_json::Map::new();
    for level in 0..5_000 {
        let next = json!({"$ref": format!("#/components/schemas/L{}", level + 1)});
        schemas.insert(format!("L{level}"), json!({"allOf": [next]}));
    }
    schemas.insert("L5000".into(), json!({"type": "object"}));
    let content = json!({"application/json": {"schema": {"$ref": "#/components/schemas/L0"}}});
    let description = json!({"openapi": "3.1.0", "components": {"schemas": schemas},
        "paths": {"/a": {"post": {"requestBody": {"content": content}}}}});
    let api = compile(&description).unwrap();
    let media = &api.operations[0].body.as_ref().unwrap().media[0].1;
    let problems = shown(&check::body(media, "application/json", b"{}"));
    assert_eq!(problems, ["body : it is too much work to look at"]);
}

/// As many names as fit: who looks for each among all of them takes minutes.
#[test]
fn a_form_of_many_names_takes_no_longer_than_its_length() {
    let api = compile(&shop("3.1.0")).unwrap();
    let many: String = (0..50_000).map(|number| format!("%61{number}=&")).collect();
    let problems = put(&api, "application/x-www-form-urlencoded", &many);
    assert!(problems[0].starts_with("body : "), "{problems:?}");
}

#[test]
fn what_people_write_in_descriptions_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let shapes = "\u{feff}{\"S\": {\"type\": \"integer\"}}";
    std::fs::write(dir.path().join("shapes.json"), shapes).unwrap();
    // Names that are keywords elsewhere, and paths as people read them.
    let file = dir.path().join("api.yaml");
    let text = "\u{feff}openapi: 3.1.0
servers: [{url: /übersicht}]
paths:
  /größe der/{straße}/x%c3%a4: {get: {parameters: [{name: straße, in: path, required: true, schema: {type: integer}}]}}
  /prix é: {get: {}}
  /form: {post: {requestBody: {content: {application/json: {schema: {$ref: '#/components/schemas/example'}}}}}}
components:
  schemas:
    example: {type: object, properties: {example: {$ref: 'shapes.json#/S'}, enum: {$ref: 'shapes.json#/S'}}}
";
    std::fs::write(&file, text).unwrap();
    let files = Files::read(&file, dir.path(), &mut Looked::default()).unwrap();
    let api = Api::compile(&files, None, false).unwrap();
    assert_eq!(api.bases, ["/%C3%BCbersicht"]);
    let found = api.paths.find("/gr%C3%B6%C3%9Fe%20der/7/x%C3%A4").unwrap();
    assert_eq!(found.1, [("straße", "7")]);
    assert!(api.paths.find("/prix%20%C3%A9").is_some());
    let form = api.operations.iter().find(|one| one.name == "POST /form").unwrap();
    let media = &form.body.as_ref().unwrap().media[0].1;
    for name in ["example", "enum"] {
        assert_eq!(check::body(media, "application/json", format!("{{\"{name}\": 1}}").as_bytes()), []);
        let problems =
            shown(&check::body(media, "application/json", format!("{{\"{name}\": \"x\"}}").as_bytes()));
        assert_eq!(problems, [format!("body /{name}: it is not of type \"integer\"")]);
    }
}

/// Loads every description below a folder, and says which cannot be.
#[test]
#[ignore = "wants a folder of descriptions in TUTTI_OPENAPI_FOLDER"]
fn descriptions_of_others_load() {
    fn below(folder: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                below(&path, found);
            } else if ["json", "yaml", "yml"]
                .iter()
                .any(|end| path.extension().is_some_and(|own| own == *end))
            {
                found.push(path);
            }
        }
    }
    let folder = std::path::PathBuf::from(std::env::var_os("TUTTI_OPENAPI_FOLDER").unwrap());
    let mut found = Vec::new();
    below(&folder, &mut found);
    let (mut good, mut bad) = (0, 0);
    for path in found {
        let text = std::fs::read_to_string(&path).unwrap();
        let is_one = |line: &str| line.trim_start().trim_start_matches('"').starts_with("openapi");
        if !text.lines().take(12).any(is_one)
            && !text.starts_with("{\"openapi\"")
            && !text.contains("\"openapi\":\"3")
        {
            continue;
        }
        let begun = std::time::Instant::now();
        let read = Files::read(&path, &folder, &mut Looked::default());
        let api = read.and_then(|files| Api::compile(&files, None, true));
        let took = begun.elapsed();
        match api {
            Ok(api) => {
                good += 1;
                if took.as_millis() > 300 || !api.unchecked.is_empty() {
                    println!(
                        "{}: {} operations, {took:?}, {:?}",
                        path.display(),
                        api.operations.len(),
                        api.unchecked
                    );
                }
            }
            Err(why) => {
                bad += 1;
                println!("{}: {took:?}: {}", path.display(), check::cut(&why));
            }
        }
    }
    println!("{good} load, {bad} do not");
}
