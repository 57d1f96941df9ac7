//! Steps run once, again when something changed, and never half.

use std::sync::atomic::{AtomicUsize, Ordering};

use indexmap::IndexMap;
use tempfile::TempDir;
use tutti_model::app::Command;

use super::*;
use crate::infer::Inputs;

/// Runs steps with the shell, and remembers how many ran at the same time.
#[derive(Default)]
struct Shell {
    ran: std::sync::Mutex<Vec<String>>,
    now: AtomicUsize,
    most: AtomicUsize,
    /// Where two steps wait for each other.
    meet: std::sync::Mutex<Option<Arc<tokio::sync::Barrier>>>,
}

#[async_trait::async_trait]
impl Runner for Shell {
    async fn run(&self, step: &Step, output: &Path) -> io::Result<i32> {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        self.ran.lock().unwrap().push(step.name.clone());
        let meet = self.meet.lock().unwrap().clone();
        if let Some(meet) = meet {
            meet.wait().await;
        }
        let log = std::fs::OpenOptions::new().append(true).open(output)?;
        let status = std::process::Command::new("sh")
            .args(["-c", &show(&step.command)])
            .current_dir(&step.cwd)
            .stdout(log.try_clone()?)
            .stderr(log)
            .status()?;
        self.now.fetch_sub(1, Ordering::SeqCst);
        Ok(status.code().unwrap_or(-1))
    }
}

struct Bench {
    dir: TempDir,
    shell: Arc<Shell>,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("src")).unwrap();
        std::fs::write(dir.path().join("src/in.txt"), "1").unwrap();
        Self { dir, shell: Arc::default() }
    }

    fn step(&self, line: &str) -> Step {
        let cwd = self.dir.path().join("src");
        Step {
            name: line.to_owned(),
            command: Command::Shell(line.to_owned()),
            inputs: Inputs::Folder(cwd.clone()),
            cwd,
            env: IndexMap::new(),
            outputs: Vec::new(),
            group: None,
        }
    }

    /// Runs and answers the failures, what ran, and the progress that was told.
    async fn run(
        &self,
        services: &[(&str, Vec<Step>)],
        rebuild: bool,
    ) -> (Vec<SetupError>, Vec<String>, Vec<Progress>) {
        let (tell, mut told) = mpsc::channel(64);
        self.shell.ran.lock().unwrap().clear();
        let setup = Setup::new(Arc::clone(&self.shell), self.dir.path().join("data"), 4, rebuild, tell);
        let services =
            services.iter().map(|(name, steps)| (ServiceName::new(name).unwrap(), steps.clone())).collect();
        let failed = setup.run(services).await;
        let mut progress = Vec::new();
        while let Some(one) = told.recv().await {
            progress.push(one);
        }
        (failed, self.shell.ran.lock().unwrap().clone(), progress)
    }
}

#[tokio::test]
async fn a_step_runs_again_only_when_its_inputs_outputs_or_command_change() {
    let bench = Bench::new();
    let mut step = bench.step("cp in.txt ../made");
    step.outputs = vec![bench.dir.path().join("made")];
    let services = [("a", vec![step.clone()])];
    assert_eq!(bench.run(&services, false).await.1.len(), 1);
    let (_, ran, progress) = bench.run(&services, false).await;
    assert!(ran.is_empty());
    assert!(matches!(progress.as_slice(), [Progress::Done { cached: true, .. }]), "{progress:?}");
    std::fs::write(bench.dir.path().join("src/in.txt"), "2").unwrap();
    assert_eq!(bench.run(&services, false).await.1.len(), 1, "a changed input");
    std::fs::remove_file(bench.dir.path().join("made")).unwrap();
    assert_eq!(bench.run(&services, false).await.1.len(), 1, "a missing output");
    assert_eq!(bench.run(&services, true).await.1.len(), 1, "asked to rebuild");
    step.command = Command::Shell("cp in.txt ../made ".into());
    assert_eq!(bench.run(&[("a", vec![step])], false).await.1.len(), 1, "another command");
}

#[tokio::test]
async fn what_builds_leave_behind_is_no_input() {
    let bench = Bench::new();
    std::fs::write(bench.dir.path().join("src/.gitignore"), "made.txt\n").unwrap();
    let line = "mkdir -p node_modules target && touch node_modules/x target/y made.txt service.log";
    let services = [("a", vec![bench.step(line)])];
    assert_eq!(bench.run(&services, false).await.1.len(), 1);
    assert!(bench.run(&services, false).await.1.is_empty());
}

#[tokio::test]
async fn a_failed_step_stops_its_service_is_shown_and_runs_again() {
    let bench = Bench::new();
    let services = [
        ("bad", vec![bench.step("echo why it failed; exit 3"), bench.step("echo never")]),
        ("good", vec![bench.step("true")]),
    ];
    let (failed, mut ran, _) = bench.run(&services, false).await;
    ran.sort();
    assert_eq!(ran, ["echo why it failed; exit 3", "true"]);
    assert_eq!(failed.len(), 1);
    let text = failed[0].to_string();
    assert!(text.contains("of bad ended with status 3") && text.contains("\nwhy it failed\n"), "{text}");
    let (failed, ran, _) = bench.run(&services, false).await;
    assert_eq!((failed.len(), ran.len()), (1, 1), "the good one is cached, the bad one is tried again");
}

#[tokio::test]
async fn the_same_work_is_done_once_and_groups_run_alone() {
    let bench = Bench::new();
    let same = [("a", vec![bench.step("true")]), ("b", vec![bench.step("true")])];
    assert_eq!(bench.run(&same, false).await.1.len(), 1);
    let grouped = |line: &str| vec![Step { group: Some("g"), ..bench.step(line) }];
    bench.shell.most.store(0, Ordering::SeqCst);
    bench.run(&[("c", grouped("echo 1")), ("d", grouped("echo 2")), ("e", grouped("echo 3"))], false).await;
    assert_eq!(bench.shell.most.load(Ordering::SeqCst), 1);
    *bench.shell.meet.lock().unwrap() = Some(Arc::new(tokio::sync::Barrier::new(2)));
    let others = [("f", vec![bench.step("echo 4")]), ("g", vec![bench.step("echo 5")])];
    let both = tokio::time::timeout(Duration::from_secs(30), bench.run(&others, false)).await;
    assert!(both.is_ok(), "others run side by side");
}

#[tokio::test]
async fn a_command_that_cannot_be_run_is_named() {
    let bench = Bench::new();
    let mut step = bench.step("true");
    step.cwd = PathBuf::from("/does/not/exist");
    step.inputs = Inputs::Files(Vec::new());
    let (failed, ..) = bench.run(&[("a", vec![step])], false).await;
    assert!(failed[0].to_string().starts_with("cannot run `true` of a in /does/not/exist"), "{}", failed[0]);
}
