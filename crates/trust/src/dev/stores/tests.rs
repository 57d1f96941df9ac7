//! Lists of trust below a root of the test's own, with programs that note how they were called.

use super::*;
use std::os::unix::fs::PermissionsExt as _;
use std::time::SystemTime;

struct Lab {
    folder: tempfile::TempDir,
    machine: Machine,
    authority: Authority,
}

impl Lab {
    fn new(made: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        for one in made {
            fs::create_dir_all(path.join(one)).unwrap();
        }
        fs::create_dir_all(path.join("bin")).unwrap();
        let authority = Authority::open(&path.join("authority"), SystemTime::now()).unwrap();
        let machine = Machine {
            root: path.clone(),
            home: Some(path.join("h")),
            path: path.join("bin").into(),
            mac: false,
        };
        Self { folder, machine, authority }
    }

    /// A program that notes its arguments and then does `more`.
    fn program(&self, name: &str, more: &str) {
        let path = self.folder.path().join("bin").join(name);
        let log = self.folder.path().join("log");
        fs::write(&path, format!("#!/bin/sh\necho \"{name} $*\" >>'{}'\n{more}\n", log.display())).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn only(&self) -> Store {
        let mut all = stores(&self.machine);
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    fn add(&self, store: &Store) -> Outcome {
        store.add(&self.machine, &self.authority, &self.folder.path().join("authority/root.pem"))
    }
}

#[test]
fn each_distribution_s_folder_is_filled_and_taken_up_once() {
    for (folder, file, program) in [
        ("usr/local/share/ca-certificates", "tutti-development.crt", "update-ca-certificates"),
        ("etc/pki/ca-trust/source/anchors", "tutti-development.pem", "update-ca-trust"),
        ("etc/ca-certificates/trust-source/anchors", "tutti-development.crt", "trust"),
        ("usr/share/pki/trust/anchors", "tutti-development.pem", "update-ca-certificates"),
    ] {
        let lab = Lab::new(&[folder]);
        lab.program(program, "");
        let store = lab.only();
        assert_eq!(store.trusts(&lab.machine, &lab.authority), Some(false));
        assert_eq!(lab.add(&store), Outcome::Done);
        assert_eq!(lab.add(&store), Outcome::Already);
        assert_eq!(store.trusts(&lab.machine, &lab.authority), Some(true));
        let path = lab.folder.path().join(folder).join(file);
        assert_eq!(fs::read_to_string(&path).unwrap(), lab.authority.pem());
        assert_eq!(store.remove(&lab.machine, &lab.authority), Outcome::Done);
        assert_eq!(store.remove(&lab.machine, &lab.authority), Outcome::Already);
        assert!(!path.exists());
        assert_eq!(lab.log().lines().count(), 2, "{}", lab.log());
    }
}

#[test]
fn a_program_that_fails_is_told_and_leaves_nothing_half_done() {
    let lab = Lab::new(&["usr/local/share/ca-certificates"]);
    lab.program("update-ca-certificates", "echo broken >&2; exit 3");
    let store = lab.only();
    let Outcome::Failed(why) = lab.add(&store) else { panic!("it did not fail") };
    assert!(why.contains("update-ca-certificates") && why.contains("broken"), "{why}");
    assert_eq!(store.trusts(&lab.machine, &lab.authority), Some(false));
}

#[test]
fn what_belongs_to_root_is_told_as_commands() {
    let place = Path::new("/x y/it's.crt");
    let denied = Err(io::Error::from(io::ErrorKind::PermissionDenied));
    let lab = Lab::new(&[]);
    let commands = vec!["sudo x".to_owned()];
    let outcome = finish(denied, &lab.machine, &["update"], place, commands.clone());
    assert_eq!(outcome, Outcome::Needs { why: "/x y/it's.crt belongs to root".to_owned(), commands });
    assert_eq!(quote(&place.to_string_lossy()), r"'/x y/it'\''s.crt'");
}

#[test]
fn browsers_are_asked_through_certutil_and_without_it_that_is_said() {
    let lab = Lab::new(&["h/.mozilla/firefox/a b.default", "h/.mozilla/firefox/no-database"]);
    fs::write(lab.folder.path().join("h/.mozilla/firefox/a b.default/cert9.db"), "").unwrap();
    let store = lab.only();
    let Outcome::Needs { why, .. } = lab.add(&store) else { panic!("certutil was found") };
    assert!(why.contains("libnss3-tools"), "{why}");
    assert_eq!(store.trusts(&lab.machine, &lab.authority), None);

    let held = lab.folder.path().join("held");
    let held = held.display();
    let script =
        format!("case $1 in -A) : >'{held}';; -D) rm '{held}';; -L) [ -e '{held}' ] && echo CERT;; esac");
    lab.program("certutil", &script.replace("rm", "/bin/rm"));
    assert_eq!(lab.add(&store), Outcome::Done);
    assert_eq!(lab.add(&store), Outcome::Already);
    assert!(lab.log().contains("-t C,, -n Tutti development authority "), "{}", lab.log());
    assert_eq!(store.remove(&lab.machine, &lab.authority), Outcome::Done);
    assert_eq!(store.remove(&lab.machine, &lab.authority), Outcome::Already);
}

#[test]
fn a_mac_has_a_keychain() {
    let mut lab = Lab::new(&["h"]);
    lab.machine.mac = true;
    lab.program("security", "[ \"$1\" != find-certificate ]");
    assert_eq!(lab.add(&lab.only()), Outcome::Done);
    assert!(lab.log().contains("security add-trusted-cert -r trustRoot -k"), "{}", lab.log());
}
