//! A start without the files: what was in force is kept, and serves again when the files cannot be used.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::Value;

use crate::app::{App, HEALTH, Said, free_port};
use crate::client;

/// A service that answers with what an `env_file`, the shell and the overlay say.
fn shop() -> App {
    let app = App::new(
        "services: { web: { image: x, env_file: [web.env], environment: { SHELL_SAYS: '${SAID}' }, ports: ['127.0.0.1::80'] } }",
        &overlay("one"),
    );
    app.write("web.env", "PASSWORD=hunter2\n");
    app.env("SAID", "of-the-shell")
}

fn overlay(greeting: &str) -> String {
    format!("services: {{ web: {{ run: [FIXTURE], env: {{ GREETING: {greeting} }}, health: {HEALTH} }} }}")
}

fn file(app: &App) -> PathBuf {
    app.data().join("last-good")
}

/// What the file's first line says.
fn head(app: &App) -> Value {
    serde_json::from_str(std::fs::read_to_string(file(app)).unwrap().lines().next().unwrap()).unwrap()
}

#[track_caller]
fn refused(app: &App, args: &[&str], code: &str) -> Said {
    let said = app.tutti(args);
    assert!(said.code == 3 && said.err.contains(code), "{said:?}");
    assert!(app.processes().is_empty(), "{:#?}", app.processes());
    said
}

/// Breaks what the application is read from: one file is half written, one is gone.
fn break_files(app: &App) {
    app.write("compose.yaml", "services: { web: { image: x, env_fi");
    std::fs::remove_file(app.folder().join("web.env")).unwrap();
}

#[test]
fn broken_files_refuse_a_start_and_the_last_good_configuration_serves() {
    let app = shop();
    app.up();
    let serves = |greeting: &str| {
        let said = ["PASSWORD", "SHELL_SAYS", "GREETING"].map(|name| app.get("web", &format!("/env/{name}")));
        assert_eq!(said, ["hunter2", "of-the-shell", greeting]);
    };
    serves("one");
    let text = std::fs::read_to_string(file(&app)).unwrap();
    assert_eq!(std::fs::metadata(file(&app)).unwrap().permissions().mode() & 0o777, 0o600);
    for secret in ["hunter2", "of-the-shell", "web.env"] {
        assert!(!text.contains(secret), "{text}");
    }
    app.tutti(&["down"]).ok();
    break_files(&app);
    let said = refused(&app, &["up", "-d"], "compose.yaml:");
    assert!(said.err.contains("`tutti up --last-good`"), "{said:?}");

    let app = app.env("SAID", "something else");
    let said = app.tutti(&["up", "-d", "--last-good"]).ok();
    assert!(said.err.contains("compose.yaml:") && said.err.contains("TUT0804"), "{said:?}");
    let serves = |greeting: &str, shell: &str| {
        let said = ["PASSWORD", "SHELL_SAYS", "GREETING"].map(|name| app.get("web", &format!("/env/{name}")));
        assert_eq!(said, ["hunter2", shell, greeting]);
    };
    serves("one", "of-the-shell");
    let told = app.json(&["ps"]);
    assert_eq!(told["last_good"]["generation"], 1, "{told:#}");
    assert!(app.tutti(&["ps"]).ok().err.contains("TUT0804"));
    assert!(app.log().contains("TUT0804"), "{}", app.log());
    // What runs goes on: files that cannot be used are still refused, and nothing changes.
    assert_eq!(app.tutti(&["up", "-d"]).code, 3);
    let said = app.tutti(&["up", "-d", "--last-good"]).ok();
    assert!(said.err.contains("goes on with what is in force"), "{said:?}");
    // Another version takes it over as it is.
    let before = app.daemon();
    app.tutti(&["upgrade"]).ok();
    assert!(app.daemon() != before && app.json(&["ps"])["last_good"]["generation"] == 1);
    serves("one", "of-the-shell");
    assert_eq!(head(&app)["generation"], 1);

    // Good files end it.
    let compose = "services: { web: { image: x, env_file: [web.env], environment: { SHELL_SAYS: '${SAID}' }, ports: ['127.0.0.1::80'] } }";
    app.write("compose.yaml", compose);
    app.write("web.env", "PASSWORD=hunter2\n");
    app.write("tutti.yaml", &overlay("two"));
    let said = app.up();
    assert!(!said.err.contains("TUT0804"), "{said:?}");
    serves("two", "something else");
    assert_eq!(app.json(&["ps"])["last_good"], Value::Null);
    assert_eq!(head(&app)["generation"], 2);
    // The same files once more are no other generation.
    app.up();
    assert_eq!(head(&app)["generation"], 2);
}

#[test]
fn without_any_compose_file_it_is_found_by_its_data_directory() {
    let app = shop();
    app.up();
    app.tutti(&["down"]).ok();
    for name in ["compose.yaml", "tutti.yaml", "web.env"] {
        std::fs::remove_file(app.folder().join(name)).unwrap();
    }
    refused(&app, &["up", "-d"], "TUT0103");
    app.tutti(&["up", "-d", "--last-good"]).ok();
    assert_eq!(app.get("web", "/env/PASSWORD"), "hunter2");
    app.tutti(&["ps"]).ok();
    app.tutti(&["down"]).ok();
}

#[test]
fn what_is_damaged_missing_or_of_another_project_is_refused() {
    let app = shop();
    break_files(&app);
    refused(&app, &["up", "-d", "--last-good"], "TUT0805");
    let app = shop();
    app.up();
    app.tutti(&["down"]).ok();
    break_files(&app);
    let whole = std::fs::read(file(&app)).unwrap();
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    let newer = String::from_utf8(whole.clone()).unwrap().replacen("\"format\":1", "\"format\":2", 1);
    let halves = whole[..middle].to_vec();
    for (bytes, part) in [(flipped, "damaged"), (halves, "damaged"), (newer.into_bytes(), "format 2")] {
        std::fs::write(file(&app), bytes).unwrap();
        let said = refused(&app, &["up", "-d", "--last-good"], "TUT0805");
        assert!(said.err.contains(part), "{said:?}");
        assert!(said.err.contains("compose.yaml:"), "the files come first: {said:?}");
    }
    std::fs::write(file(&app), whole).unwrap();
    let moved = app.outside().join("moved");
    std::fs::rename(app.folder(), &moved).unwrap();
    let mut command = app.command(&["up", "-d", "--last-good"]);
    let said = crate::app::finish(command.current_dir(&moved).spawn().unwrap());
    assert!(said.code == 3 && said.err.contains("belongs to the project in"), "{said:?}");
    std::fs::rename(&moved, app.folder()).unwrap();
    app.tutti(&["up", "-d", "--last-good"]).ok();
    assert_eq!(app.get("web", "/env/GREETING"), "one");
}

#[test]
fn what_cannot_be_kept_stops_nothing_and_an_older_one_is_never_used_for_it() {
    let app = shop();
    app.up();
    // A key that others may read is not used: as good as a full disk, and to be had everywhere.
    let key = app.data().join("trust/seal.key");
    let mode = |mode| std::fs::set_permissions(&key, PermissionsExt::from_mode(mode)).unwrap();
    mode(0o644);
    app.write("tutti.yaml", &overlay("two"));
    let said = app.up();
    assert!(said.err.contains("TUT0806"), "{said:?}");
    assert_eq!(app.get("web", "/env/GREETING"), "two");
    let told = app.json(&["ps"]);
    assert!(told["not_kept"].as_str().unwrap().contains("seal.key"), "{told:#}");
    assert_eq!(app.log().matches("TUT0806").count(), 1, "{}", app.log());
    let good = std::fs::read(app.folder().join("compose.yaml")).unwrap();
    app.tutti(&["down"]).ok();
    app.write("compose.yaml", "services: { web");
    mode(0o600);
    let said = refused(&app, &["up", "-d", "--last-good"], "TUT0805");
    assert!(said.err.contains("a newer one was in force"), "{said:?}");
    std::fs::write(app.folder().join("compose.yaml"), good).unwrap();
    // It is tried again by itself, too.
    mode(0o644);
    app.up();
    mode(0o600);
    app.control().until(|status| status["not_kept"].is_null());
    assert_eq!(head(&app)["generation"], 2);
    assert!(!app.data().join("last-good.outdated").exists());
}

#[test]
fn a_command_of_its_own_is_nothing_to_start_again() {
    let app = shop();
    app.tutti(&["run", "web", "true"]).ok();
    assert!(!file(&app).exists());
}

#[test]
fn a_full_disk_stops_nothing_and_loses_nothing() {
    let app = shop();
    std::fs::create_dir(app.data()).unwrap();
    app.write("two.yaml", &overlay("two"));
    let script = "mount -t tmpfs -o size=8m,mode=700 tutti \"$0/.tutti\" || exit 77
        cd \"$0\" && \"$1\" up -d || { \"$1\" down; exit 1; }
        cp two.yaml tutti.yaml
        dd if=/dev/zero of=.tutti/fill bs=1k 2>/dev/null
        \"$1\" up -d >&2; echo \"ended with $?\" >&2; ls .tutti >&2; \"$1\" ps --json; rm .tutti/fill; true";
    let Some(said) = crate::daemon::mounted(&app, script, &["down"]) else { return };
    assert!(said.err.contains("ended with 0") && said.err.contains("TUT0806"), "{said:?}");
    assert!(said.err.contains("last-good.outdated"), "{said:?}");
    let told: Value = serde_json::from_str(&said.out).unwrap();
    assert!(told["not_kept"].as_str().unwrap().contains("No space left"), "{told:#}");
    assert_eq!(told["services"][0]["state"], "ready", "{told:#}");
}

/// A gateway that holds requests against a description in two files.
fn described() -> App {
    let app = App::new(
        "services: { web: { image: x, expose: [80] } }",
        &format!(
            "services: {{ web: {{ run: [FIXTURE], health: {HEALTH} }} }}
gateway: {{ listen: '127.0.0.1:{}' }}
routes: [{{ path: /, to: web, openapi: api/api.yaml }}]
",
            free_port()
        ),
    );
    std::fs::create_dir(app.folder().join("api")).unwrap();
    let head = "openapi: 3.1.0\ninfo: { title: t, version: '1' }\n";
    let get = "get: { parameters: [{ $ref: '../parts.yaml#/q' }], responses: { '200': { description: d } } }";
    app.write("api/api.yaml", &format!("{head}paths: {{ /print: {{ {get} }} }}\n"));
    app.write("parts.yaml", "q: { name: q, in: query, schema: { type: integer } }\n");
    app
}

#[test]
fn descriptions_of_routes_are_a_part_of_it() {
    let app = described();
    app.up();
    let serves = || {
        let addr = app.edge("web");
        assert_eq!((client::get(addr, "/print?q=1").0, client::get(addr, "/print?q=x").0), (200, 400));
    };
    serves();
    app.tutti(&["down"]).ok();
    app.write("parts.yaml", "q: { name: q, in: query, schema: { type: nonsense } }\n");
    let said = refused(&app, &["up", "-d"], "TUT0563");
    assert!(said.err.contains("`tutti up --last-good`"), "{said:?}");
    std::fs::remove_dir_all(app.folder().join("api")).unwrap();
    let said = app.tutti(&["up", "-d", "--last-good"]).ok();
    assert!(said.err.contains("TUT0804"), "{said:?}");
    serves();
}

#[test]
fn credentials_and_sources_are_not_a_part_of_it() {
    let app = App::new(
        "services: { web: { image: x, expose: [80] }, api: { build: ./src, expose: [80] } }",
        &format!(
            "services: {{ web: {{ run: [FIXTURE] }}, api: {{ run: [FIXTURE] }} }}
gateway: {{ listen: '127.0.0.1:{}' }}
routes: [{{ path: /api, to: api }}, {{ path: /, to: web, auth: {{ api_key: {{ file: keys }} }} }}]
",
            free_port()
        ),
    );
    std::fs::create_dir(app.folder().join("src")).unwrap();
    app.write(
        "keys",
        "somebody sha256:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b
",
    );
    app.up();
    app.tutti(&["down"]).ok();
    app.write("compose.yaml", "services: { web");
    std::fs::remove_dir(app.folder().join("src")).unwrap();
    let said = app.tutti(&["up", "-d", "--last-good"]);
    assert!(said.code == 1 && said.err.contains("not ready api"), "{said:?}");
    assert_eq!(app.service("web")["state"], "ready");
    app.tutti(&["down"]).ok();
    std::fs::remove_file(app.folder().join("keys")).unwrap();
    let said = refused(&app, &["up", "-d", "--last-good"], "keys");
    assert_eq!(said.err.matches("compose.yaml:").count(), 1, "{said:?}");
}
