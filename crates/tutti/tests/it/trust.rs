//! `tutti trust`, with a home of the test's own. The lists of this machine itself are tested in `tutti-trust`, below another root.

use std::process::{Command, Output};

use crate::app::{App, free_port};

fn tutti(home: &std::path::Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tutti"));
    command.args(args).env_remove("XDG_DATA_HOME").env("HOME", home);
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn there_is_one_authority_for_each_user_and_its_root_can_be_had() {
    let home = tempfile::tempdir().unwrap();
    let status = tutti(home.path(), &["trust", "status"]);
    assert!(
        status.status.success() && text(&status.stdout).contains("no development authority yet"),
        "{status:?}"
    );
    assert!(!home.path().join(".local").exists(), "looking makes nothing");

    let root = text(&tutti(home.path(), &["trust", "export"]).stdout);
    assert!(root.starts_with("-----BEGIN CERTIFICATE-----"), "{root}");
    let file = home.path().join("root.pem");
    assert!(tutti(home.path(), &["trust", "export", "-o", file.to_str().unwrap()]).status.success());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), root);
    assert_eq!(
        std::fs::read_to_string(home.path().join(".local/share/tutti/authority/root.pem")).unwrap(),
        root
    );

    let shown = tutti(home.path(), &["trust", "status", "--json"]);
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(shown["sha256"].as_str().unwrap().len(), 95, "{shown}");
    assert!(shown["name"].as_str().unwrap().starts_with("Tutti development authority "), "{shown}");
}

#[test]
fn without_a_home_it_is_said() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tutti"));
    command.args(["trust", "status"]).env_remove("XDG_DATA_HOME").env_remove("HOME");
    let said = command.output().unwrap();
    assert_eq!(said.status.code(), Some(1));
    assert!(text(&said.stderr).contains("HOME"), "{said:?}");
}

#[test]
fn an_authority_that_others_may_read_is_refused_with_a_code() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = tempfile::tempdir().unwrap();
    tutti(home.path(), &["trust", "export"]);
    let key = home.path().join(".local/share/tutti/authority/root.key.sealed");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let said = tutti(home.path(), &["trust", "export"]);
    assert_eq!(said.status.code(), Some(1));
    assert!(text(&said.stderr).contains("TUT0701") && text(&said.stderr).contains("chmod 600"), "{said:?}");
}

#[test]
fn https_works_without_any_certificate_of_ones_own() {
    let (plain, secure) = (free_port(), free_port());
    let overlay = format!(
        "gateway: {{ listen: '127.0.0.1:{plain}', https: '127.0.0.1:{secure}' }}\nservices: {{ web: {{ run: [FIXTURE] }} }}\n\
         routes:\n  - {{ path: /, to: web }}\n"
    );
    let home = tempfile::tempdir().unwrap();
    let app = App::new("services: { web: { image: x, expose: [80] } }", &overlay)
        .env("XDG_DATA_HOME", &home.path().display().to_string());
    app.up();
    let root = std::fs::read(home.path().join("tutti/authority/root.pem")).unwrap();
    for host in ["localhost", "127.0.0.1", "api.localhost"] {
        assert_eq!(secure_get(secure, host, root.clone()), (200, app.pids("web")[0].to_string()), "{host}");
    }
    let doctor = app.tutti(&["doctor", "--all"]);
    assert!(doctor.out.contains("certificate localhost") && doctor.out.contains("good for"), "{doctor:?}");
}

/// GET / over TLS, believing this root alone.
fn secure_get(port: u16, host: &str, root: Vec<u8>) -> (u16, String) {
    use tutti_net::tls::client::{Options, Trust};
    let options =
        Options { trust: Trust::Authorities(root), server_name: host.to_owned(), ..Options::default() };
    let tls = tutti_net::tls::Client::new(&options).unwrap();
    let request = http::Request::get("/").header("host", format!("{host}:{port}"));
    let request = request.body(tutti_net::Body::empty()).unwrap();
    let limits = tutti_net::client::Limits { timeout: crate::app::PATIENCE, body_bytes: 1 << 20 };
    let addr = tutti_net::Addr::Tcp(([127, 0, 0, 1], port).into());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let answer = runtime.block_on(tutti_net::client::request_tls(&addr, &tls, request, limits)).unwrap();
    (answer.status().as_u16(), String::from_utf8_lossy(answer.body()).into_owned())
}
