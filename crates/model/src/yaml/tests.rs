//! Trees from texts: scalars, places, merge keys, and what is refused.

use super::*;
use crate::budget::Budget;
use crate::diagnostic::Report;
use crate::source::{FileId, Sources};
use std::path::Path;
use std::sync::Arc;

fn read(text: &str) -> (Option<Vec<Node>>, String) {
    let mut report = Report::new(Sources::new(Path::new("/")));
    report.sources.add(Path::new("/a.yaml"), Arc::from(text));
    let nodes = parse(text, FileId(0), &mut Budget::new(), &mut report);
    (nodes, report.into_problems().render(false))
}

fn value(text: &str) -> Value {
    let (nodes, problems) = read(text);
    assert_eq!(problems, "");
    nodes.unwrap().remove(0).value
}

#[test]
fn scalars_are_those_of_compose() {
    for (text, expected) in [
        ("yes", Value::String("yes".into())),
        ("on", Value::String("on".into())),
        ("true", Value::Bool(true)),
        ("0777", Value::Int(511)),
        ("0o17", Value::Int(15)),
        ("0x1F", Value::Int(31)),
        ("0b11", Value::Int(3)),
        ("1_000", Value::Int(1000)),
        ("22:22", Value::String("22:22".into())),
        ("1.50", Value::Float(1.5)),
        ("08", Value::Float(8.0)),
        ("1.2.3", Value::String("1.2.3".into())),
        ("~", Value::Null),
        ("-", Value::List(vec![Node::new(Span::default(), Value::Null)])),
        ("\"5\"", Value::String("5".into())),
        ("!!str 5", Value::String("5".into())),
        ("+12e03", Value::Float(12000.0)),
        ("e5", Value::String("e5".into())),
        ("1e400", Value::String("1e400".into())),
    ] {
        let found = value(text);
        assert!(
            Node::new(Span::default(), found.clone()).same(&Node::new(Span::default(), expected)),
            "{text}: {found:?}"
        );
    }
}

#[test]
fn floats_are_written_as_go_writes_them() {
    for (number, text) in [
        (1.5, "1.5"),
        (1000.0, "1000"),
        (1_000_000.5, "1.0000005e+06"),
        (1e21, "1e+21"),
        (1e-5, "1e-05"),
        (0.0, "0"),
        (-2.25, "-2.25"),
    ] {
        assert_eq!(float_text(number), text);
    }
}

#[test]
fn every_node_knows_its_place() {
    let (nodes, _) = read("a:\r\n  bc: \"xy\"\r\n");
    let root = &nodes.unwrap()[0];
    let entry = &root.get("a").unwrap().as_map().unwrap()["bc"];
    assert_eq!((entry.key.line, entry.key.column, entry.key.length), (2, 3, 2));
    assert_eq!((entry.node.span.line, entry.node.span.column, entry.node.span.length), (2, 7, 4));
}

#[test]
fn merge_keys_do_not_overwrite() {
    let (nodes, _) =
        read("x: &x {a: 1, b: 2}\ny: &y {b: 3, c: 4}\nz:\n  b: 9\n  <<: [*x, *y]\nw: {<<: *x}\n");
    let root = &nodes.unwrap()[0];
    let z = root.get("z").unwrap();
    assert_eq!((z.int("a"), z.int("b"), z.int("c")), (Some(1), Some(9), Some(4)));
    assert_eq!(root.get("w").unwrap().int("b"), Some(2));
}

#[test]
fn duplicate_keys_name_both_places() {
    let (_, text) = read("a: 1\nb: 2\na: 3\n");
    assert!(text.contains("a.yaml:3:1: error[TUT0111]: the key `a` is there twice"), "{text}");
    assert!(text.contains("a.yaml:1:1: it is here first"), "{text}");
}

#[test]
fn billion_laughs_are_refused_at_once() {
    let mut text = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for n in 1..12 {
        let alias = format!("*a{}", n - 1);
        text.push_str(&format!("a{n}: &a{n} [{}]\n", [alias.as_str(); 10].join(",")));
    }
    let (nodes, problems) = read(&text);
    assert!(nodes.is_none() && problems.contains("TUT0114"), "{problems}");
}

#[test]
fn a_long_text_repeated_is_refused_too() {
    let text = format!("a: &a {}\nb: [{}]\n", "x".repeat(1 << 20), ["*a"; 100].join(","));
    let (nodes, problems) = read(&text);
    assert!(nodes.is_none() && problems.contains("TUT0114"), "{}", problems.get(..200).unwrap_or(&problems));
}

#[test]
fn an_alias_inside_its_own_anchor_is_a_cycle() {
    let (nodes, problems) = read("a: &a [*a]\n");
    assert!(nodes.is_none() && problems.contains("TUT0110"), "{problems}");
}

#[test]
fn nesting_is_bounded() {
    for text in ["[".repeat(10_000), "- ".repeat(10_000), "{a: ".repeat(10_000)] {
        let (nodes, problems) = read(&text);
        assert!(nodes.is_none() && problems.contains("nested deeper than 64"), "{problems}");
    }
}

#[test]
fn control_characters_are_named() {
    let (nodes, problems) = read("a: b\nc: \u{0}d\n");
    assert!(
        nodes.is_none() && problems.contains("a.yaml:2:4: error[TUT0101]: the character U+0000"),
        "{problems}"
    );
}

#[test]
fn keys_that_are_no_strings_are_refused() {
    for (text, kind) in
        [("1: a", "a number"), ("true: a", "a boolean"), ("~: a", "nothing"), ("[a]: b", "a list")]
    {
        let (_, problems) = read(text);
        assert!(problems.contains(kind), "{text}: {problems}");
    }
    assert_eq!(read("\"1\": a\nyes: b\n").1, "");
}

#[test]
fn composes_own_tags_are_kept() {
    let (nodes, problems) = read("a: !reset null\nb: !override [1]\nc: !reset\n");
    assert_eq!(problems, "");
    let root = &nodes.unwrap()[0];
    assert_eq!(root.get("a").unwrap().mark, Mark::Reset);
    assert_eq!(root.get("b").unwrap().mark, Mark::Override);
    assert_eq!(root.get("c").unwrap().mark, Mark::Reset);
}
