//! The normalised model against the reference implementation of the Compose Specification.
//!
//! Each folder of `corpus/good` is an application. Its `expected.json` is what `docker-compose config --format json`
//! printed for it, with the folder's path replaced; our model has to be equal. Where the program itself is at hand
//! (`TUTTI_COMPOSE_ORACLE` names it, or `target/oracle/docker-compose` exists) it is run, and the record has to be
//! equal too; with `TUTTI_UPDATE=1` it is written anew. Cases in which we mean to differ are listed in
//! `corpus/differences.md`, each with its reason; they have our own result in `ours.json`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value as Json;
use tutti_model::{LoadOptions, load};

const PLACEHOLDER: &str = "/CASE";

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

fn cases() -> Vec<PathBuf> {
    let mut cases: Vec<PathBuf> = std::fs::read_dir(corpus().join("good"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    cases.sort();
    cases
}

/// How a case is called, from its `case.json`.
fn options(case: &Path) -> LoadOptions {
    let text = std::fs::read_to_string(case.join("case.json")).unwrap_or_else(|_| "{}".to_owned());
    let json: Json = serde_json::from_str(&text).unwrap();
    let strings = |key: &str| -> Vec<String> {
        let list = json[key].as_array().cloned().unwrap_or_default();
        list.iter().map(|item| item.as_str().unwrap().to_owned()).collect()
    };
    let mut env: BTreeMap<String, String> =
        BTreeMap::from([("HOME".to_owned(), format!("{}/home", case.display()))]);
    for (key, value) in json["env"].as_object().into_iter().flatten() {
        env.insert(key.clone(), value.as_str().unwrap().to_owned());
    }
    LoadOptions {
        folder: case.join(json["folder"].as_str().unwrap_or("")),
        files: strings("files").iter().map(PathBuf::from).collect(),
        env_files: strings("env_files").iter().map(PathBuf::from).collect(),
        profiles: strings("profiles"),
        project_name: json["project_name"].as_str().map(str::to_owned),
        env,
        ..LoadOptions::default()
    }
}

fn oracle() -> Option<PathBuf> {
    let named = std::env::var_os("TUTTI_COMPOSE_ORACLE").map(PathBuf::from);
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/oracle/docker-compose");
    named.or(Some(installed)).filter(|path| path.is_file())
}

/// What the reference implementation says; its refusal as `{"refused": …}`.
fn ask(oracle: &Path, case: &Path) -> Json {
    let options = options(case);
    let mut command = Command::new(oracle);
    command.env_clear().envs(&options.env).current_dir(&options.folder);
    for file in &options.files {
        command.arg("-f").arg(file);
    }
    for file in &options.env_files {
        command.arg("--env-file").arg(file);
    }
    for profile in &options.profiles {
        command.arg("--profile").arg(profile);
    }
    if let Some(name) = &options.project_name {
        command.arg("-p").arg(name);
    }
    let output = command.args(["config", "--format", "json"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    match serde_json::from_str(&text) {
        Ok(json) if output.status.success() => anonymous(json, case),
        _ => {
            let error = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            let last = error.lines().filter(|line| !line.starts_with("time=")).collect::<Vec<_>>().join(" ");
            anonymous(serde_json::json!({ "refused": last }), case)
        }
    }
}

/// Replaces the folder of the case, which differs from machine to machine.
fn anonymous(json: Json, case: &Path) -> Json {
    let text = json.to_string().replace(&case.display().to_string(), PLACEHOLDER);
    // A case may look above its own folder.
    let text = text.replace(&corpus().join("good").display().to_string(), "/CORPUS");
    let json: Json = serde_json::from_str(&text).unwrap();
    numbers(json)
}

/// 1 and 1.0 are the same number.
fn numbers(json: Json) -> Json {
    match json {
        Json::Number(number) => match number.as_f64() {
            Some(float) if float.fract() == 0.0 && float.abs() < 1e15 => Json::from(float as i64),
            _ => Json::Number(number),
        },
        Json::Array(list) => list.into_iter().map(numbers).collect(),
        Json::Object(map) => map.into_iter().map(|(key, value)| (key, numbers(value))).collect(),
        other => other,
    }
}

fn ours(case: &Path) -> Json {
    match load(&options(case)) {
        Ok(loaded) => anonymous(loaded.model, case),
        Err(problems) => serde_json::json!({ "refused": problems.render(false) }),
    }
}

fn read(path: &Path) -> Option<Json> {
    Some(serde_json::from_str(&std::fs::read_to_string(path).ok()?).unwrap())
}

fn write(path: &Path, json: &Json) {
    std::fs::write(path, format!("{json:#}\n")).unwrap();
}

fn name(case: &Path) -> String {
    case.file_name().unwrap().to_string_lossy().into_owned()
}

/// The cases of `differences.md`: the first cell of each row of its table.
fn differences() -> BTreeSet<String> {
    let text = std::fs::read_to_string(corpus().join("differences.md")).unwrap();
    text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next().map(str::to_owned)).collect()
}

/// Every path at which two documents differ.
fn compare(at: &str, left: &Json, right: &Json, out: &mut Vec<String>) {
    match (left, right) {
        (Json::Object(a), Json::Object(b)) => {
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for key in keys {
                let null = Json::String("(absent)".to_owned());
                compare(
                    &format!("{at}.{key}"),
                    a.get(key).unwrap_or(&null),
                    b.get(key).unwrap_or(&null),
                    out,
                );
            }
        }
        (Json::Array(a), Json::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().for_each(|(n, (a, b))| compare(&format!("{at}[{n}]"), a, b, out));
        }
        _ if left == right => {}
        _ => out.push(format!("  {at}: compose {left}, ours {right}")),
    }
}

#[test]
fn our_model_is_that_of_the_reference_implementation() {
    let update = std::env::var_os("TUTTI_UPDATE").is_some();
    let oracle = oracle();
    let known = differences();
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for case in cases() {
        let name = name(&case);
        let record = case.join("expected.json");
        if let (Some(oracle), true) = (&oracle, update) {
            write(&record, &ask(oracle, &case));
        }
        let expected = read(&record).unwrap_or_else(|| panic!("{name} has no expected.json"));
        let ours = ours(&case);
        let mut differ = Vec::new();
        compare("", &expected, &ours, &mut differ);
        if known.contains(&name) {
            seen.insert(name.clone());
            if update {
                write(&case.join("ours.json"), &ours);
            }
            if differ.is_empty() {
                wrong.push(format!("{name}: is listed in differences.md and does not differ"));
            } else if read(&case.join("ours.json")).as_ref() != Some(&ours) {
                wrong.push(format!("{name}: ours.json is not what we print: {ours:#}"));
            }
        } else if !differ.is_empty() {
            wrong.push(format!("{name}:\n{}", differ.join("\n")));
        }
    }
    let missing: Vec<_> = known.difference(&seen).collect();
    assert!(missing.is_empty(), "differences.md names cases that do not exist: {missing:?}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(cases().len() >= 100, "the corpus has only {} cases", cases().len());
}

#[test]
fn the_record_is_what_the_reference_implementation_says() {
    let Some(oracle) = oracle() else {
        eprintln!("skipped: no reference implementation; set TUTTI_COMPOSE_ORACLE to its path");
        return;
    };
    for case in cases() {
        let expected = read(&case.join("expected.json")).unwrap();
        assert_eq!(ask(&oracle, &case), expected, "{}", name(&case));
    }
}
