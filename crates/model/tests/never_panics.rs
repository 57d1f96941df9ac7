//! No input makes the loader panic: random bytes, random YAML, and files of the corpora with pieces changed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use proptest::prelude::*;
use tutti_model::{LoadOptions, load};

/// Every compose file of both corpora.
static SEEDS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut files: Vec<PathBuf> = Vec::new();
    for folder in ["good", "bad"] {
        for entry in std::fs::read_dir(corpus.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            files.extend([path.join("compose.yaml"), path].into_iter().filter(|path| path.is_file()));
        }
    }
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    assert!(files.len() > 200);
    files.iter().map(|path| std::fs::read(path).unwrap()).collect()
});

/// Loads a text as compose file and another one as overlay. Whatever it says, it has to say it; and what it prints has
/// to be read without a panic too, and `exact`ly so for files that somebody wrote.
fn survive(compose: &[u8], overlay: &[u8], exact: bool) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("compose.yaml"), compose).unwrap();
    std::fs::write(dir.path().join("tutti.yaml"), overlay).unwrap();
    let env = [("A".to_owned(), "a $B".to_owned()), ("N".to_owned(), "7".to_owned())].into();
    let options = LoadOptions { folder: dir.path().to_owned(), env, ..LoadOptions::default() };
    match load(&options) {
        Ok(loaded) => {
            let _ = (loaded.notices.render(true), loaded.notices.to_json());
            // Two keys Compose prints otherwise than it reads them.
            let printed = loaded.model.to_string();
            if printed.contains("blkio_config") || printed.contains("\"models\"") {
                return;
            }
            let again = dir.path().join("again.json");
            std::fs::write(&again, printed).unwrap();
            let files = vec![again];
            let project_name = Some(loaded.application.name.to_string());
            let read = load(&LoadOptions { files, project_name, ..options });
            if !exact {
                return;
            }
            let read = read.unwrap_or_else(|problems| panic!("{}", problems.render(false)));
            assert_eq!(read.model, loaded.model);
        }
        Err(problems) => {
            assert!(!problems.is_empty());
            let _ = (problems.render(true), problems.to_json());
        }
    }
}

/// A file of the corpus with a few pieces cut out, doubled, or replaced.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"&a".to_vec()),
        Just(b"*a".to_vec()),
        Just(b"<<: ".to_vec()),
        Just(b"!reset ".to_vec()),
        Just(b"${A:-".to_vec()),
        Just(b"\n".to_vec()),
        Just(b"- ".to_vec()),
        Just(b": ".to_vec()),
        Just(b"[".to_vec()),
        Just(b"}".to_vec()),
        Just(b"null".to_vec()),
        Just(b"99999999999999999999".to_vec()),
        Just(b"-1".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..4),
    ];
    let edits = proptest::collection::vec((any::<prop::sample::Index>(), 0_usize..12, piece), 1..6);
    (any::<prop::sample::Index>(), edits).prop_map(|(seed, edits)| {
        let mut text = seed.get(&SEEDS).clone();
        for (at, length, piece) in edits {
            let at = at.index(text.len() + 1);
            let end = (at + length).min(text.len());
            text.splice(at..end, piece);
        }
        text
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn of_random_bytes(compose in proptest::collection::vec(any::<u8>(), 0..200)) {
        survive(&compose, b"", false);
    }

    #[test]
    fn of_random_characters(compose in "[a-c:\\-\\[\\]{}&*!|>'\"#%@,? \n$]{0,120}", overlay in "[a-c:\\-\\[\\]{} \n$]{0,60}") {
        survive(compose.as_bytes(), overlay.as_bytes(), false);
    }

    #[test]
    fn of_changed_files(compose in mutated()) {
        survive(&compose, b"routes: [{path: /, to: web}]\nservices: {web: {run: x, port: 80}}\n", false);
    }

    #[test]
    fn of_overlays(overlay in mutated()) {
        survive(b"services: {web: {image: x, ports: ['80:80']}}\n", &overlay, false);
    }
}

#[test]
fn every_file_of_the_corpus_is_printed_so_that_it_reads_back() {
    for seed in SEEDS.iter() {
        survive(seed, b"", true);
    }
}
