//! Problems as they are shown: places, carets, bounds, escapes.

use super::*;
use std::path::Path;
use std::sync::Arc;

fn sample(text: &str, line: u32, column: u32, length: u32) -> Problems {
    let mut sources = Sources::new(Path::new("/p"));
    let file = sources.add(Path::new("/p/compose.yaml"), Arc::from(text));
    let mut problems = Problems::new(sources);
    problems.push(
        Problem::error(code::UNKNOWN_KEY, "`port` is not a key of a service")
            .at(Span { file, line, column, length })
            .hint("did you mean `ports`?"),
    );
    problems
}

#[test]
fn a_problem_shows_its_line_a_caret_and_a_hint() {
    let text = sample("services:\n  web:\n    port: 80\n", 3, 5, 4).render(false);
    assert_eq!(
        text,
        "compose.yaml:3:5: error[TUT0105]: `port` is not a key of a service\n  3 |     port: 80\n    |     ^^^^\n  = hint: did you mean `ports`?\n"
    );
}

#[test]
fn control_characters_never_reach_the_terminal() {
    let text = sample("a: \u{1b}[2J\u{202e}x\u{7}\n", 1, 1, 1).render(false);
    assert!(text.contains("\\u{1b}[2J\\u{202e}x\\u{7}"), "{text}");
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
}

#[test]
fn a_very_long_line_is_cut_around_the_place() {
    let line = format!("{}X{}", "a".repeat(5_000), "b".repeat(5_000));
    let text = sample(&line, 1, 5_001, 1).render(false);
    let (shown, caret) = (text.lines().nth(1).unwrap(), text.lines().nth(2).unwrap());
    assert!(shown.chars().count() < 140);
    assert_eq!(shown.chars().position(|c| c == 'X'), caret.chars().position(|c| c == '^'));
}

#[test]
fn a_place_that_does_not_exist_is_shown_without_an_excerpt() {
    let text = sample("a: b\n", 99, 7, 3).render(false);
    assert!(text.starts_with("compose.yaml:99:7: error"), "{text}");
    assert_eq!(text.lines().count(), 2);
}

#[test]
fn the_number_of_problems_is_bounded_and_the_rest_is_counted() {
    let mut problems = Problems::new(Sources::default());
    problems.push(Problem::error(code::BAD_VALUE, "0"));
    for n in 0..MODEL_PROBLEMS + 7 {
        problems.push(Problem::error(code::BAD_VALUE, n.to_string()));
    }
    assert_eq!((problems.iter().count(), problems.omitted()), (MODEL_PROBLEMS, 7));
    assert!(problems.render(false).ends_with("… and 7 more\n"));
}

#[test]
fn colour_is_only_there_when_asked_for() {
    let problems = sample("a: b\n", 1, 1, 1);
    assert!(problems.render(true).contains("\u{1b}[1;31m"));
    assert!(!problems.render(false).contains('\u{1b}'));
}

#[test]
fn json_has_the_place_and_the_code() {
    let json = sample("a: b\n", 1, 1, 1).to_json();
    assert_eq!(json["problems"][0]["code"], "TUT0105");
    assert_eq!(json["problems"][0]["at"]["line"], 1);
    assert_eq!(json["problems"][0]["at"]["file"], "/p/compose.yaml");
}
