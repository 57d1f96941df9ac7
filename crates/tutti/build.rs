//! Puts the pages of `docs/errors/` into the binary, for `tutti explain`.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

#[allow(clippy::print_stdout, reason = "cargo reads the lines that a build script prints")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../../docs/errors").canonicalize()?;
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut pages: Vec<(u16, String)> = Vec::new();
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        if let Some(number) = stem.strip_prefix("TUT").and_then(|digits| digits.parse().ok()) {
            pages.push((number, path.display().to_string()));
        }
    }
    pages.sort();
    let mut code =
        String::from("/// The page of each code, by its number.\nstatic PAGES: &[(u16, &str)] = &[\n");
    for (number, path) in pages {
        writeln!(code, "    ({number}, include_str!({path:?})),")?;
    }
    code.push_str("];\n");
    fs::write(Path::new(&env::var("OUT_DIR")?).join("error_pages.rs"), code)?;
    Ok(())
}
