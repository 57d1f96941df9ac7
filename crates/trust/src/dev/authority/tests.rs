//! The authority on disk, and what OpenSSL thinks of what it issues.

use super::*;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

fn names(of: &[&str]) -> Vec<String> {
    of.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn it_is_made_once_and_its_key_is_only_ours_and_sealed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("authority");
    assert!(Authority::load(&folder).unwrap().is_none());
    let first = Authority::open(&folder, SystemTime::now()).unwrap();
    let second = Authority::open(&folder, SystemTime::now()).unwrap();
    assert_eq!((first.pem(), first.fingerprint()), (second.pem(), second.fingerprint()));
    assert_eq!(Authority::load(&folder).unwrap().unwrap().name(), first.name());
    for file in ["root.key.sealed", "seal.key"] {
        let mode = std::fs::metadata(folder.join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    let sealed = std::fs::read(folder.join("root.key.sealed")).unwrap();
    assert!(KeyPair::try_from(sealed.as_slice()).is_err());
}

#[test]
fn processes_that_begin_at_the_same_time_get_the_same_one() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Authority::open(folder.path(), SystemTime::now()).unwrap().fingerprint();
    let prints: Vec<String> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert!(prints.iter().all(|print| *print == prints[0]), "{prints:?}");
}

#[test]
fn a_root_that_has_ended_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let then = SystemTime::now() - ROOT_LIFE - Duration::from_secs(60);
    let old = Authority::open(folder.path(), then).unwrap();
    assert_ne!(Authority::open(folder.path(), SystemTime::now()).unwrap().name(), old.name());
}

#[test]
fn a_leaf_is_short_lived_and_names_what_was_asked() {
    let folder = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let authority = Authority::open(folder.path(), now).unwrap();
    let leaf = authority.issue(&names(&["localhost", "127.0.0.1", "::1"]), now).unwrap();
    assert_eq!(leaf.names, ["localhost", "127.0.0.1", "::1"]);
    let left = leaf.not_after.duration_since(now).unwrap();
    assert!(left <= LEAF_LIFE && left > LEAF_LIFE - Duration::from_secs(2), "{left:?}");
    assert_ne!(leaf.serial, authority.issue(&names(&["localhost"]), now).unwrap().serial);
    assert!(!format!("{leaf:?}").contains("key"));
}

/// OpenSSL, as a judge who has not read our code.
#[test]
fn openssl_accepts_reserved_names_and_refuses_the_rest() {
    if Command::new("openssl").arg("version").output().is_err() {
        println!("skipped: there is no openssl to ask");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::open(folder.path(), SystemTime::now()).unwrap();
    for (name, accepted) in [
        ("localhost", true),
        ("api.localhost", true),
        ("*.shop.test", true),
        ("127.0.0.1", true),
        ("::1", true),
        ("bank.com", false),
        ("notlocalhost", false),
        ("10.0.0.1", false),
    ] {
        let leaf = authority.issue(&names(&[name]), SystemTime::now()).unwrap();
        let der = folder.path().join("leaf.der");
        std::fs::write(&der, &leaf.chain[0]).unwrap();
        let root = folder.path().join("root.pem");
        let run = Command::new("openssl")
            .args(["verify", "-x509_strict", "-purpose", "sslserver", "-CAfile"])
            .args([&root, &der])
            .output();
        let run = run.unwrap();
        assert_eq!(run.status.success(), accepted, "{name}: {}", String::from_utf8_lossy(&run.stderr));
        assert_eq!(may_speak_for(name.trim_start_matches("*.")), accepted, "{name}");
    }
}

#[test]
fn the_folder_is_the_user_s_whatever_the_project() {
    let of = |vars: &[(&str, &str)]| {
        let vars: Vec<(String, String)> =
            vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        default_folder(move |name| vars.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone()))
    };
    assert_eq!(of(&[("HOME", "/h")]).unwrap(), Path::new("/h/.local/share/tutti/authority"));
    assert_eq!(of(&[("HOME", "/h"), ("XDG_DATA_HOME", "/x")]).unwrap(), Path::new("/x/tutti/authority"));
    assert_eq!(
        of(&[("HOME", "/h"), ("XDG_DATA_HOME", "relative")]).unwrap(),
        Path::new("/h/.local/share/tutti/authority")
    );
    assert_eq!(of(&[]), None);
}
