//! Python: `requirements.txt`, `pyproject.toml`, `setup.py`, `Pipfile`. Packages go into a virtual environment in the data
//! directory, never into the user's folder or the system's Python.

use std::path::Path;

use tutti_model::app::Command;

use super::{Folder, Inputs, Kind, OWN_PORT, Program, Step, Tool, Workshop};

const REMEDY: &str = "install Python 3 (https://www.python.org; on Debian: apt install python3 python3-venv)";

pub(super) fn detect(folder: &Folder, workshop: &Workshop) -> Option<Kind> {
    let because = ["requirements.txt", "pyproject.toml", "setup.py", "Pipfile"]
        .into_iter()
        .find(|name| folder.has(name))?;
    let venv = workshop.folder.join("venv");
    let bin = venv.join("bin");
    Some(Kind {
        because,
        tools: vec![Tool::new("python3", REMEDY)],
        steps: steps(folder, because, &venv),
        habit: habit(folder, &bin),
        commands: vec![
            "python",
            "python3",
            "uvicorn",
            "gunicorn",
            "hypercorn",
            "granian",
            "daphne",
            "flask",
            "fastapi",
            "celery",
            "waitress-serve",
            "streamlit",
            "uwsgi",
            "django-admin",
            "alembic",
            "rq",
            "arq",
            "dramatiq",
            "locust",
            "opentelemetry-instrument",
            "ddtrace-run",
        ],
        env: vec![
            ("VIRTUAL_ENV", venv.display().to_string()),
            ("PYTHONUNBUFFERED", "1".to_owned()),
            ("UVICORN_PORT", OWN_PORT.to_owned()),
            ("FLASK_RUN_PORT", OWN_PORT.to_owned()),
        ],
        path: vec![bin],
    })
}

fn steps(folder: &Folder, because: &'static str, venv: &Path) -> Vec<Step> {
    let venv_text = venv.display().to_string();
    let pip = venv.join("bin/pip");
    let pip_text = pip.display().to_string();
    let mut make =
        folder.step(&["python3", "-m", "venv", &venv_text], Inputs::Files(Vec::new()), vec![pip.clone()]);
    make.name = "python3 -m venv".to_owned();
    let quiet = ["install", "--disable-pip-version-check", "--no-input", "--quiet"];
    let (what, inputs): (&[&str], _) = match because {
        "requirements.txt" => {
            (&["-r", "requirements.txt"], folder.files(&["requirements.txt", "constraints.txt"]))
        }
        "Pipfile" => (&["pipenv"], folder.files(&["Pipfile", "Pipfile.lock"])),
        _ => (&["."], folder.everything()),
    };
    let argv: Vec<&str> =
        std::iter::once(pip_text.as_str()).chain(quiet).chain(what.iter().copied()).collect();
    let mut install = folder.step(&argv, inputs, vec![pip]);
    install.name = format!("pip install {}", what.join(" "));
    vec![make, install]
}

/// `main.py`, `app.py` … by the virtual environment's Python; Django's `manage.py runserver`.
fn habit(folder: &Folder, bin: &Path) -> Option<Program> {
    let python = bin.join("python").display().to_string();
    let words = |words: &[&str]| {
        let args = std::iter::once(python.clone()).chain(words.iter().map(|word| (*word).to_owned()));
        Some(Program::Command(Command::Args(args.collect())))
    };
    if folder.has("manage.py") {
        return words(&["manage.py", "runserver", "--noreload", &format!("127.0.0.1:{OWN_PORT}")]);
    }
    let (file, text) = sources(folder)?;
    let module = file.trim_end_matches(".py").replace('/', ".");
    let starts_itself = ["__main__", ".run("].iter().any(|call| text.contains(call));
    if starts_itself {
        return words(&[&file]);
    }
    // An application object for a server: `app = FastAPI()`.
    let object = |class: &str| {
        let line =
            text.lines().find(|line| line.contains(&format!("{class}(")) && !line.starts_with([' ', '#']))?;
        let name = line.split(['=', ':']).next()?.trim();
        let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        plain.then(|| format!("{module}:{name}"))
    };
    if let Some(object) = ["FastAPI", "Starlette", "Litestar", "Quart"].into_iter().find_map(object) {
        return words(&["-m", "uvicorn", &object, "--host", "127.0.0.1", "--port", OWN_PORT]);
    }
    if let Some(object) = object("Flask") {
        return words(&["-m", "flask", "--app", &object, "run"]);
    }
    words(&[&file])
}

/// The file that a Python service begins with, and its text.
fn sources(folder: &Folder) -> Option<(String, String)> {
    let names = ["main.py", "app.py", "server.py", "run.py", "wsgi.py", "__main__.py"];
    let folders = ["", "app/", "src/"];
    let mut files = folders.iter().flat_map(|folder| names.iter().map(move |name| format!("{folder}{name}")));
    files.find_map(|file| folder.read(&file).map(|text| (file, text)))
}
