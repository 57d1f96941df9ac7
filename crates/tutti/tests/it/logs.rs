//! `tutti logs`.

use std::io::{BufRead as _, BufReader};
use std::sync::mpsc;

use rustix::process::Signal;
use serde_json::Value;

use crate::app::{App, PATIENCE, finish, signal};

fn lines(app: &App, args: &[&str]) -> Vec<Value> {
    let said = app.tutti(&[&["logs", "--json"], args].concat()).ok();
    said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn texts(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["text"].as_str().unwrap()).collect()
}

/// Waits until a text is in the log.
fn printed(app: &App, text: &str) {
    let mut child = app.command(&["logs", "-f", "--json"]).spawn().unwrap();
    let (send, found) = mpsc::channel();
    let (out, wanted) = (child.stdout.take().unwrap(), text.to_owned());
    let reader = std::thread::spawn(move || {
        let found = BufReader::new(out).lines().map_while(Result::ok).any(|line| line.contains(&wanted));
        send.send(found)
    });
    let found = found.recv_timeout(PATIENCE);
    signal(i32::try_from(child.id()).unwrap(), Signal::INT);
    let said = finish(child);
    drop(reader.join());
    assert_eq!(found, Ok(true), "{text:?} was not printed; {said:?}");
    assert_eq!(said.code, 0, "{said:?}");
}

#[test]
fn lines_come_in_the_order_in_which_they_were_printed() {
    let app = App::of(&["web", "api"]);
    app.up();
    for n in 0..20 {
        app.get(["web", "api"][n % 2], &format!("/print?line-{n}"));
    }
    printed(&app, "line-19");
    let all = lines(&app, &[]);
    let of_test: Vec<&str> = texts(&all).into_iter().filter(|text| text.starts_with("line-")).collect();
    let expected: Vec<String> = (0..20).map(|n| format!("line-{n}")).collect();
    assert_eq!(of_test, expected);
    assert!(all.windows(2).all(|pair| pair[0]["at_us"].as_u64() <= pair[1]["at_us"].as_u64()));

    // Only of one service, and only the last.
    assert_eq!(texts(&lines(&app, &["--tail", "2", "web"])), ["line-16", "line-18"]);
    assert!(lines(&app, &["api"]).iter().all(|line| line["service"] == "api"));
}

#[test]
fn since_leaves_out_what_is_older() {
    let app = App::of(&["web"]);
    app.up();
    app.get("web", "/print?before");
    printed(&app, "before");
    let before = lines(&app, &["--tail", "1"])[0]["at_us"].as_u64().unwrap();
    // The granularity of --since is a second when it is a number; a time says more.
    let stamp = jiff::Timestamp::from_microsecond(i64::try_from(before).unwrap() + 1).unwrap();
    app.get("web", "/print?after");
    printed(&app, "after");
    assert_eq!(texts(&lines(&app, &["--since", &stamp.to_string()])), ["after"]);
    assert!(texts(&lines(&app, &["--since", "10m"])).contains(&"before"));
}

#[test]
fn following_shows_what_comes_until_interrupted() {
    let app = App::of(&["web"]);
    app.up();
    let mut child = app.command(&["logs", "-f", "--tail", "0", "web"]).spawn().unwrap();
    let out = child.stdout.take().unwrap();
    let (send, came) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        BufReader::new(out).lines().map_while(Result::ok).try_for_each(|line| send.send(line))
    });
    // It is not known when it begins to follow: something is printed until it is seen.
    let first = (0..300).find_map(|n| {
        app.get("web", &format!("/print?tick-{n}"));
        came.recv_timeout(std::time::Duration::from_millis(100)).ok()
    });
    assert!(first.as_ref().is_some_and(|line| line.contains("tick-")), "{first:?}");
    app.get("web", "/print?the%20last");
    let last = came.iter().find(|line| line.contains("the last")).unwrap();
    assert!(last.starts_with("web-1") && last.contains('│'), "{last}");
    signal(i32::try_from(child.id()).unwrap(), Signal::INT);
    assert_eq!(finish(child).code, 0);
    drop(reader.join());
}

#[test]
fn json_lines_are_recognised() {
    let app = App::of(&["web"]);
    app.up();
    app.get("web", "/print?%7B%22level%22%3A%22warn%22%2C%22msg%22%3A%22low%20stock%22%2C%22sku%22%3A7%7D");
    printed(&app, "low stock");
    let said = app.tutti(&["logs", "--no-log-prefix", "--tail", "1", "web"]).ok();
    assert_eq!(said.out, "warn  low stock sku=7\n");
    let raw = app.tutti(&["logs", "--no-log-prefix", "--tail", "1", "--raw", "web"]).ok();
    assert_eq!(raw.out, "{\"level\":\"warn\",\"msg\":\"low stock\",\"sku\":7}\n");
}

#[test]
fn logs_of_an_unknown_service_are_an_error_that_names_the_known() {
    let app = App::of(&["web"]);
    app.up();
    let said = app.tutti(&["logs", "wbe"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("wbe") && said.err.contains("the application has web"), "{said:?}");
}
