//! Java and Kotlin: Maven (`pom.xml`) and Gradle (`build.gradle`, `build.gradle.kts`), wrapper before system, with the
//! oldest installed JDK that is new enough for what the build asks.

use std::path::{Path, PathBuf};

use super::{Dockerfile, Folder, Kind, OWN_PORT, Program, Step, Tool, show};

const REMEDY_JAVA: &str = "install a JDK (https://adoptium.net; on Debian: apt install default-jdk-headless)";
const REMEDY_NEWER: &str = "install a JDK of that version or a newer one (https://adoptium.net) below /usr/lib/jvm, or set JAVA_HOME to it";
const REMEDY_MAVEN: &str =
    "install Maven (on Debian: apt install maven), or add the Maven wrapper to the folder";
const REMEDY_GRADLE: &str = "install Gradle, or add the Gradle wrapper to the folder";

pub(super) fn detect(folder: &Folder, dockerfile: &Dockerfile) -> Option<Kind> {
    maven(folder, dockerfile).or_else(|| gradle(folder, dockerfile))
}

fn maven(folder: &Folder, dockerfile: &Dockerfile) -> Option<Kind> {
    let pom = folder.read("pom.xml")?;
    // A module of a larger build has the version from its parent, one folder up by default (POM reference, `relativePath`).
    let parent = Folder { path: folder.path.join("..") }.read("pom.xml");
    let wanted = [Some(&pom), parent.as_ref()].into_iter().flatten().find_map(|pom| {
        let names = ["java.version", "maven.compiler.release", "maven.compiler.target"];
        names.iter().find_map(|name| element(pom, name)).and_then(major)
    });
    let (program, tool) = runner(folder, "mvnw", Tool::new("mvn", REMEDY_MAVEN));
    let goals = ["-B", "-q", "-DskipTests", "package"].into_iter().chain(more_goals(dockerfile));
    let words: Vec<&str> = std::iter::once(program.as_str()).chain(goals).collect();
    let step = folder.step(&words, folder.everything(), Vec::new());
    let jars: &[&str] = match pom.contains("quarkus") {
        true => &["target/quarkus-app/quarkus-run.jar", "target/*.jar"],
        false => &["target/*.jar"],
    };
    Some(kind(folder, dockerfile, "pom.xml", tool, step, wanted, jars))
}

/// Goals besides `package` with which the image's own build makes the jar, such as `assembly:single`.
fn more_goals(dockerfile: &Dockerfile) -> impl Iterator<Item = &str> {
    let lines = dockerfile.runs.iter().filter(|line| line.contains("mvn"));
    let words = lines.flat_map(|line| line.split_whitespace());
    words.filter(|word| {
        ["assembly:", "shade:", "spring-boot:repackage"].iter().any(|goal| word.starts_with(goal))
    })
}

fn gradle(folder: &Folder, dockerfile: &Dockerfile) -> Option<Kind> {
    let because = ["build.gradle", "build.gradle.kts"].into_iter().find(|name| folder.has(name))?;
    let build = folder.read(because)?;
    let wanted = between(&build, "JavaLanguageVersion.of(", ")").and_then(major);
    let task = if build.contains("org.springframework.boot") { "bootJar" } else { "assemble" };
    let (program, tool) = runner(folder, "gradlew", Tool::new("gradle", REMEDY_GRADLE));
    let step = folder.step(&[&program, "--quiet", "--no-daemon", task], folder.everything(), Vec::new());
    let jars: &[&str] = match build.contains("quarkus") {
        true => &["build/quarkus-app/quarkus-run.jar", "build/libs/*-all.jar", "build/libs/*.jar"],
        false => &["build/libs/*-all.jar", "build/libs/*.jar"],
    };
    Some(kind(folder, dockerfile, because, tool, step, wanted, jars))
}

/// The text of the first `<name>…</name>`.
fn element<'t>(xml: &'t str, name: &str) -> Option<&'t str> {
    between(xml, &format!("<{name}>"), &format!("</{name}>"))
}

fn between<'t>(text: &'t str, open: &str, close: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(open)?;
    rest.split_once(close).map(|(inner, _)| inner.trim())
}

/// 17 of `17`, `17.0.15` and `"17"`; 8 of `1.8`.
fn major(version: &str) -> Option<u32> {
    let mut parts = version.trim_matches(['"', '\'']).split(['.', '_', '-', '+']);
    match parts.next()?.parse().ok()? {
        1 => parts.next()?.parse().ok(),
        number => Some(number),
    }
}

/// The wrapper of the folder, if there is one, else the tool.
fn runner(folder: &Folder, wrapper: &str, tool: Tool) -> (String, Option<Tool>) {
    if folder.has(wrapper) { (format!("./{wrapper}"), None) } else { (tool.name.clone(), Some(tool)) }
}

fn kind(
    folder: &Folder,
    dockerfile: &Dockerfile,
    because: &'static str,
    builder: Option<Tool>,
    mut step: Step,
    wanted: Option<u32>,
    jars: &[&str],
) -> Kind {
    let jdk = Jdk::choose(wanted);
    // The local Maven repository and the wrapper's download are not meant for several processes.
    step.group = Some("java");
    let mut env = vec![
        ("SERVER_PORT", OWN_PORT.to_owned()),
        ("QUARKUS_HTTP_PORT", OWN_PORT.to_owned()),
        ("MICRONAUT_SERVER_PORT", OWN_PORT.to_owned()),
    ];
    let (java, home) = match jdk {
        Jdk::OnPath => (Tool::new("java", REMEDY_JAVA), None),
        Jdk::At(home) => (Tool::new(&home.join("bin/java").display().to_string(), REMEDY_JAVA), Some(home)),
        Jdk::Missing(version) => {
            (Tool::new(&format!("java (version {version} or newer)"), REMEDY_NEWER), None)
        }
    };
    if let Some(home) = &home {
        step.env.insert("JAVA_HOME".to_owned(), home.display().to_string());
        env.push(("JAVA_HOME", home.display().to_string()));
    }
    Kind {
        because,
        habit: Some(habit(folder, dockerfile, &java, jars)),
        tools: std::iter::once(java).chain(builder).collect(),
        steps: vec![step],
        // A `java` command of a Dockerfile names the jar as the image has it; the built one is found by habit.
        commands: vec![],
        env,
        path: home.map(|home| home.join("bin")).into_iter().collect(),
    }
}

/// `java -jar` the built jar; with `$JAVA_OPTS` where the image's own command has it.
fn habit(folder: &Folder, dockerfile: &Dockerfile, java: &Tool, jars: &[&str]) -> Program {
    let says_options = [&dockerfile.entrypoint, &dockerfile.cmd]
        .into_iter()
        .flatten()
        .any(|command| show(command).contains("JAVA_OPTS"));
    let options = says_options.then(|| "${JAVA_OPTS}".to_owned());
    Program::Built {
        before: std::iter::once(java.name.clone()).chain(options).chain(["-jar".to_owned()]).collect(),
        candidates: jars.iter().map(|jar| folder.path.join(jar)).collect(),
        except: ["*-sources.jar", "*-javadoc.jar", "*-plain.jar", "*-tests.jar", "original-*.jar"]
            .map(str::to_owned)
            .to_vec(),
        after: Vec::new(),
    }
}

/// Which JDK serves.
enum Jdk {
    /// The one on `PATH`.
    OnPath,
    /// The one in this folder.
    At(PathBuf),
    /// None is new enough.
    Missing(u32),
}

impl Jdk {
    /// `JAVA_HOME` if new enough, else the oldest that is, among those installed where JDKs are.
    fn choose(wanted: Option<u32>) -> Self {
        let Some(wanted) = wanted else {
            return Jdk::OnPath;
        };
        let enough = |home: &PathBuf| version_of(home).is_some_and(|version| version >= wanted);
        if let Some(home) = std::env::var_os("JAVA_HOME").map(PathBuf::from).filter(enough) {
            return Jdk::At(home);
        }
        let installed = jdk_folders().into_iter().filter(enough);
        installed.min_by_key(|home| (version_of(home), home.clone())).map_or(Jdk::Missing(wanted), Jdk::At)
    }
}

/// Folders of JDKs by the habits of Debian, Fedora, SDKMAN and macOS.
fn jdk_folders() -> Vec<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let parents = [
        PathBuf::from("/usr/lib/jvm"),
        PathBuf::from("/opt"),
        home.join(".sdkman/candidates/java"),
        home.join(".jdks"),
        PathBuf::from("/Library/Java/JavaVirtualMachines"),
    ];
    let children = parents.iter().filter_map(|parent| std::fs::read_dir(parent).ok());
    children
        .flat_map(|entries| entries.flatten().map(|entry| entry.path()))
        .flat_map(|folder| [folder.clone(), folder.join("Contents/Home")])
        .filter(|folder| folder.join("bin/javac").is_file())
        .collect()
}

/// The major version in a JDK's `release` file (JEP 223): `JAVA_VERSION="17.0.15"`.
fn version_of(home: &Path) -> Option<u32> {
    let release = super::read_bounded(&home.join("release"))?;
    release.lines().find_map(|line| line.strip_prefix("JAVA_VERSION=")).and_then(major)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn java_versions_are_read_in_every_spelling() {
        assert_eq!(major("17"), Some(17));
        assert_eq!(major("\"21.0.1\""), Some(21));
        assert_eq!(major("1.8"), Some(8));
        assert_eq!(major("${x}"), None);
        assert_eq!(element("<a><java.version> 21 </java.version></a>", "java.version"), Some("21"));
    }
}
