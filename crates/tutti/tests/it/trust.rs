//! `tutti trust`, with a home of the test's own. The lists of this machine itself are tested in `tutti-trust`, below another root.

use std::process::{Command, Output};

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
