//! The user's files, wherever they are: problems shown at once, variables, profiles, paths.

use crate::app::{App, service};

#[test]
fn config_check_shows_every_problem_and_ends_with_3() {
    let app = App::new(
        "services:
  web:
    image: x
    prots: ['80:80']
    depends_on: [api]
  api:
    image: x
    environment: 7
",
        "services:\n  wbe: { run: [FIXTURE] }\n",
    );
    let said = app.tutti(&["config", "check"]);
    assert_eq!(said.code, 3, "{said:?}");
    for part in ["compose.yaml:4:5", "prots", "ports", "compose.yaml:8:", "tutti.yaml:2:3", "wbe", "web"] {
        assert!(said.err.contains(part), "{part}: {}", said.err);
    }
    assert!(said.err.contains('^'), "{}", said.err);
    let problems = app.tutti(&["config", "check", "--json"]);
    assert_eq!(problems.code, 3);
    assert!(problems.json()["problems"].as_array().unwrap().len() >= 3, "{problems:?}");
    // Nothing is started from such files.
    assert_eq!(app.tutti(&["up", "-d"]).code, 3);
    assert!(app.processes().is_empty());
}

#[test]
fn config_check_reads_what_only_the_gateway_reads() {
    let app = App::new(
        "services: { web: { image: x, ports: ['127.0.0.1::80'] } }",
        "services: { web: { run: [FIXTURE] } }
gateway: { listen: '127.0.0.1:0' }
routes: [{ path: /, to: web, openapi: api.yaml }]
",
    );
    let file = app.folder().join("api.yaml");
    let write = |kind: &str| {
        let parameter = format!("{{ name: q, in: query, schema: {{ type: {kind} }} }}");
        let get = format!("{{ parameters: [{parameter}], responses: {{ '200': {{ description: d }} }} }}");
        let head = "openapi: 3.1.0\ninfo: { title: t, version: '1' }\n";
        std::fs::write(&file, format!("{head}paths: {{ /x: {{ get: {get} }} }}\n")).unwrap();
    };
    write("string");
    assert!(app.tutti(&["config", "check"]).ok().err.contains("valid"));
    write("nonsense");
    let said = app.tutti(&["config", "check"]);
    assert!(said.code == 3 && said.err.contains("TUT0563"), "{said:?}");
    let said = app.tutti(&["up", "-d"]);
    assert!(said.code != 0 && said.err.contains("TUT0563"), "{said:?}");
}

#[test]
fn no_compose_file_is_said_with_its_names() {
    let app = App::new("", "");
    std::fs::remove_file(app.folder().join("compose.yaml")).unwrap();
    let said = app.tutti(&["up"]);
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.err.contains("compose.yaml") && said.err.contains("TUT0103"), "{said:?}");
}

#[test]
fn every_code_that_can_be_shown_is_explained() {
    let app = App::new("services: {}", "");
    let codes = app.json(&["explain"]);
    assert!(codes.as_array().unwrap().len() > 40);
    for code in ["TUT0301", "tut0601", "0510", "512"] {
        let page = app.tutti(&["explain", code]).ok().out;
        assert!(page.contains(&format!("{:0>4}", code.to_lowercase().trim_start_matches("tut"))), "{page}");
        assert!(page.lines().count() > 4, "{page}");
    }
    let said = app.tutti(&["explain", "TUT9999"]);
    assert!(said.code == 1 && said.err.contains("TUT9999"), "{said:?}");
}

#[test]
fn variables_come_from_the_env_file_and_the_environment_wins() {
    let app = App::new(
        "services: { web: { image: x, ports: ['127.0.0.1::80'], environment: { A: '${A}', B: '${B:-b}', C: '${C}' }, env_file: more.env } }",
        "services: { web: { run: [FIXTURE] } }",
    )
    .env("C", "operator");
    app.write(".env", "A='from the file'\nC=file\n");
    app.write("more.env", "D=\"more\"\nA=not this\n");
    app.up();
    let seen = ["A", "B", "C", "D"].map(|name| app.get("web", &format!("/env/{name}")));
    assert_eq!(seen, ["from the file", "b", "operator", "more"]);
    app.tutti(&["down"]).ok();
    app.write("other.env", "A=other\n");
    app.tutti(&["--env-file", "other.env", "up", "-d"]).ok();
    assert_eq!(app.get("web", "/env/A"), "other");
}

#[test]
fn a_profile_is_started_when_asked_for() {
    let app = App::new(
        "services: { web: { image: x, expose: [80] }, tools: { image: x, expose: [80], profiles: [extra] } }",
        "services: { web: { run: [FIXTURE] }, tools: { run: [FIXTURE] } }",
    );
    app.up();
    let without = app.control().status();
    assert!(without["services"].as_array().unwrap().iter().all(|one| one["name"] != "tools"));
    app.tutti(&["down"]).ok();
    app.tutti(&["--profile", "extra", "up", "-d"]).ok();
    assert_eq!(service(&app.control().status(), "tools")["state"], "ready");
    app.tutti(&["down"]).ok();
    // As with Compose, naming a service activates its profile.
    app.tutti(&["up", "-d", "tools"]).ok();
    assert_eq!(service(&app.control().status(), "tools")["state"], "ready");
}

#[test]
fn an_override_file_counts() {
    let app = App::of(&["web"]);
    app.write("compose.override.yaml", "services: { web: { environment: { FROM: override } } }");
    app.up();
    assert_eq!(app.get("web", "/env/FROM"), "override");
}

#[test]
fn spaces_and_other_letters_in_the_path_do_no_harm() {
    let app = App::below(
        "Mühle & Söhne (kopie) 'neu'/проект-shop",
        "services: { web: { image: x, ports: ['127.0.0.1::80'], environment: { PLACE: '${PWD}' } } }",
        "services: { web: { run: 'cd . && exec \"$0\"', setup: ['pwd > where'] } }",
    );
    app.write(
        "tutti.yaml",
        "services: { web: { run: [sh, -c, 'cd \"$PWD\" && exec \"$0\"', FIXTURE], setup: ['pwd > where'] } }",
    );
    app.up();
    assert_eq!(app.get("web", "/"), app.pids("web")[0].to_string());
    let here = std::fs::read_to_string(app.folder().join("where")).unwrap();
    assert_eq!(here.trim_end(), app.folder().canonicalize().unwrap().to_str().unwrap());
    assert!(app.tutti(&["ps"]).ok().out.contains("ready"));
}

#[test]
fn a_very_deep_path_does_no_harm() {
    let deep = "a-folder-with-quite-a-long-name/".repeat(12);
    let app = App::below(
        &deep,
        "services: { web: { image: x, ports: ['127.0.0.1::80'] } }",
        "services: { web: { run: [FIXTURE] } }",
    );
    let runtime = app.outside().join("run");
    std::fs::create_dir(&runtime).unwrap();
    let app = app.env("XDG_RUNTIME_DIR", runtime.to_str().unwrap());
    app.up();
    let ps = app.json(&["ps"]);
    assert_eq!(service(&ps, "web")["state"], "ready", "{ps:#}");
    assert_eq!(crate::client::get(crate::app::edge(&ps, "web"), "/").0, 200);
    app.tutti(&["restart"]).ok();
    app.tutti(&["down"]).ok();
    app.assert_gone();
}

#[test]
fn the_project_is_found_from_elsewhere_by_its_file() {
    let app = App::of(&["web"]);
    let file = app.folder().join("compose.yaml");
    let mut up = app.command(&["-f", file.to_str().unwrap(), "up", "-d"]);
    crate::app::finish(up.current_dir(app.outside()).spawn().unwrap()).ok();
    assert_eq!(app.service("web")["state"], "ready");
    assert!(!app.outside().join(".tutti").exists());
}
