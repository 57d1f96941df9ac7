//! The rules together, and this repository against them.

use super::graph::{Dependency, Member};
use super::*;

#[test]
fn every_finding_is_shown_at_once_in_order_and_once() {
    let tree = Tree::of(&[
        ("crates/proxy/src/a.rs", "use hyper::Body; use hyper::Request;\n"),
        ("changelog.d/x.md", "a\nb\n"),
        ("README.md", "[a](gone.md)\n"),
    ]);
    let dependency = Dependency { name: "tutti-registry".to_owned(), dev: false, ours: true };
    let member = Member {
        name: "tutti-proxy".to_owned(),
        manifest: "crates/proxy/Cargo.toml".to_owned(),
        dependencies: vec![dependency],
    };
    let graph = Graph { members: vec![member], ..Graph::default() };
    let found: Vec<String> = check(&tree, &graph).iter().map(ToString::to_string).collect();
    let starts: Vec<&str> = found.iter().filter_map(|line| line.split(':').next()).collect();
    assert_eq!(
        starts,
        [
            "README.md",
            "changelog.d/x.md",
            "changelog.d/x.md",
            "crates/proxy/Cargo.toml",
            "crates/proxy/src/a.rs",
            "crates/proxy/src/a.rs"
        ],
        "{found:#?}"
    );
    assert!(found.iter().all(|line| line.contains(" → ")), "each says what to do: {found:#?}");
}

#[test]
fn the_repository_is_read_as_it_is() {
    let (tree, graph) = (Tree::of_repository().unwrap(), Graph::of_repository().unwrap());
    assert!(tree.text("xtask/src/tidy/tests.rs").is_some() && tree.has("crates/core/src"));
    assert!(!tree.has("target"), "what git ignores is not there");
    let core = graph.members.iter().find(|member| member.name == "tutti-core").unwrap();
    assert_eq!(core.manifest, "crates/core/Cargo.toml");
    assert!(core.dependencies.iter().any(|dependency| dependency.name == "proptest" && dependency.dev));
    assert!(graph.outside.iter().any(|package| package.name == "tokio" && package.licence == "MIT"));
}
