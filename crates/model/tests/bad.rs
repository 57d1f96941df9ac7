//! Files that are wrong: each gives a precise error, in under a second and with less than 100 MB.
//!
//! A case of `corpus/bad` is a file, or a folder with a whole application. The rendering that is expected lies in the
//! `.txt` file beside it; `TUTTI_UPDATE=1` writes it anew. Cases that are too large to be checked in are made here.
//! Memory is measured from outside: the test starts itself again for each case and reads the child's high-water mark.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing
)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use tutti_model::{LoadOptions, load};

const LIMIT: Duration = Duration::from_secs(1);
const MEMORY_KB: u64 = 100_000;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/bad")
}

fn cases() -> Vec<PathBuf> {
    let mut cases: Vec<PathBuf> = std::fs::read_dir(corpus())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir() || path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    cases.sort();
    cases
}

fn options(case: &Path) -> LoadOptions {
    let env =
        [("HOME".to_owned(), "/home/nobody".to_owned()), ("HOST_NAME".to_owned(), "h".to_owned())].into();
    if case.is_dir() {
        return LoadOptions { folder: case.to_owned(), env, ..LoadOptions::default() };
    }
    let folder = case.parent().unwrap().to_owned();
    let project_name = Some("bad".to_owned());
    LoadOptions { folder, files: vec![case.to_owned()], project_name, env, ..LoadOptions::default() }
}

/// The time that this thread was on a processor, so that the neighbours of a busy machine are not measured too.
fn cpu() -> Duration {
    static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = text.and_then(|text| text.split(' ').next()?.parse().ok());
    nanos.map_or_else(|| BEGIN.elapsed(), Duration::from_nanos)
}

/// What is shown for a case, and how long it took.
fn run(case: &Path) -> (String, Duration) {
    let begin = cpu();
    let shown = match load(&options(case)) {
        Ok(_) => "no problem was found\n".to_owned(),
        Err(problems) => problems.render(false),
    };
    let took = cpu() - begin;
    (shown.replace(&corpus().display().to_string(), "/BAD"), took)
}

#[test]
fn every_bad_file_gives_the_error_that_is_expected() {
    let update = std::env::var_os("TUTTI_UPDATE").is_some();
    let mut wrong = Vec::new();
    for case in cases() {
        let (shown, took) = run(&case);
        let record = case.with_extension("txt");
        if update {
            std::fs::write(&record, &shown).unwrap();
        }
        let expected = std::fs::read_to_string(&record).unwrap_or_default();
        let name = case.file_name().unwrap().to_string_lossy().into_owned();
        if shown != expected {
            wrong.push(format!("{name}: expected\n{expected}\nfound\n{shown}"));
        }
        if !shown.contains("error[TUT01") {
            wrong.push(format!("{name}: no error: {shown}"));
        }
        if took > LIMIT {
            wrong.push(format!("{name}: took {took:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(cases().len() >= 100, "there are only {} cases", cases().len());
}

/// A hostile file that is made rather than kept: a name, the text, and what the error has to say.
type Hostile = (&'static str, Vec<u8>, &'static str);

/// Files that are as large as is read, or larger.
fn large() -> Vec<Hostile> {
    let fifty = |unit: &str| unit.repeat(50_000_000 / unit.len()).into_bytes();
    // As large as is read at all.
    let two = |unit: &str, head: &str| {
        let mut text = head.to_owned();
        text.push_str(&unit.repeat((2 * 1024 * 1024 - head.len() - 10) / unit.len()));
        text.into_bytes()
    };
    vec![
        ("fifty of a key", fifty("k: v\n"), "at most 2097152 are read"),
        ("fifty of nothing", fifty("\n"), "at most 2097152 are read"),
        ("fifty of brackets", fifty("["), "at most 2097152 are read"),
        ("brackets", two("[", ""), "nested deeper than 64"),
        ("braces", two("{a: ", ""), "nested deeper than 64"),
        ("dashes", two("- ", ""), "nested deeper than 64"),
        ("question marks", two("? ", ""), "nested deeper than 64"),
        ("keys", two("a:\n", ""), "is there twice"),
        ("one line", two("x", "a: "), "is not a key of a compose file"),
        ("quotes", two("\"a\" ", ""), "not valid YAML"),
        ("open quote", two("x\n", "a: \""), "not valid YAML"),
        ("flow list", two("a,", "x-a: ["), "more than 100000 nodes"),
        ("comments", two("# c\n", ""), "the file is empty"),
        ("spaces", two(" ", ""), "the file is empty"),
        ("documents", two("---\n", ""), "more than 100000 nodes"),
        ("anchors", two("&a ", "a: "), "not valid YAML"),
        ("tags", two("!a ", "a: "), "not valid YAML"),
        ("aliases", two("- *a\n", "x-a: &a [b]\nx-b:\n"), "more than 100000 nodes"),
        ("colons", two("a: ", ""), "not valid YAML"),
        ("tabs", two("\t", "a:\n"), "is not a key of a compose file"),
        ("null bytes", two("\0", "a: "), "U+0000"),
    ]
}

/// Files that unfold to more than they are.
fn unfolding() -> Vec<Hostile> {
    let service = "services:\n  web:\n    image: x\n";
    let mut laughs = "a0: &a0 [lol,lol,lol,lol,lol,lol,lol,lol,lol]\n".to_owned();
    for n in 1..20 {
        let list = vec![format!("*a{}", n - 1); 9].join(",");
        laughs.push_str(&format!("a{n}: &a{n} [{list}]\n"));
    }
    let mut quadratic = format!("x-a: &a {}\nx-b:\n", "x".repeat(1 << 20));
    quadratic.push_str(&"  - *a\n".repeat(100_000));
    let mut maps = "x-0: &m0 {k: v}\n".to_owned();
    for n in 1..30 {
        maps.push_str(&format!("x-{n}: &m{n} {{a: {{<<: *m{0}}}, b: {{<<: *m{0}}}}}\n", n - 1));
    }
    let mut extends = "services:\n  base:\n    image: x\n    labels:\n".to_owned();
    (0..20_000).for_each(|n| extends.push_str(&format!("      l{n}: v\n")));
    (0..2_000).for_each(|n| extends.push_str(&format!("  s{n}: {{extends: base}}\n")));
    let mut chain = "services:\n  s0: {image: x}\n".to_owned();
    (1..400).rev().for_each(|n| chain.push_str(&format!("  s{n}: {{extends: s{}}}\n", n - 1)));
    let mut circle = "services:\n".to_owned();
    (0..10_000).for_each(|n| {
        circle.push_str(&format!("  s{n}: {{image: x, depends_on: [s{}]}}\n", (n + 1) % 10_000))
    });
    let many: String = (0..20_000).map(|n| format!("  s{n}: {{image: x}}\n")).collect();
    let mut bad_keys = service.to_owned();
    (0..40_000).for_each(|n| bad_keys.push_str(&format!("    imagee{n}: x\n")));
    let mut variables = format!("{service}    environment:\n      A: \"");
    variables.push_str(&"${U:-".repeat(300_000));
    let doubling = format!("{service}    command: \"{}\"\n", "$BIG".repeat(100_000));
    vec![
        ("laughs", laughs.into_bytes(), "more than 100000 nodes"),
        ("laughs of maps", maps.into_bytes(), "more than 100000 nodes"),
        ("quadratic", quadratic.into_bytes(), "8 MiB of text"),
        ("extends", extends.into_bytes(), "more than 100000 nodes"),
        ("extends chain", chain.into_bytes(), "more than 64 services extend one another"),
        ("depends circle", circle.into_bytes(), "at most 500 are read"),
        ("services", format!("services:\n{many}").into_bytes(), "at most 500 are read"),
        ("unknown keys", bad_keys.into_bytes(), "and 39900 more"),
        ("variables", variables.into_bytes(), "not valid YAML"),
        (
            "nested variables",
            format!("{service}    command: \"{}{}\"\n", "${U:-".repeat(100_000), "}".repeat(100_000))
                .into_bytes(),
            "nested deeper than 32",
        ),
        (
            "ports",
            format!("{service}    ports: [{}]\n", "'1-60000',".repeat(100)).into_bytes(),
            "more than 100000 nodes",
        ),
        (
            "long name",
            format!("services:\n  {}: {{image: x}}\n", "a".repeat(1_000)).into_bytes(),
            "at most 63 bytes",
        ),
        ("growing variables", doubling.into_bytes(), "8 MiB of text"),
    ]
}

fn write(dir: &Path, text: &[u8]) -> PathBuf {
    let path = dir.join("compose.yaml");
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn hostile_files_are_refused_at_once_and_without_much_memory() {
    // As the child: load one file, and say how it went.
    if let Some(path) = std::env::var_os("TUTTI_BAD_CHILD") {
        let mut options = options(Path::new(&path));
        options.env.insert("BIG".to_owned(), "x".repeat(100_000));
        let begin = cpu();
        let shown = load(&options).map_or_else(|problems| problems.render(false), |_| "fine".to_owned());
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0");
        println!(
            "\nTOOK {}\nPEAK {}\n{shown}\nEND",
            (cpu() - begin).as_millis(),
            peak.trim().trim_end_matches(" kB")
        );
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut wrong = Vec::new();
    let mut worst = (0, 0);
    for (name, text, expected) in large().into_iter().chain(unfolding()) {
        let folder = dir.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        let path = write(&folder, &text);
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "hostile_files_are_refused_at_once_and_without_much_memory", "--nocapture"])
            .env("TUTTI_BAD_CHILD", &path)
            .output()
            .unwrap();
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        let number = |key: &str| -> u64 {
            let line = out.lines().find_map(|line| line.strip_prefix(key)).unwrap_or("");
            line.trim().parse().unwrap_or(u64::MAX)
        };
        let (took, peak) = (number("TOOK "), number("PEAK "));
        let shown: String = out.chars().take(1_500).collect();
        if !output.status.success() || !out.contains(expected) {
            wrong.push(format!("{name}: expected {expected:?}, found {shown}"));
        }
        worst = (worst.0.max(took), worst.1.max(peak));
        if took > 1_000 || peak > MEMORY_KB {
            wrong.push(format!("{name}: {took} ms, {peak} kB"));
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
    println!("the slowest took {} ms, the largest {} kB", worst.0, worst.1);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[cfg(unix)]
#[test]
fn pipes_and_folders_are_not_read() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("compose.yaml")).unwrap();
    assert!(run(dir.path()).0.contains("it is a folder, not a regular file"));
    let pipe = dir.path().join("pipe.yaml");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert!(run(&pipe).0.contains("a pipe, socket or device, not a regular file"));
    assert!(run(Path::new("/dev/zero")).0.contains("a pipe, socket or device"));
}

#[test]
fn a_missing_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    assert!(run(&dir.path().join("nothing.yaml")).0.contains("nothing.yaml cannot be read: no such file"));
}
