//! Lines are cut, kept, bounded, rotated and read back whole.

use super::*;
use std::time::Duration;

fn name(text: &str) -> ServiceName {
    ServiceName::new(text).unwrap()
}

fn line(service: &str, at_us: u64, text: &str) -> LogLine {
    LogLine {
        at_us,
        seq: 0,
        service: name(service),
        ordinal: 1,
        stream: Stream::Stdout,
        cut: false,
        partial: false,
        text: text.to_owned(),
    }
}

struct Open {
    logs: Arc<Logs>,
    writer: std::thread::JoinHandle<()>,
    notices: Arc<Mutex<Vec<String>>>,
    metrics: Arc<Metrics>,
}

fn open(folder: &std::path::Path, options: LogOptions) -> Open {
    let notices = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&notices);
    let notice = move |_: &ServiceName, text: String| told.lock().unwrap().push(text);
    let services = [name("a"), name("b")].into_iter();
    let metrics = Arc::new(Metrics::default());
    let (logs, writer) =
        Logs::open(folder.to_owned(), services, options, Arc::clone(&metrics), notice).unwrap();
    Open { logs: Arc::new(logs), writer: std::thread::spawn(move || writer.run()), notices, metrics }
}

impl Open {
    async fn close(self) {
        self.logs.close().await;
        self.writer.join().unwrap();
    }
}

fn texts(lines: &[LogLine]) -> Vec<&str> {
    lines.iter().map(|line| line.text.as_str()).collect()
}

#[tokio::test]
async fn lines_are_read_back_in_order_over_services_and_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let open_ = open(folder.path(), LogOptions::default());
    open_.logs.add(vec![line("a", 10, "one"), line("a", 30, "three")]).await;
    open_.logs.add(vec![line("b", 20, "two")]).await;
    assert_eq!(texts(&open_.logs.query(LogQuery::default()).await), ["one", "two", "three"]);
    open_.close().await;
    let open_ = open(folder.path(), LogOptions::default());
    open_.logs.add(vec![line("a", 40, "four")]).await;
    let all = open_.logs.query(LogQuery { services: vec!["a".to_owned()], ..LogQuery::default() }).await;
    let numbers: Vec<u64> = all.iter().map(|line| line.seq).collect();
    assert_eq!((texts(&all), numbers), (vec!["one", "three", "four"], vec![1, 2, 3]));
    let some = LogQuery { since_us: Some(20), until_us: Some(30), ..LogQuery::default() };
    assert_eq!(texts(&open_.logs.query(some).await), ["two", "three"]);
    let tail = LogQuery { tail: Some(1), ..LogQuery::default() };
    assert_eq!(texts(&open_.logs.query(tail).await), ["two", "four"]);
    let none = LogQuery { instance: Some("a-2".to_owned()), ..LogQuery::default() };
    assert!(open_.logs.query(none).await.is_empty());
    open_.close().await;
}

#[tokio::test]
async fn files_are_rotated_and_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let options = LogOptions { file_bytes: 1_000, files: 3, total_bytes: 1 << 30 };
    let open_ = open(folder.path(), options);
    for at in 0..100 {
        open_.logs.add(vec![line("a", at, &"x".repeat(100))]).await;
    }
    open_.logs.query(LogQuery::default()).await;
    let files = file::files(&folder.path().join("a"));
    assert_eq!(files.len(), 3);
    let sizes: Vec<u64> = files.iter().map(|(_, path)| path.metadata().unwrap().len()).collect();
    assert!(sizes.iter().all(|size| *size < 1_200), "{sizes:?}");
    let kept = open_.logs.query(LogQuery::default()).await;
    assert_eq!(kept.last().unwrap().at_us, 99);
    assert!(kept.windows(2).all(|pair| pair[1].seq == pair[0].seq + 1));
    open_.close().await;
    let all = LogOptions { file_bytes: 1_000, files: 100, total_bytes: 2_000 };
    let open_ = open(folder.path(), all);
    for at in 100..200 {
        open_.logs.add(vec![line("b", at, &"x".repeat(100))]).await;
    }
    open_.logs.query(LogQuery::default()).await;
    let total: u64 = ["a", "b"]
        .iter()
        .flat_map(|service| file::files(&folder.path().join(service)))
        .map(|(_, path)| path.metadata().unwrap().len())
        .sum();
    assert!(total <= 2_000 + 2 * 1_200, "{total}");
    open_.close().await;
}

#[tokio::test]
async fn a_torn_line_costs_itself_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("a")).unwrap();
    std::fs::write(folder.path().join("a/1.log"), "10 7 1 o whole\n20 8 1 o to").unwrap();
    let open_ = open(folder.path(), LogOptions::default());
    open_.logs.add(vec![line("a", 30, "next")]).await;
    let all = open_.logs.query(LogQuery::default()).await;
    // The torn text ends where the crash ended it; what comes after is whole.
    assert_eq!(texts(&all), ["whole", "to", "next"]);
    assert_eq!(all.last().unwrap().seq, 9);
    open_.close().await;
}

#[tokio::test]
async fn a_disk_that_takes_nothing_costs_lines_and_one_notice() {
    let folder = tempfile::tempdir().unwrap();
    let open_ = open(folder.path(), LogOptions::default());
    // A file where the service's folder should be fails as a full disk would: on every write.
    std::fs::write(folder.path().join("a"), "").unwrap();
    for at in 0..5 {
        open_.logs.add(vec![line("a", at, "lost")]).await;
    }
    assert!(open_.logs.query(LogQuery::default()).await.is_empty());
    assert_eq!(open_.metrics.log_lines_dropped.get(), 5);
    assert_eq!(open_.notices.lock().unwrap().len(), 1);
    std::fs::remove_file(folder.path().join("a")).unwrap();
    open_.logs.add(vec![line("a", 9, "kept")]).await;
    assert_eq!(texts(&open_.logs.query(LogQuery::default()).await), ["kept"]);
    open_.close().await;
}

#[tokio::test]
async fn a_follower_sees_every_line_once_and_a_slow_one_learns_what_it_lost() {
    let folder = tempfile::tempdir().unwrap();
    let open_ = open(folder.path(), LogOptions::default());
    open_.logs.add(vec![line("a", 1, "old")]).await;
    let mut follower = open_.logs.follow(LogQuery::default()).await;
    open_.logs.add(vec![line("a", 2, "new")]).await;
    for text in ["old", "new"] {
        let Some(Followed::Line(line)) = follower.next().await else { panic!("no line") };
        assert_eq!(line.text, text);
    }
    for at in 0..FOLLOW_LINES as u64 + 10 {
        open_.logs.add(vec![line("a", at, "flood")]).await;
    }
    assert_eq!(follower.next().await, Some(Followed::Lost(10)));
    open_.logs.close().await;
    for _ in 0..FOLLOW_LINES {
        assert!(matches!(follower.next().await, Some(Followed::Line(_))));
    }
    assert_eq!(follower.next().await, None);
    open_.writer.join().unwrap();
}

#[tokio::test]
async fn a_line_without_end_is_shown_and_then_continued() {
    let folder = tempfile::tempdir().unwrap();
    let open_ = open(folder.path(), LogOptions::default());
    let (read, write) = pipe().unwrap();
    let source = Source { service: name("a"), ordinal: 1, stream: Stream::Stderr };
    let last = Captured::default();
    let work = tokio::spawn(capture(Tap::new(read), source, Arc::clone(&open_.logs), last.clone()));
    let mut follower = open_.logs.follow(LogQuery::default()).await;
    rustix::io::write(&write, b"Password: ").unwrap();
    let first = tokio::time::timeout(Duration::from_secs(10), follower.next()).await.unwrap();
    let Some(Followed::Line(first)) = first else { panic!("{first:?}") };
    assert_eq!((first.text.as_str(), first.partial, first.stream), ("Password: ", true, Stream::Stderr));
    rustix::io::write(&write, b"ok\nlast words").unwrap();
    drop(write);
    work.await.unwrap();
    assert_eq!(texts(&open_.logs.query(LogQuery::default()).await), ["Password: ", "ok", "last words"]);
    assert_eq!(last.last_lines(), ["Password: ", "ok", "last words"]);
    open_.close().await;
}

proptest::proptest! {
    #[test]
    fn every_line_survives_its_file(
        at_us in 0..u64::MAX, seq in 0..u64::MAX, ordinal in 0..u32::MAX, text in "[^\n]{0,50}",
        cut: bool, partial: bool, stream in 0..4_u8,
    ) {
        let stream = [Stream::Stdout, Stream::Stderr, Stream::Setup, Stream::Tutti][usize::from(stream)];
        let line = LogLine { at_us, seq, service: name("a"), ordinal, stream, cut, partial, text };
        let mut bytes = Vec::new();
        file::encode(&line, &mut bytes);
        let text = String::from_utf8(bytes).unwrap();
        proptest::prop_assert_eq!(file::decode(&name("a"), text.strip_suffix('\n').unwrap()), Some(line));
    }
}
