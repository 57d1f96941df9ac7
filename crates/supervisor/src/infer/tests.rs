//! Folders as people have them, and what is made of each.

use std::fs;

use tempfile::TempDir;
use tutti_core::ServiceName;
use tutti_model::app::{Build, Listen};
use tutti_ports::catalog::AppProtocol;

use super::program::wildcard;
use super::*;

struct Case {
    folder: TempDir,
    service: Service,
}

impl Case {
    /// A service with a build context that holds these files.
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let mut service = Service::new(ServiceName::new("api").unwrap());
        service.build = Some(Build {
            context: folder.path().to_owned(),
            dockerfile: None,
            dockerfile_inline: None,
            target: None,
            args: IndexMap::new(),
        });
        service.listens.push(Listen { port: 8080, protocol: AppProtocol::Http, udp: false });
        Self { folder, service }
    }

    fn plan_with(&self, tools: &[&str]) -> Result<Plan, Cannot> {
        let bin = tempfile::tempdir().unwrap();
        for tool in tools {
            use std::os::unix::fs::PermissionsExt as _;
            let path = bin.path().join(tool);
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let workshop = Workshop { folder: PathBuf::from("/w") };
        plan(&self.service, self.folder.path(), &workshop, &Toolbox::new(bin.path()))
    }

    /// The plan as lines: the steps, then the program, with this case's folder written as `.`.
    fn shown(&self) -> String {
        let plan = self
            .plan_with(&["node", "npm", "yarn", "pnpm", "python3", "cargo", "go", "java", "mvn", "gradle"])
            .unwrap();
        let steps = plan.steps.iter().map(|step| show(&step.command));
        let lines: Vec<String> = steps.chain([show_program(&plan.launch.program)]).collect();
        lines.join("\n").replace(&self.folder.path().display().to_string(), ".")
    }
}

#[test]
fn node_with_a_lock_a_build_and_a_start_script() {
    let package =
        r#"{"dependencies": {"x": "1"}, "scripts": {"build": "tsc", "start": "node dist/main.js"}}"#;
    let case = Case::new(&[("package.json", package), ("package-lock.json", "{}")]);
    assert_eq!(case.shown(), "npm ci --no-audit --no-fund\nnpm run build\nnode dist/main.js");
}

#[test]
fn node_with_the_yarn_of_the_repository_and_only_an_entrypoint() {
    let case = Case::new(&[
        ("package.json", r#"{"dependencies": {"x": "1"}, "scripts": {"build": "nest build"}}"#),
        ("yarn.lock", ""),
        (".yarnrc.yml", "nodeLinker: node-modules\nyarnPath: .yarn/releases/yarn-4.cjs\n"),
        (".yarn/releases/yarn-4.cjs", ""),
        ("Dockerfile", "FROM node\nWORKDIR /app\nENTRYPOINT [\"node\", \"dist/main.js\"]\n"),
    ]);
    assert_eq!(
        case.shown(),
        "node .yarn/releases/yarn-4.cjs install --immutable\nnode .yarn/releases/yarn-4.cjs run build\nnode dist/main.js"
    );
}

#[test]
fn a_start_script_for_the_shell_goes_through_npm() {
    let case =
        Case::new(&[("package.json", r#"{"scripts": {"start": "NODE_ENV=production node a.js && true"}}"#)]);
    assert_eq!(case.shown(), "npm run start");
}

#[test]
fn python_runs_in_an_environment_of_its_own_and_listens_where_told() {
    let case = Case::new(&[
        ("requirements.txt", "fastapi"),
        (
            "Dockerfile",
            "FROM python\nEXPOSE 8080\nCMD [\"uvicorn\", \"app:app\", \"--host\", \"0.0.0.0\", \"--port\", \"8080\"]",
        ),
    ]);
    assert_eq!(
        case.shown(),
        "python3 -m venv /w/venv\n\
         /w/venv/bin/pip install --disable-pip-version-check --no-input --quiet -r requirements.txt\n\
         uvicorn app:app --host 0.0.0.0 --port ${PORT}"
    );
    let launch = case.plan_with(&["python3"]).unwrap().launch;
    assert_eq!(launch.path, [PathBuf::from("/w/venv/bin")]);
    assert_eq!(launch.exposes, [8080]);
}

#[test]
fn composes_command_wins_over_the_image_and_resets_it() {
    let mut case = Case::new(&[
        ("app.py", ""),
        ("requirements.txt", ""),
        ("Dockerfile", "FROM python\nCMD [\"python\", \"app.py\"]"),
    ]);
    case.service.command = Some(Command::Args(["python", "worker.py", "-v"].map(str::to_owned).to_vec()));
    assert!(case.shown().ends_with("\npython worker.py -v"));
}

#[test]
fn go_builds_into_the_data_directory() {
    let image = (
        "Dockerfile",
        "FROM golang AS b\nRUN CGO_ENABLED=0 go build -o /out/api ./cmd/server\nFROM scratch\nCOPY --from=b /out/api /out/api\nENTRYPOINT [\"/out/api\"]",
    );
    let case = Case::new(&[("go.mod", "module x"), image]);
    assert_eq!(case.shown(), "go build -o /w/bin/api ./cmd/server\n/w/bin/api");
    let root = Case::new(&[("go.mod", "module x"), ("main.go", "package main\nfunc main() {}")]);
    assert_eq!(root.shown(), "go build -o /w/bin/api .\n/w/bin/api");
    let named = Case::new(&[
        ("go.mod", "module x"),
        ("cmd/api/main.go", "package main"),
        ("cmd/other/main.go", "package main"),
    ]);
    assert_eq!(named.shown(), "go build -o /w/bin/api ./cmd/api\n/w/bin/api");
}

#[test]
fn rust_runs_the_binary_of_its_manifest() {
    let case = Case::new(&[("Cargo.toml", "[package]\nname = \"api-server\"\n"), ("Cargo.lock", "")]);
    assert!(case.shown().starts_with("cargo build --release --locked\n"));
    assert!(case.shown().ends_with("/release/api-server"));
}

#[test]
fn java_runs_the_jar_that_was_built_and_no_other() {
    let case = Case::new(&[
        ("pom.xml", "<project/>"),
        ("mvnw", ""),
        ("Dockerfile", "FROM j\nENTRYPOINT [\"java\",\"-jar\",\"/app/app.jar\"]"),
    ]);
    assert_eq!(case.shown(), "./mvnw -B -q -DskipTests package\njava -jar ./target/*.jar");
    let plan = case.plan_with(&["java"]).unwrap();
    assert_eq!(plan.launch.program.resolve(), None);
    for jar in ["app-1.jar", "app-1-sources.jar", "original-app-1.jar"] {
        fs::create_dir_all(case.folder.path().join("target")).unwrap();
        fs::write(case.folder.path().join("target").join(jar), "").unwrap();
    }
    let jar = case.folder.path().join("target/app-1.jar");
    assert_eq!(
        plan.launch.program.resolve(),
        Some(Command::Args(vec!["java".into(), "-jar".into(), jar.display().to_string()]))
    );
}

#[test]
fn java_options_of_the_image_stay() {
    let case = Case::new(&[
        ("pom.xml", "<project/>"),
        ("Dockerfile", "FROM j\nENTRYPOINT java $JAVA_OPTS -jar /app.jar"),
    ]);
    assert!(case.shown().contains("java ${JAVA_OPTS} -jar "), "{}", case.shown());
}

#[test]
fn the_overlay_wins_over_everything() {
    let mut case =
        Case::new(&[("package.json", r#"{"dependencies": {"x": "1"}, "scripts": {"start": "node a.js"}}"#)]);
    case.service.run = Some(Command::Shell("exec ./mine".into()));
    assert_eq!(case.shown(), "npm install --no-audit --no-fund\nexec ./mine");
    case.service.setup = Some(Vec::new());
    assert_eq!(case.shown(), "exec ./mine");
    assert!(case.plan_with(&[]).is_ok(), "no tool is asked for when the overlay says it all");
}

#[test]
fn a_missing_toolchain_is_named_with_its_remedy() {
    let case = Case::new(&[("go.mod", "module x"), ("main.go", "package main")]);
    let error = case.plan_with(&[]).unwrap_err();
    assert_eq!(error.to_string(), "api needs `go` (it has a go.mod), which is not on PATH");
    assert!(error.remedy().contains("go.dev"));
}

#[test]
fn a_database_image_says_what_to_do() {
    let mut service = Service::new(ServiceName::new("db").unwrap());
    service.image = Some("docker.io/library/postgres:16".into());
    let workshop = Workshop { folder: PathBuf::from("/w") };
    let error = plan(&service, Path::new("/"), &workshop, &Toolbox::new("")).unwrap_err();
    assert!(matches!(&error, Cannot::Engine { what: "a PostgreSQL database", .. }), "{error}");
    assert!(error.remedy().contains("external: \"127.0.0.1:5432\""), "{}", error.remedy());
}

#[test]
fn an_unknown_folder_says_what_was_looked_for() {
    let error = Case::new(&[("readme.txt", "")]).plan_with(&[]).unwrap_err();
    assert!(matches!(error, Cannot::NoIdea { .. }), "{error}");
    let mut gone = Case::new(&[]);
    gone.service.dir = Some(PathBuf::from("/does/not/exist"));
    assert!(matches!(gone.plan_with(&[]), Err(Cannot::NoFolder { .. })));
}

#[test]
fn a_dockerfile_below_the_context_leads_to_its_own_folder() {
    let files = [
        ("package.json", r#"{"devDependencies": {"lint": "1"}}"#),
        ("services/cart/requirements.txt", ""),
        ("services/cart/main.py", "print()"),
        ("services/cart/Dockerfile", "FROM python\nCOPY services/cart .\nCMD [\"python\", \"main.py\"]"),
        ("docker/Dockerfile", "FROM node\nCMD [\"node\", \"index.js\"]"),
    ];
    let mut case = Case::new(&files);
    let build = case.service.build.as_mut().unwrap();
    build.dockerfile = Some(build.context.join("services/cart/Dockerfile"));
    assert_eq!(case.plan_with(&["python3"]).unwrap().launch.cwd, case.folder.path().join("services/cart"));
    let build = case.service.build.as_mut().unwrap();
    build.dockerfile = Some(build.context.join("docker/Dockerfile"));
    assert_eq!(
        case.plan_with(&["node", "npm"]).unwrap().launch.cwd,
        case.folder.path(),
        "nothing but a Dockerfile there"
    );
}

#[test]
fn an_image_of_an_engine_with_files_of_its_own_is_that_engine() {
    let case =
        Case::new(&[("Dockerfile", "FROM mongo:5\nCOPY *.js /docker-entrypoint-initdb.d/"), ("a.js", "")]);
    let error = case.plan_with(&[]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "api is the image mongo:5, a MongoDB database, which this version does not start"
    );
    let files =
        [("Dockerfile", "FROM nginx\nCOPY start.sh /start.sh\nCMD [\"./start.sh\"]"), ("start.sh", "")];
    let proxy = Case::new(&files).plan_with(&[]).unwrap_err();
    assert!(proxy.remedy().contains("routes: [ { path: /, to: SERVICE } ]"), "{}", proxy.remedy());
    let site = "FROM node AS b\nRUN npm run build\nFROM nginx\nCOPY --from=b /dist /html";
    let site = Case::new(&[("Dockerfile", site), ("package.json", r#"{"scripts": {"start": "node s.js"}}"#)]);
    assert_eq!(site.shown(), "node s.js", "what is built from source is run from source");
}

#[test]
fn a_language_without_a_habit_is_named_with_what_usually_runs_it() {
    for (file, said) in [
        ("Worker.csproj", "api is a .NET project (Worker.csproj)"),
        ("composer.json", "api is a PHP project (composer.json)"),
        ("index.html", "api is a folder of static files (index.html)"),
    ] {
        let error =
            Case::new(&[(file, ""), ("Dockerfile", "FROM x\nCMD [\"x\"]")]).plan_with(&[]).unwrap_err();
        assert!(error.to_string().starts_with(said), "{error}");
        assert!(error.remedy().contains("services: { api: { run: \""), "{}", error.remedy());
    }
}

#[test]
fn a_command_of_the_image_alone_is_shown_in_the_refusal() {
    let error =
        Case::new(&[("Dockerfile", "FROM x\nCMD [\"/srv/api\", \"-v\"]")]).plan_with(&[]).unwrap_err();
    assert!(
        error.to_string().contains("the Dockerfile says `/srv/api -v`, which is no file of the folder"),
        "{error}"
    );
}

#[test]
fn development_servers_need_no_build_and_are_told_their_port() {
    let package = |start: &str| format!(r#"{{"scripts": {{"build": "x build", "start": "{start}"}}}}"#);
    for (script, shown) in [
        ("react-scripts start", "npm run start"),
        ("cross-env A=1 next dev", "npm run start"),
        ("vite", "npm run start -- --port ${PORT} --host 127.0.0.1"),
        ("ng serve --host 0.0.0.0", "npm run start -- --port ${PORT}"),
        ("vite --port 5000", "npm run start"),
        ("vite preview", "npm run build\nnpm run start"),
        ("next start", "npm run build\nnpm run start"),
        ("nodemon dist/main.js", "npm run build\nnpm run start"),
    ] {
        assert_eq!(Case::new(&[("package.json", &package(script))]).shown(), shown, "{script}");
    }
    let image = ("Dockerfile", "FROM node\nCMD [\"ng\", \"serve\", \"--host\", \"0.0.0.0\"]");
    let own = r#"{"devDependencies": {"@angular/cli": "1"}, "scripts": {"build": "ng build"}}"#;
    assert_eq!(
        Case::new(&[("package.json", own), image]).shown(),
        "npm install --no-audit --no-fund\nng serve --host 0.0.0.0 --port ${PORT}"
    );
    let of_image = r#"{"scripts": {"start": "node a.js"}}"#;
    assert_eq!(
        Case::new(&[("package.json", of_image), image]).shown(),
        "node a.js",
        "only the image has `ng`"
    );
}

#[test]
fn a_member_of_a_workspace_installs_at_its_root() {
    let mut case = Case::new(&[
        ("package.json", r#"{"workspaces": ["apps/*"]}"#),
        ("package-lock.json", "{}"),
        ("apps/web/package.json", r#"{"dependencies": {"x": "1"}, "scripts": {"start": "node a.js"}}"#),
    ]);
    case.service.dir = Some(case.folder.path().join("apps/web"));
    let plan = case.plan_with(&["node", "npm"]).unwrap();
    assert_eq!(
        (plan.steps[0].cwd.as_path(), plan.steps[0].name.as_str()),
        (case.folder.path(), "npm install --no-audit --no-fund")
    );
    assert_eq!(plan.launch.cwd, case.folder.path().join("apps/web"));
}

#[test]
fn corepack_stands_in_for_a_manager_that_is_not_installed() {
    let files =
        [("package.json", r#"{"dependencies": {"x": "1"}, "scripts": {"start": "x"}}"#), ("yarn.lock", "")];
    let case = Case::new(&files);
    let plan = case.plan_with(&["node", "corepack"]).unwrap();
    assert_eq!(show_program(&plan.launch.program), "corepack yarn run start");
    assert_eq!(plan.steps[0].env["COREPACK_ENABLE_DOWNLOAD_PROMPT"], "0");
    assert!(case.plan_with(&["node"]).unwrap_err().to_string().contains("`yarn`"));
}

#[test]
fn python_applications_without_a_start_of_their_own_get_a_server() {
    for (file, text, run) in [
        (
            "app/main.py",
            "from fastapi import FastAPI\napi = FastAPI()\n",
            "-m uvicorn app.main:api --host 127.0.0.1 --port ${PORT}",
        ),
        ("app.py", "app: Flask = Flask(__name__)\n", "-m flask --app app:app run"),
        ("app.py", "app = Flask(__name__)\nif __name__ == '__main__':\n    app.run()\n", "app.py"),
        ("main.py", "print('work')\n", "main.py"),
    ] {
        let shown = Case::new(&[("requirements.txt", ""), (file, text)]).shown();
        assert_eq!(shown.lines().last().unwrap(), format!("/w/venv/bin/python {run}"));
    }
}

#[test]
fn programs_at_their_places_in_the_image_are_those_of_the_environment_here() {
    for (image, here) in [
        (
            r#"["/venv/bin/opentelemetry-instrument", "/venv/bin/python", "a.py"]"#,
            "opentelemetry-instrument python a.py",
        ),
        (r#"["/usr/local/bin/python3", "a.py"]"#, "python3 a.py"),
        (r#"["uv", "run", "uvicorn", "a:b"]"#, "uvicorn a:b"),
        (r#"["poetry", "run", "python", "a.py"]"#, "python a.py"),
    ] {
        let case =
            Case::new(&[("requirements.txt", ""), ("Dockerfile", &format!("FROM python\nCMD {image}"))]);
        assert_eq!(case.shown().lines().last().unwrap(), here);
    }
    let error = Case::new(&[("requirements.txt", ""), ("Dockerfile", "FROM p:3\nCMD [\"./x\"]")])
        .plan_with(&["python3"]);
    let said = error.unwrap_err().to_string();
    assert!(
        said.ends_with("and requirements.txt names no program to start (its image stands on p:3)"),
        "{said}"
    );
}

#[test]
fn a_shell_line_is_run_if_all_of_it_can_be() {
    let files = |command: &str| {
        let dockerfile = format!("FROM python\nCMD {command}");
        let case = Case::new(&[
            ("requirements.txt", ""),
            ("main.py", ""),
            ("migrate.sh", ""),
            ("Dockerfile", &dockerfile),
        ]);
        case.shown().lines().last().unwrap().to_owned()
    };
    let by_habit = "/w/venv/bin/python main.py";
    for (command, run) in [
        (
            r#"["sh", "-c", "alembic upgrade head && exec uvicorn a:b"]"#,
            "sh -c 'alembic upgrade head && exec uvicorn a:b'",
        ),
        ("set -e; A=1 python main.py", "set -e; A=1 python main.py"),
        ("./migrate.sh && python main.py", "./migrate.sh && python main.py"),
        (r#"["/bin/sh", "-c", "envsubst < /a > /b && exec nginx"]"#, by_habit),
        ("envsubst < a > b && python main.py", by_habit),
        (r#"["/bin/cat", "/etc/passwd"]"#, by_habit),
        ("sleep 5", by_habit),
    ] {
        assert_eq!(files(command), run, "{command}");
    }
}

#[test]
fn cargo_run_is_the_binary_that_the_build_step_made() {
    let manifest = ("Cargo.toml", "[package]\nname = \"api\"\n");
    let run = |line: &str| Case::new(&[manifest, ("Dockerfile", &format!("FROM rust\nCMD {line}"))]).shown();
    assert!(run("cargo run --offline").ends_with("/release/api"));
    assert!(run("cargo run --bin other").ends_with("\ncargo run --bin other"));
}

#[test]
fn the_goals_of_the_images_build_make_the_jar() {
    let image = "FROM maven AS b\nRUN mvn --batch-mode clean compile assembly:single\nFROM jre\nCOPY --from=b /a /a\nCMD java -jar /a";
    let case = Case::new(&[("pom.xml", "<project/>"), ("Dockerfile", image)]);
    assert_eq!(case.shown(), "mvn -B -q -DskipTests package assembly:single\njava -jar ./target/*.jar");
}

#[test]
fn go_of_one_file_needs_no_module() {
    let case = Case::new(&[("main.go", "package main\nfunc main() {}")]);
    assert_eq!(case.shown(), "go build -o /w/bin/api main.go\n/w/bin/api");
}

#[test]
fn wildcards_match_like_a_shells() {
    for (pattern, text, expected) in [
        ("*.jar", "a.jar", true),
        ("*.jar", "a.jar.original", false),
        ("*-plain.jar", "a-1-plain.jar", true),
        ("a*b*c", "a1b2c", true),
        ("a*b*c", "acb", false),
        ("original-*.jar", "x-original-1.jar", false),
        ("exact", "exact", true),
        ("exact", "exactly", false),
    ] {
        assert_eq!(wildcard(pattern, text), expected, "{pattern} {text}");
    }
}
