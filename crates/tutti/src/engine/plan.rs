//! What would change if the files were taken into force: told before it happens, and by the reload that makes it happen.
//!
//! Routes and listeners are compared as what the data plane is told, field by field; services as what they are started with. Nothing that
//! may be a secret is shown: of an environment only the names, of keys and credentials only that they differ.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use tutti_model::app::{Application, Service};
use tutti_ports::routing::{Listener, Routing, Serve};
use tutti_supervisor::Reloaded;

use super::certificates;
use crate::control::wire::{Change, FieldChange, Plan, ServiceChange};

/// What is shown instead of a secret.
const MASK: &str = "***";

/// The difference between what is in force and what the files say.
pub(super) fn plan(old: &Application, new: &Application, services: &Reloaded) -> Plan {
    let old_routing = &old.routing;
    let keyed = |routing: &Routing| {
        let listeners = routing.listeners.iter();
        listeners.map(|listener| (listener.name.clone(), json(&bare(listener)))).collect()
    };
    let upstreams = |routing: &Routing| {
        routing.upstreams.iter().map(|(name, upstream)| (name.to_string(), json(upstream))).collect()
    };
    let policy = |routing: &Routing| {
        BTreeMap::from([("certificates".to_owned(), json(&certificates::policy(routing)))])
    };
    Plan {
        services: service_changes(old, new, services),
        listeners: changes(keyed(old_routing), keyed(&new.routing)),
        routes: routes(old_routing, &new.routing),
        policies: changes(upstreams(old_routing), upstreams(&new.routing)),
        certificates: changes(policy(old_routing), policy(&new.routing)),
    }
}

fn json(value: &impl Serialize) -> Value {
    // The types of routing hold nothing that JSON cannot say.
    serde_json::to_value(value).unwrap_or_default()
}

/// A listener without its routes.
fn bare(listener: &Listener) -> Listener {
    let serve = match &listener.serve {
        Serve::Http(_) => Serve::Http(Vec::new()),
        tcp => tcp.clone(),
    };
    Listener { serve, ..listener.clone() }
}

fn routes(old: &Routing, new: &Routing) -> Vec<Change> {
    let keyed = |routing: &Routing| {
        let mut all = BTreeMap::new();
        for listener in &routing.listeners {
            let Serve::Http(routes) = &listener.serve else { continue };
            for route in routes {
                let name = format!("{} {}", listener.name, route.name);
                // Names should be unique; if they are not, both are shown.
                let nth = (2..).map(|nth: u32| format!("{name} ({nth})"));
                let key = [name.clone()].into_iter().chain(nth).find(|key| !all.contains_key(key));
                all.extend(key.map(|key| (key, json(route))));
            }
        }
        all
    };
    let mut changes = changes(keyed(old), keyed(new));
    if changes.is_empty() && order(old) != order(new) {
        let fields = Vec::new();
        changes.push(Change { name: "order of routes".to_owned(), action: "changed".to_owned(), fields });
    }
    changes
}

/// The names of all routes: of those that match equally well, the first one wins.
fn order(routing: &Routing) -> Vec<(&str, &str)> {
    let listeners = routing.listeners.iter().filter_map(|listener| match &listener.serve {
        Serve::Http(routes) => Some((listener, routes)),
        Serve::Tcp(_) | Serve::Stream(_) => None,
    });
    listeners
        .flat_map(|(listener, routes)| {
            routes.iter().map(|route| (listener.name.as_str(), route.name.as_str()))
        })
        .collect()
}

fn changes(old: BTreeMap<String, Value>, new: BTreeMap<String, Value>) -> Vec<Change> {
    let change = |name: &str, action: &str, fields| Change {
        name: name.to_owned(),
        action: action.to_owned(),
        fields,
    };
    let gone = old.keys().filter(|name| !new.contains_key(*name));
    let mut changes: Vec<Change> = gone.map(|name| change(name, "removed", Vec::new())).collect();
    for (name, after) in &new {
        match old.get(name) {
            None => changes.push(change(name, "added", Vec::new())),
            Some(before) if before != after => {
                let mut fields = Vec::new();
                compare("", before, after, &mut fields);
                changes.push(change(name, "changed", fields));
            }
            Some(_) => {}
        }
    }
    changes
}

/// Finds the leaves that differ.
fn compare(path: &str, old: &Value, new: &Value, fields: &mut Vec<FieldChange>) {
    if old == new {
        return;
    }
    match (old, new) {
        (Value::Object(a), Value::Object(b)) if !is_duration(old) && !is_duration(new) => {
            let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for key in keys {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                let of = |map: &serde_json::Map<String, Value>| map.get(key).cloned().unwrap_or_default();
                compare(&path, &of(a), &of(b), fields);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() && !is_pair(old) && !is_pair(new) => {
            for (at, (a, b)) in a.iter().zip(b).enumerate() {
                compare(&format!("{path}[{at}]"), a, b, fields);
            }
        }
        _ => {
            let shown = |value: &Value| if is_secret(path) { MASK.to_owned() } else { show(value) };
            fields.push(FieldChange { field: path.to_owned(), from: shown(old), to: shown(new) });
        }
    }
}

/// A duration as serde writes it.
fn is_duration(value: &Value) -> bool {
    duration(value).is_some()
}

fn duration(value: &Value) -> Option<std::time::Duration> {
    let map = value.as_object().filter(|map| map.len() == 2)?;
    let nanos = u32::try_from(map.get("nanos")?.as_u64()?).ok()?;
    Some(std::time::Duration::new(map.get("secs")?.as_u64()?, nanos))
}

/// A header field with its value.
fn is_pair(value: &Value) -> bool {
    matches!(value.as_array().map(Vec::as_slice), Some([Value::String(_), Value::String(_)]))
}

/// Whether what has this name must not be shown. Rather once too often.
fn is_secret(path: &str) -> bool {
    const WORDS: [&str; 9] =
        ["secret", "password", "passwd", "token", "authorization", "cookie", "credential", "key", "keys"];
    let lower = path.to_ascii_lowercase();
    let words = lower.split(|c: char| !c.is_ascii_alphanumeric());
    words.into_iter().any(|word| WORDS.contains(&word))
}

/// A value without its secrets.
fn masked(value: &Value) -> Value {
    match value {
        Value::Array(list) => match list.as_slice() {
            [Value::String(name), Value::String(_)] if is_secret(name) => {
                Value::Array(vec![Value::String(name.clone()), Value::String(MASK.to_owned())])
            }
            list => Value::Array(list.iter().map(masked).collect()),
        },
        Value::Object(map) => {
            let entry = |(key, value): (&String, &Value)| {
                let hidden = is_secret(key) && !value.is_null();
                (key.clone(), if hidden { Value::String(MASK.to_owned()) } else { masked(value) })
            };
            Value::Object(map.iter().map(entry).collect())
        }
        other => other.clone(),
    }
}

fn show(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::String(text) => text.clone(),
        other => match duration(other) {
            Some(duration) => format!("{duration:?}"),
            None => masked(other).to_string(),
        },
    }
}

fn service_changes(old: &Application, new: &Application, reloaded: &Reloaded) -> Vec<ServiceChange> {
    let change = |name: &String, action: &str, why| ServiceChange {
        service: name.clone(),
        action: action.to_owned(),
        why,
    };
    let removed = reloaded.removed.iter().map(|name| change(name, "stop", Vec::new()));
    let added = reloaded.added.iter().map(|name| change(name, "start", Vec::new()));
    let changed = reloaded.changed.iter().map(|name| {
        let pair = old.services.get(name.as_str()).zip(new.services.get(name.as_str()));
        let mut why = pair.map(|(old, new)| why(old, new)).unwrap_or_default();
        if why.is_empty() {
            why.push("an address of a peer".to_owned());
        }
        let elsewhere = pair.is_some_and(|(old, new)| old.external != new.external);
        let action = if elsewhere { "needs `tutti down && tutti up`" } else { "restart" };
        change(name, action, why)
    });
    removed.chain(changed).chain(added).collect()
}

/// What of a service is defined otherwise; of its environment the names.
fn why(old: &Service, new: &Service) -> Vec<String> {
    let mut why = Vec::new();
    macro_rules! compared {
        ($($field:ident),* $(,)?) => {
            // Whoever adds a field to a service is told here.
            let Service { name: _, environment: _, peers: _, $($field: _),* } = old;
            $(if old.$field != new.$field { why.push(stringify!($field).to_owned()); })*
        };
    }
    compared!(
        image,
        build,
        run,
        setup,
        dir,
        fixed_port,
        entrypoint,
        command,
        working_dir,
        listens,
        published,
        depends_on,
        health,
        restart,
        replicas,
        stop_signal,
        stop_grace_period,
        mounts,
        labels,
        memory_limit,
        cpu_limit,
        version,
        zone,
        tags,
        weight,
        skip,
        external,
    );
    let names: std::collections::BTreeSet<&String> =
        old.environment.keys().chain(new.environment.keys()).collect();
    let differs = |name: &&String| old.environment.get(*name) != new.environment.get(*name);
    why.extend(names.into_iter().filter(differs).map(|name| format!("environment {name}")));
    why
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn compared(old: Value, new: Value) -> Vec<(String, String, String)> {
        let mut fields = Vec::new();
        compare("", &old, &new, &mut fields);
        fields.into_iter().map(|one| (one.field, one.from, one.to)).collect()
    }

    #[test]
    fn leaves_are_compared_and_durations_are_read() {
        let old = json!({ "a": 1, "timeouts": { "request": { "secs": 5, "nanos": 0 } }, "hosts": ["x"] });
        let new = json!({ "a": 1, "timeouts": { "request": null }, "hosts": ["y"] });
        let told = |field: &str, from: &str, to: &str| (field.to_owned(), from.to_owned(), to.to_owned());
        assert_eq!(
            compared(old, new),
            [told("hosts[0]", "x", "y"), told("timeouts.request", "5s", "nothing")]
        );
    }

    #[test]
    fn no_secret_is_shown() {
        let old = json!({
            "guard": { "auth": { "api_key": { "keys": { "ci": "sha256:aa" } } } },
            "filters": [{ "set": [["authorization", "Bearer a"]] }],
            "acme": { "external_account": { "id": "x", "key": "hush" } },
            "whole": null,
        });
        let new = json!({
            "guard": { "auth": { "api_key": { "keys": { "ci": "sha256:bb" } } } },
            "filters": [{ "set": [["authorization", "Bearer b"]] }],
            "acme": { "external_account": { "id": "x", "key": "quiet" } },
            "whole": { "set": [["x-api-key", "hush"]], "token": "hush", "plain": 1 },
        });
        let told = compared(old, new);
        assert_eq!(told.len(), 4);
        let text = format!("{told:?}");
        for secret in ["hush", "quiet", "Bearer", "sha256"] {
            assert!(!text.contains(secret), "{text}");
        }
        assert!(text.contains("plain"), "{text}");
    }
}
