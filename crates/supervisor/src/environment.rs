//! The environment of an instance: what it inherits, what every service gets, and what the user set, which wins.
//!
//! From the operator's environment only an allow list is passed on, because a container would inherit nothing
//! and a process needs its toolchain and no secrets: see [`INHERITED`] and [`INHERITED_PREFIXES`].
//!
//! Every service gets `PORT`, `<PEER>_SERVICE_HOST` and `<PEER>_SERVICE_PORT` (as Kubernetes names them),
//! `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` (OpenTelemetry, "Environment Variable Specification").

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use tutti_model::app::{Application, MountSource, Service};

use crate::infer::{self, Launch};

/// Variables of the operator's that reach services: the person, the language, the terminal, and toolchains.
pub const INHERITED: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LANGUAGE",
    "TZ",
    "TMPDIR",
    "TERM",
    "COLORTERM",
    "NO_COLOR",
    "JAVA_HOME",
    "JDK_HOME",
    "MAVEN_HOME",
    "M2_HOME",
    "GRADLE_HOME",
    "GRADLE_USER_HOME",
    "GOPATH",
    "GOROOT",
    "GOCACHE",
    "GOMODCACHE",
    "GOPROXY",
    "GOTOOLCHAIN",
    "CARGO_HOME",
    "RUSTUP_HOME",
    "RUSTUP_TOOLCHAIN",
    "NODE_EXTRA_CA_CERTS",
    "COREPACK_HOME",
    "PNPM_HOME",
    "BUN_INSTALL",
    "DENO_DIR",
    "VOLTA_HOME",
    "DOTNET_ROOT",
    "DOTNET_CLI_HOME",
    "NUGET_PACKAGES",
    "GEM_HOME",
    "GEM_PATH",
    "RBENV_ROOT",
    "COMPOSER_HOME",
    "MIX_HOME",
    "HEX_HOME",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "PIP_CERT",
    "LD_LIBRARY_PATH",
    "SSH_AUTH_SOCK",
    "SYSTEMROOT",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
];

/// Beginnings of such variables.
pub const INHERITED_PREFIXES: &[&str] = &[
    "LC_",
    "XDG_",
    "SSL_CERT_",
    "NVM_",
    "FNM_",
    "PYENV_",
    "ASDF_",
    "MISE_",
    "SDKMAN_",
    "npm_config_cache",
    "npm_config_prefix",
    "PIP_CACHE",
    "UV_CACHE",
    "UV_PYTHON",
    "NIX_SSL",
    "DYLD_",
];

/// What an environment is made from.
pub(crate) struct Parts<'a> {
    pub(crate) operator: &'a BTreeMap<String, String>,
    pub(crate) launch: &'a Launch,
    /// The service's own environment, rewritten.
    pub(crate) service_env: &'a IndexMap<String, String>,
    pub(crate) standard: IndexMap<String, String>,
}

/// The whole environment: what comes later wins.
pub(crate) fn compose(parts: &Parts<'_>) -> IndexMap<String, String> {
    let mut env: IndexMap<String, String> = inherited(parts.operator);
    let port = parts.standard.get("PORT").map(String::as_str);
    env.extend(parts.launch.env.iter().map(|(key, value)| (key.clone(), infer::fill(value, port))));
    env.extend(parts.standard.iter().map(|(key, value)| (key.clone(), value.clone())));
    env.extend(parts.service_env.iter().map(|(key, value)| (key.clone(), value.clone())));
    if !parts.launch.path.is_empty() {
        let mut path: Vec<String> =
            parts.launch.path.iter().map(|p| p.to_string_lossy().into_owned()).collect();
        path.extend(env.get("PATH").cloned());
        env.insert("PATH".to_owned(), path.join(":"));
    }
    env
}

/// What of the operator's environment reaches a service.
pub(crate) fn inherited(operator: &BTreeMap<String, String>) -> IndexMap<String, String> {
    let allowed = |key: &str| {
        INHERITED.contains(&key) || INHERITED_PREFIXES.iter().any(|prefix| key.starts_with(prefix))
    };
    let mut env: IndexMap<_, _> = operator
        .iter()
        .filter(|(key, _)| allowed(key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    past_proxies(&mut env);
    env.entry("PATH".to_owned())
        .or_insert_with(|| "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned());
    env
}

/// Peers are reached at loopback addresses, which an operator's HTTP proxy must not be asked for.
fn past_proxies(env: &mut IndexMap<String, String>) {
    const PROXIES: &[&str] =
        &["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"];
    if !PROXIES.iter().any(|key| env.contains_key(*key)) {
        return;
    }
    let said = env.get("no_proxy").or_else(|| env.get("NO_PROXY")).cloned().unwrap_or_default();
    let mut hosts: Vec<&str> = said.split(',').map(str::trim).filter(|host| !host.is_empty()).collect();
    for host in ["127.0.0.1", "localhost", "::1"] {
        if !hosts.contains(&host) && !hosts.contains(&"*") {
            hosts.push(host);
        }
    }
    let hosts = hosts.join(",");
    env.insert("NO_PROXY".to_owned(), hosts.clone());
    env.insert("no_proxy".to_owned(), hosts);
}

/// What the standard environment says of an instance.
pub(crate) struct Standard<'a> {
    pub(crate) project: &'a str,
    pub(crate) service: &'a Service,
    pub(crate) instance: &'a str,
    pub(crate) port: Option<u16>,
    /// Peers by service name: the door to each one's main port.
    pub(crate) peers: &'a BTreeMap<String, (String, String)>,
    pub(crate) otlp_endpoint: Option<&'a str>,
    pub(crate) deployment: &'a str,
}

/// The variables that every service gets.
pub(crate) fn standard(about: &Standard<'_>) -> IndexMap<String, String> {
    let mut env = IndexMap::new();
    if let Some(port) = about.port {
        env.insert("PORT".to_owned(), port.to_string());
    }
    for (peer, (host, port)) in about.peers {
        let name = peer.to_ascii_uppercase().replace(['-', '.'], "_");
        env.insert(format!("{name}_SERVICE_HOST"), host.clone());
        env.insert(format!("{name}_SERVICE_PORT"), port.clone());
    }
    env.insert("OTEL_SERVICE_NAME".to_owned(), about.service.name.to_string());
    let mut attributes = vec![
        ("service.namespace", about.project.to_owned()),
        ("service.instance.id", about.instance.to_owned()),
        ("deployment.environment.name", about.deployment.to_owned()),
    ];
    if let Some(version) = &about.service.version {
        attributes.push(("service.version", version.clone()));
    }
    let attributes: Vec<String> =
        attributes.into_iter().map(|(key, value)| format!("{key}={}", baggage(&value))).collect();
    env.insert("OTEL_RESOURCE_ATTRIBUTES".to_owned(), attributes.join(","));
    if let Some(endpoint) = about.otlp_endpoint {
        env.insert("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), endpoint.to_owned());
    }
    env
}

/// Values stand in W3C Baggage's form: `,`, `=`, `%` and what is not printable are percent-encoded.
fn baggage(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:/+@".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Where the targets of a service's volumes and mounts are on this machine.
pub(crate) fn mounts(service: &Service, data_dir: &Path) -> Vec<(String, PathBuf)> {
    let volumes = data_dir.join("volumes");
    let place = |at: usize, source: &MountSource, target: &Path| match source {
        MountSource::Bind(path) => path.clone(),
        MountSource::Volume(name) => volumes.join(name),
        MountSource::Anonymous => volumes.join(format!("{}.{at}", service.name)),
        // This machine's own `/tmp` does what is asked of a `tmpfs` there.
        MountSource::Tmpfs if target.is_dir() => target.to_owned(),
        MountSource::Tmpfs => data_dir.join("tmp").join(format!("{}.{at}", service.name)),
    };
    service
        .mounts
        .iter()
        .enumerate()
        .map(|(at, mount)| (mount.target.clone(), place(at, &mount.source, Path::new(&mount.target))))
        .collect()
}

/// Folders of this machine that a service is built and run in.
pub(crate) fn ours(application: &Application, service: &Service, data_dir: &Path) -> Vec<PathBuf> {
    let build = service.build.as_ref().map(|build| build.context.clone());
    [Some(application.folder.clone()), build, service.dir.clone(), Some(data_dir.to_owned())]
        .into_iter()
        .flatten()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_the_operator_stay_with_the_operator() {
        let operator = ["PATH", "AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "LC_ALL", "npm_config_cache"];
        let operator = operator.into_iter().map(|key| (key.to_owned(), "x".to_owned())).collect();
        let env = inherited(&operator);
        let keys: Vec<&str> = env.keys().map(String::as_str).collect();
        assert_eq!(keys, ["LC_ALL", "PATH", "npm_config_cache"]);
    }

    #[test]
    fn peers_are_not_asked_for_at_the_operators_proxy() {
        let operator = |pairs: &[(&str, &str)]| {
            inherited(&pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
        };
        let env = operator(&[("HTTPS_PROXY", "http://proxy:3128"), ("NO_PROXY", "corp.example, localhost")]);
        assert_eq!(env["NO_PROXY"], "corp.example,localhost,127.0.0.1,::1");
        assert_eq!(env["NO_PROXY"], env["no_proxy"]);
        assert!(!operator(&[("HOME", "/x")]).contains_key("NO_PROXY"));
    }

    #[test]
    fn a_path_is_there_even_if_the_operator_has_none() {
        assert!(inherited(&BTreeMap::new())["PATH"].contains("/usr/bin"));
    }

    #[test]
    fn attributes_cannot_break_their_list() {
        assert_eq!(baggage("a,b=c d%é"), "a%2Cb%3Dc%20d%25%C3%A9");
    }
}
