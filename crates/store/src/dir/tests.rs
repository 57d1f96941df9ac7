//! The data directory against other processes, other formats, other owners and a full disk.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use tutti_core::{Classify, code};

use super::*;

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().mode() & 0o777
}

fn open(path: &Path) -> Result<DataDir, DirError> {
    DataDir::open(path, "tutti up")
}

#[test]
fn a_new_directory_is_private_ignored_by_git_and_complete() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("project/.tutti");
    let dir = open(&path).unwrap();
    for folder in [dir.path().to_owned(), dir.logs(), dir.run(), dir.volumes(), dir.setup()] {
        assert_eq!(mode(&folder), 0o700, "{}", folder.display());
    }
    assert_eq!(std::fs::read_to_string(path.join(".gitignore")).unwrap(), "*\n");
    assert_eq!(std::fs::read_to_string(path.join("format")).unwrap(), "1\n");
    assert_eq!(mode(&path.join("lock")), 0o600);
    drop(dir);
    std::fs::write(path.join("volumes/kept"), "kept").unwrap();
    open(&path).unwrap();
    assert_eq!(std::fs::read_to_string(path.join("volumes/kept")).unwrap(), "kept");
}

#[test]
fn a_directory_opened_to_others_by_hand_is_closed() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("d");
    std::fs::create_dir(&path).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    open(&path).unwrap();
    assert_eq!(mode(&path), 0o700);
}

/// The other half of the lock tests, run in a process of its own: holds the directory until it is killed.
fn hold_in_child(path: &Path) {
    let dir = DataDir::open(path, "tutti up --example").unwrap();
    println!("held {}", dir.path().display());
    loop {
        std::thread::park();
    }
}

#[test]
fn the_error_names_the_holder_and_its_death_frees_the_directory() {
    const CHILD: &str = "TUTTI_TEST_HOLD_DIR";
    if let Some(path) = std::env::var_os(CHILD) {
        return hold_in_child(Path::new(&path));
    }
    let home = tempfile::tempdir().unwrap();
    assert_eq!(DataDir::holder(home.path()).unwrap(), None);
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture"])
        .arg("dir::tests::the_error_names_the_holder_and_its_death_frees_the_directory")
        .env(CHILD, home.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = std::io::BufReader::new(child.stdout.take().unwrap());
    assert!(std::io::BufRead::lines(output).any(|line| line.unwrap().contains("held ")));

    let error = open(home.path()).unwrap_err();
    assert_eq!(error.code(), Some(code::DATA_DIR_LOCKED));
    let DirError::Locked { holder, .. } = &error else { panic!("{error}") };
    assert_eq!(*holder, Holder { pid: Some(child.id()), command: "tutti up --example".to_owned() });
    assert!(error.to_string().ends_with(&format!("held by process {} (tutti up --example)", child.id())));
    assert_eq!(DataDir::holder(home.path()).unwrap().as_ref(), Some(holder));

    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(DataDir::holder(home.path()).unwrap(), None);
    open(home.path()).unwrap();
}

#[test]
fn a_clone_keeps_the_lock() {
    let home = tempfile::tempdir().unwrap();
    let clone = open(home.path()).unwrap().clone();
    assert!(matches!(open(home.path()), Err(DirError::Locked { .. })));
    drop(clone);
    open(home.path()).unwrap();
}

#[test]
fn a_newer_or_unreadable_format_is_refused_and_left_alone() {
    for format in ["2\n", "99999999999\n", "one", "", "0", "-1"] {
        let home = tempfile::tempdir().unwrap();
        open(home.path()).unwrap();
        std::fs::write(home.path().join("format"), format).unwrap();
        let error = open(home.path()).unwrap_err();
        assert_eq!(error.code(), Some(code::DATA_FORMAT), "{format:?}: {error}");
        assert_eq!(std::fs::read_to_string(home.path().join("format")).unwrap(), format);
    }
}

#[test]
fn an_older_format_is_brought_up_step_by_step_and_goes_on_after_an_interruption() {
    fn second(dir: &Path) -> Result<(), DirError> {
        write_atomic(&dir.join("second"), b"")
    }
    fn third(dir: &Path) -> Result<(), DirError> {
        match dir.join("ready").exists() {
            true => write_atomic(&dir.join("third"), b""),
            false => Err(DirError::io(dir, std::io::ErrorKind::Interrupted.into())),
        }
    }
    fn never(dir: &Path) -> Result<(), DirError> {
        Err(DirError::io(dir, std::io::ErrorKind::Other.into()))
    }
    let home = tempfile::tempdir().unwrap();
    open(home.path()).unwrap();
    layout::bring_up_by(home.path(), &[never, second, third]).unwrap_err();
    let format = || std::fs::read_to_string(home.path().join("format")).unwrap();
    assert_eq!(format(), "2\n");
    std::fs::write(home.path().join("ready"), "").unwrap();
    layout::bring_up_by(home.path(), &[never, never, third]).unwrap();
    assert_eq!(format(), "3\n");
    assert!(home.path().join("third").exists());
}

#[test]
fn a_folder_of_somebodys_own_things_is_not_taken_over() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("thesis.tex"), "").unwrap();
    let error = open(home.path()).unwrap_err();
    assert_eq!(error.code(), Some(code::DATA_DIR_UNSAFE));
    assert!(error.to_string().contains("thesis.tex"), "{error}");
    let names: Vec<_> =
        std::fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["thesis.tex"], "nothing was added");
}

#[test]
fn a_start_that_was_killed_half_way_is_finished_by_the_next() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("lock"), "1\n").unwrap();
    std::fs::write(home.path().join(".tutti-tmp-1-1"), "*").unwrap();
    std::fs::create_dir(home.path().join("logs")).unwrap();
    open(home.path()).unwrap();
    assert!(home.path().join("setup").is_dir());
    assert!(!home.path().join(".tutti-tmp-1-1").exists());
}

#[test]
fn a_directory_of_another_user_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("d");
    std::fs::create_dir(&path).unwrap();
    if chown(&path, Some(12_345), None).is_err() {
        println!("skipped in part: only root can give a directory away");
        return assert!(matches!(open(Path::new("/")), Err(DirError::Owner { owner: 0, .. })));
    }
    let error = open(&path).unwrap_err();
    assert_eq!(error.code(), Some(code::DATA_DIR_UNSAFE));
    assert!(error.to_string().contains("belongs to user 12345"), "{error}");
    assert_eq!(std::fs::read_dir(&path).unwrap().count(), 0);
}

#[test]
fn the_lock_file_is_not_followed_to_another_file() {
    let home = tempfile::tempdir().unwrap();
    let victim = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(victim.path(), "precious").unwrap();
    symlink(victim.path(), home.path().join("lock")).unwrap();
    assert_eq!(open(home.path()).unwrap_err().code(), Some(code::DATA_DIR_IO));
    assert_eq!(std::fs::read_to_string(victim.path()).unwrap(), "precious");
}

#[test]
fn an_atomic_write_replaces_or_leaves_alone() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("file");
    write_atomic(&path, b"old").unwrap();
    write_atomic(&path, b"new").unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"new");
    assert_eq!(mode(&path), 0o600);
    // A folder cannot be replaced by a file: the rename fails after the write.
    let folder = home.path().join("folder");
    std::fs::create_dir(&folder).unwrap();
    write_atomic(&folder, b"x").unwrap_err();
    let names = std::fs::read_dir(home.path()).unwrap().count();
    assert_eq!(names, 2, "no temporary file is left");
}

#[test]
fn a_lock_that_is_handed_over_is_held_until_both_have_let_it_go() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("d");
    let old = open(&path).unwrap();
    let new = DataDir::adopt(&path, old.lock().unwrap(), "a much longer word than tutti up").unwrap();
    drop(old);
    assert!(matches!(open(&path), Err(DirError::Locked { .. })));
    new.claim("short").unwrap();
    assert_eq!(DataDir::holder(&path).unwrap().unwrap().command, "short");
    std::fs::write(path.join("format"), "0\n").unwrap();
    assert!(matches!(DataDir::adopt(&path, new.lock().unwrap(), "x"), Err(DirError::Format { .. })));
    drop(new);
    std::fs::write(path.join("format"), "1\n").unwrap();
    open(&path).unwrap();
}
