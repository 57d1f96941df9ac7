//! How the programs of a machine come to trust the development authority: the system's list, the databases of browsers (NSS), the
//! keychain of macOS. Nothing is done with more rights than this process has: what needs them is told as commands.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::authority::Authority;

/// The machine whose programs are to trust; another root than `/` is for tests.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The root of its files.
    pub root: PathBuf,
    /// The home of the user.
    pub home: Option<PathBuf>,
    /// Where programs are looked for.
    pub path: OsString,
    /// Whether it is a Mac.
    pub mac: bool,
}

impl Machine {
    /// This machine.
    pub fn this() -> Self {
        Self {
            root: PathBuf::from("/"),
            home: std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute()),
            path: std::env::var_os("PATH").unwrap_or_default(),
            mac: cfg!(target_os = "macos"),
        }
    }

    fn program(&self, name: &str) -> Option<PathBuf> {
        std::env::split_paths(&self.path).map(|folder| folder.join(name)).find(|path| path.is_file())
    }

    fn run(&self, program: &str, args: &[&str]) -> Result<Output, String> {
        let path = self.program(program).ok_or_else(|| format!("`{program}` is not installed"))?;
        let output = Command::new(path).args(args).env("PATH", &self.path).output();
        let output = output.map_err(|error| format!("`{program}` cannot be run: {error}"))?;
        if output.status.success() {
            return Ok(output);
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let said: String = said.trim().chars().take(500).collect();
        Err(format!("`{program} {}` failed ({}): {said}", args.join(" "), output.status))
    }
}

/// What became of a list of trusted authorities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was changed.
    Done,
    /// It was so already.
    Already,
    /// It takes what we have not: rights, or a program.
    Needs {
        /// What is missing.
        why: String,
        /// What to run instead.
        commands: Vec<String>,
    },
    /// It failed.
    Failed(String),
}

/// A list of trusted authorities on a machine.
#[derive(Clone, Debug)]
pub struct Store {
    /// What it is called for people.
    pub name: String,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    /// A folder of certificates, and the programs that take it up after an addition and after a removal.
    Folder {
        folder: PathBuf,
        file: &'static str,
        add: &'static [&'static str],
        remove: &'static [&'static str],
    },
    /// A database of certificates of NSS, for `certutil`.
    Nss(PathBuf),
    /// A keychain.
    Keychain(PathBuf),
}

/// A folder of certificates: whose, where, the name of our file, and the programs after an addition and after a removal.
type Folder = (&'static str, &'static str, &'static str, &'static [&'static str], &'static [&'static str]);

/// The folders of Linux distributions.
const FOLDERS: [Folder; 4] = [
    (
        "Debian, Ubuntu, Alpine",
        "usr/local/share/ca-certificates",
        "tutti-development.crt",
        &["update-ca-certificates"],
        &["update-ca-certificates", "--fresh"],
    ),
    (
        "Fedora, RHEL",
        "etc/pki/ca-trust/source/anchors",
        "tutti-development.pem",
        &["update-ca-trust", "extract"],
        &["update-ca-trust", "extract"],
    ),
    (
        "Arch",
        "etc/ca-certificates/trust-source/anchors",
        "tutti-development.crt",
        &["trust", "extract-compat"],
        &["trust", "extract-compat"],
    ),
    (
        "openSUSE",
        "usr/share/pki/trust/anchors",
        "tutti-development.pem",
        &["update-ca-certificates"],
        &["update-ca-certificates"],
    ),
];

/// Where profiles of browsers with NSS databases are, below the home; `*` is any folder.
const PROFILES: [&str; 7] = [
    ".pki/nssdb",
    ".mozilla/firefox/*",
    "snap/firefox/common/.mozilla/firefox/*",
    "snap/chromium/current/.pki/nssdb",
    ".var/app/org.mozilla.firefox/.mozilla/firefox/*",
    "Library/Application Support/Firefox/Profiles/*",
    ".config/mozilla/firefox/*",
];

/// The lists of a machine that exist.
pub fn stores(machine: &Machine) -> Vec<Store> {
    let mut found = Vec::new();
    if machine.mac {
        if let Some(home) = &machine.home {
            let path = home.join("Library/Keychains/login.keychain-db");
            found.push(Store { name: "login keychain".to_owned(), kind: Kind::Keychain(path) });
        }
    } else {
        let folder =
            FOLDERS.iter().map(|one| (machine.root.join(one.1), one)).find(|(path, _)| path.is_dir());
        if let Some((folder, &(who, _, file, add, remove))) = folder {
            let name = format!("system ({who})");
            found.push(Store { name, kind: Kind::Folder { folder, file, add, remove } });
        }
    }
    if let Some(home) = &machine.home {
        let databases = PROFILES.iter().flat_map(|pattern| expand(home, pattern));
        for path in databases.filter(|path| path.join("cert9.db").is_file()) {
            let name = format!("browser database {}", path.display());
            found.push(Store { name, kind: Kind::Nss(path) });
        }
    }
    found
}

fn expand(home: &Path, pattern: &str) -> Vec<PathBuf> {
    let Some(parent) = pattern.strip_suffix("/*") else { return vec![home.join(pattern)] };
    let Ok(entries) = fs::read_dir(home.join(parent)) else { return Vec::new() };
    let mut all: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    all.sort();
    all
}

impl Store {
    /// Whether the root is in it; `None` when that cannot be found out.
    pub fn trusts(&self, machine: &Machine, authority: &Authority) -> Option<bool> {
        match &self.kind {
            Kind::Folder { folder, file, .. } => {
                Some(fs::read(folder.join(file)).is_ok_and(|bytes| bytes == authority.pem().as_bytes()))
            }
            Kind::Nss(path) => {
                machine.program("certutil")?;
                let database = database(path);
                let args = ["-L", "-d", &database, "-n", authority.name(), "-a"];
                let listed = machine.run("certutil", &args).ok();
                // The same name and another certificate cannot be: the name holds a digest of the key.
                Some(listed.is_some_and(|output| !output.stdout.is_empty()))
            }
            Kind::Keychain(path) => {
                let path = path.to_string_lossy();
                Some(machine.run("security", &["find-certificate", "-c", authority.name(), &path]).is_ok())
            }
        }
    }

    /// Puts the root in; `root` is its file.
    pub fn add(&self, machine: &Machine, authority: &Authority, root: &Path) -> Outcome {
        if self.trusts(machine, authority) == Some(true) {
            return Outcome::Already;
        }
        let root = root.to_string_lossy();
        match &self.kind {
            Kind::Folder { folder, file, add, .. } => {
                let place = folder.join(file);
                let told = vec![
                    format!("sudo install -m 0644 {} {}", quote(&root), quote(&place.to_string_lossy())),
                    format!("sudo {}", add.join(" ")),
                ];
                let changed = write_public(&place, authority.pem().as_bytes());
                let outcome = finish(changed, machine, add, &place, told);
                if matches!(outcome, Outcome::Failed(_)) {
                    // So that the next attempt does not take it for done.
                    let _ = fs::remove_file(&place);
                }
                outcome
            }
            Kind::Nss(path) => {
                let database = database(path);
                certutil(machine, &["-A", "-d", &database, "-t", "C,,", "-n", authority.name(), "-i", &root])
            }
            Kind::Keychain(path) => {
                let path = path.to_string_lossy();
                outcome(machine.run("security", &["add-trusted-cert", "-r", "trustRoot", "-k", &path, &root]))
            }
        }
    }

    /// Takes the root out.
    pub fn remove(&self, machine: &Machine, authority: &Authority) -> Outcome {
        match &self.kind {
            Kind::Folder { folder, file, remove, .. } => {
                let place = folder.join(file);
                if !place.exists() {
                    return Outcome::Already;
                }
                let told = vec![
                    format!("sudo rm {}", quote(&place.to_string_lossy())),
                    format!("sudo {}", remove.join(" ")),
                ];
                finish(fs::remove_file(&place), machine, remove, &place, told)
            }
            _ if self.trusts(machine, authority) == Some(false) => Outcome::Already,
            Kind::Nss(path) => {
                let database = database(path);
                certutil(machine, &["-D", "-d", &database, "-n", authority.name()])
            }
            Kind::Keychain(path) => {
                let path = path.to_string_lossy();
                outcome(machine.run("security", &["delete-certificate", "-c", authority.name(), &path]))
            }
        }
    }
}

/// Has the system take up a change of its folder.
fn finish(
    changed: io::Result<()>,
    machine: &Machine,
    update: &[&str],
    place: &Path,
    commands: Vec<String>,
) -> Outcome {
    match changed {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Outcome::Needs { why: format!("{} belongs to root", place.display()), commands };
        }
        Err(error) => return Outcome::Failed(format!("{}: {error}", place.display())),
    }
    match update.split_first() {
        Some((program, args)) => outcome(machine.run(program, args)),
        None => Outcome::Done,
    }
}

fn certutil(machine: &Machine, args: &[&str]) -> Outcome {
    if machine.program("certutil").is_none() {
        let why = "`certutil` is not installed; packages have it as libnss3-tools (Debian), nss-tools (Fedora), nss (Arch, \
                   Homebrew)";
        return Outcome::Needs { why: why.to_owned(), commands: Vec::new() };
    }
    outcome(machine.run("certutil", args))
}

fn outcome(run: Result<Output, String>) -> Outcome {
    match run {
        Ok(_) => Outcome::Done,
        Err(why) => Outcome::Failed(why),
    }
}

fn database(path: &Path) -> String {
    format!("sql:{}", path.display())
}

fn write_public(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(path, bytes)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644))
}

/// A path as a shell takes it.
fn quote(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests;
