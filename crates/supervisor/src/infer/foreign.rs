//! Folders of languages that this version has no habit for: they are named, with the command that usually runs them.

use std::path::Path;

use super::Cannot;

/// Endings of files, what a folder with one is, and how such a project is usually run.
const KINDS: &[(&[&str], &str, &str)] = &[
    (&[".csproj", ".fsproj", ".vbproj", ".sln", ".slnx"], "a .NET project", "dotnet run"),
    (&["composer.json"], "a PHP project", "php -S 127.0.0.1:$PORT -t public"),
    (&["Gemfile"], "a Ruby project", "bundle exec rackup -p $PORT"),
    (&["mix.exs"], "an Elixir project", "mix phx.server"),
    (&["deno.json", "deno.jsonc"], "a Deno project", "deno task start"),
    (&["build.sbt"], "a Scala project", "sbt run"),
    (&["Package.swift"], "a Swift project", "swift run"),
    (&["pubspec.yaml"], "a Dart project", "dart run"),
    (&["CMakeLists.txt"], "a C or C++ project", "./build/PROGRAM"),
    (&["index.php"], "a PHP project", "php -S 127.0.0.1:$PORT"),
    (&["index.html"], "a folder of static files", "python3 -m http.server --bind 127.0.0.1 $PORT"),
];

/// The refusal for a folder of such a language.
pub(super) fn cannot(service: &str, folder: &Path) -> Option<Cannot> {
    let (what, run, file) = kind(folder)?;
    let remedy =
        format!("say it in tutti.yaml, for example: services: {{ {service}: {{ run: \"{run}\" }} }}");
    Some(Cannot::Foreign { service: service.to_owned(), what, file, remedy })
}

/// Whether a folder is of such a language.
pub(super) fn is(folder: &Path) -> bool {
    kind(folder).is_some()
}

/// What it is, how it is usually run, and the file that gave it away.
fn kind(folder: &Path) -> Option<(&'static str, &'static str, String)> {
    let entries = std::fs::read_dir(folder).ok()?;
    let mut files: Vec<String> =
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    files.sort();
    KINDS.iter().find_map(|(endings, what, run)| {
        let fits = |file: &&String| {
            endings.iter().any(|ending| match ending.starts_with('.') {
                true => file.ends_with(ending),
                false => file == ending,
            })
        };
        Some((*what, *run, files.iter().find(fits)?.clone()))
    })
}
