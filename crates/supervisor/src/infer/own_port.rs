//! A service's own port in inferred commands and environments: `--port 8080` becomes `--port ${PORT}`, so that the
//! instance listens where it was told to and not where it would in its image.

use indexmap::IndexMap;
use tutti_model::app::Command;

use super::{OWN_PORT, Program, show};

/// Flags whose next word is a port or an address to listen at.
const FLAGS: &[&str] = &[
    "--port",
    "-p",
    "--bind",
    "-b",
    "--listen",
    "--http-port",
    "--server.port",
    "-l",
    "--addr",
    "--address",
];

/// Environment keys whose value is a port or an address to listen at.
const KEYS: &[&str] = &[
    "PORT",
    "SERVER_PORT",
    "HTTP_PORT",
    "APP_PORT",
    "LISTEN_PORT",
    "LISTEN_ADDR",
    "LISTEN_ADDRESS",
    "BIND_ADDR",
    "ADDR",
    "SERVICE_PORT",
    "APPLICATION_PORT",
    "NODE_PORT",
    "ASPNETCORE_URLS",
    "ASPNETCORE_HTTP_PORTS",
    "UVICORN_PORT",
    "FLASK_RUN_PORT",
    "QUARKUS_HTTP_PORT",
    "MICRONAUT_SERVER_PORT",
    "NITRO_PORT",
    "GRPC_PORT",
];

/// Replaces the service's own ports in an inferred program's arguments.
pub(super) fn in_program(program: Program, ports: &[u16], notes: &mut Vec<String>) -> Program {
    match program {
        Program::Command(command) => {
            let told = in_command(&command, ports);
            if told != command {
                notes.push(format!("listens where it is told: `{}`", show(&told)));
            }
            Program::Command(told)
        }
        built => built,
    }
}

/// Replaces the service's own ports in a command's listen flags.
pub fn in_command(command: &Command, ports: &[u16]) -> Command {
    match command {
        Command::Args(args) => Command::Args(in_words(args, ports)),
        Command::Shell(line) => Command::Shell(in_line(line, ports)),
    }
}

fn in_words(args: &[String], ports: &[u16]) -> Vec<String> {
    // `sh -c LINE`: the last word is a line of its own.
    if let [shell, flag, line] = args
        && matches!(shell.rsplit('/').next(), Some("sh" | "bash" | "ash"))
        && flag.ends_with('c')
    {
        return vec![shell.clone(), flag.clone(), in_line(line, ports)];
    }
    let mut after_flag = false;
    args.iter()
        .map(|arg| {
            let told = match arg.split_once('=') {
                Some((flag, value)) if FLAGS.contains(&flag) => format!("{flag}={}", in_value(value, ports)),
                _ if after_flag => in_value(arg, ports),
                // Django: `manage.py runserver 0.0.0.0:8000`.
                _ if arg.starts_with("0.0.0.0:") => in_value(arg, ports),
                _ => arg.clone(),
            };
            after_flag = FLAGS.contains(&arg.as_str());
            told
        })
        .collect()
}

fn in_line(line: &str, ports: &[u16]) -> String {
    let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    in_words(&words, ports).join(" ")
}

/// Replaces the service's own ports in an environment's listen keys. Only values that are one of `ports` change.
pub fn in_env(env: &mut IndexMap<String, String>, ports: &[u16]) -> Vec<String> {
    let mut changed = Vec::new();
    for (key, value) in env.iter_mut().filter(|(key, _)| KEYS.contains(&key.as_str())) {
        let told = in_value(value, ports);
        if told != *value {
            *value = told;
            changed.push(key.clone());
        }
    }
    changed
}

/// `8080`, `:8080`, `0.0.0.0:8080`, `http://+:8080` with the port replaced, if it is one of `ports`.
fn in_value(value: &str, ports: &[u16]) -> String {
    let (before, port) = match value.rfind(':') {
        Some(at) => value.split_at(at + 1),
        None => ("", value),
    };
    match port.parse::<u16>() {
        Ok(number) if ports.contains(&number) => format!("{before}{OWN_PORT}"),
        _ => value.to_owned(),
    }
}

/// Fills in what is known at launch: [`OWN_PORT`] anywhere in a word becomes `port`; a word that is `${NAME}` and
/// nothing else becomes the words of that variable, none if it is not set.
pub fn expand(words: &[String], port: Option<u16>, env: &IndexMap<String, String>) -> Vec<String> {
    let port = port.map(|port| port.to_string());
    let mut out = Vec::with_capacity(words.len());
    for word in words {
        match word.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) {
            Some(name) if word != OWN_PORT && is_name(name) => {
                let value = env.get(name).map_or("", String::as_str);
                out.extend(value.split_whitespace().map(str::to_owned));
            }
            _ => out.push(fill(word, port.as_deref())),
        }
    }
    out
}

/// A value with [`OWN_PORT`] replaced; without a port it stays.
pub fn fill(text: &str, port: Option<&str>) -> String {
    port.map_or_else(|| text.to_owned(), |port| text.replace(OWN_PORT, port))
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(line: &str) -> String {
        let args = line.split(' ').map(str::to_owned).collect();
        show(&in_command(&Command::Args(args), &[8080, 9090]))
    }

    #[test]
    fn only_the_services_own_ports_after_a_listen_flag_change() {
        for (from, to) in [
            ("uvicorn app:app --host 0.0.0.0 --port 8080", "uvicorn app:app --host 0.0.0.0 --port ${PORT}"),
            ("uvicorn app:app --port=8080", "uvicorn app:app --port=${PORT}"),
            ("gunicorn -b 0.0.0.0:8080 app", "gunicorn -b 0.0.0.0:${PORT} app"),
            ("gunicorn --bind :9090 app", "gunicorn --bind :${PORT} app"),
            ("serve --port 5000", "serve --port 5000"),
            ("serve --size 8080", "serve --size 8080"),
            ("python manage.py runserver 0.0.0.0:8080", "python manage.py runserver 0.0.0.0:${PORT}"),
            ("client http://db:8080", "client http://db:8080"),
        ] {
            assert_eq!(told(from), to);
        }
        let shell = Command::Args(["sh", "-c", "exec uvicorn a:b --port 8080"].map(str::to_owned).to_vec());
        assert_eq!(show(&in_command(&shell, &[8080])), "sh -c 'exec uvicorn a:b --port ${PORT}'");
    }

    #[test]
    fn listen_keys_change_and_others_do_not() {
        let mut env = IndexMap::from(
            [
                ("PORT", "8080"),
                ("LISTEN_ADDR", ":8080"),
                ("ASPNETCORE_URLS", "http://+:8080"),
                ("DB_PORT", "8080"),
                ("HTTP_PORT", "81"),
            ]
            .map(|(key, value)| (key.to_owned(), value.to_owned())),
        );
        assert_eq!(in_env(&mut env, &[8080]), ["PORT", "LISTEN_ADDR", "ASPNETCORE_URLS"]);
        assert_eq!(env["ASPNETCORE_URLS"], "http://+:${PORT}");
        assert_eq!(env["DB_PORT"], "8080");
        assert_eq!(env["HTTP_PORT"], "81");
    }

    #[test]
    fn words_are_filled_in_at_launch() {
        let env = IndexMap::from([("JAVA_OPTS".to_owned(), "-Xmx1g  -ea".to_owned())]);
        let words =
            ["java", "${JAVA_OPTS}", "${NONE}", "-Dp=${PORT}", "${PORT}", "a${JAVA_OPTS}"].map(str::to_owned);
        assert_eq!(
            expand(&words, Some(4001), &env),
            ["java", "-Xmx1g", "-ea", "-Dp=4001", "4001", "a${JAVA_OPTS}"]
        );
    }
}
