//! Reads lines back from the files.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use tutti_core::ServiceName;

use super::{LogLine, LogQuery, file, logged_services};

/// Most lines in one answer; the newest of each instance are kept.
const ANSWER_LINES: usize = 100_000;

/// Reads what the query asks for, oldest first.
pub(super) fn read(folder: &Path, query: &LogQuery) -> Vec<LogLine> {
    let mut all = Vec::new();
    for service in logged_services(folder) {
        if query.wants_service(service.as_str()) {
            all.extend(read_service(&folder.join(service.as_str()), &service, query));
        }
    }
    all.sort_by(|a, b| (a.at_us, &a.service, a.seq).cmp(&(b.at_us, &b.service, b.seq)));
    all
}

fn read_service(folder: &Path, service: &ServiceName, query: &LogQuery) -> Vec<LogLine> {
    let most = query.tail.unwrap_or(ANSWER_LINES).min(ANSWER_LINES);
    let mut kept: HashMap<u32, VecDeque<LogLine>> = HashMap::new();
    for (_, path) in file::files(folder) {
        let Ok(file) = File::open(&path) else { continue };
        let mut reader = BufReader::new(file);
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            match reader.read_until(b'\n', &mut bytes) {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
            // Without its end a line is still being written, or was torn by a crash.
            let Some(bytes) = bytes.strip_suffix(b"\n") else { break };
            let line = file::decode(service, &String::from_utf8_lossy(bytes));
            let Some(line) = line.filter(|line| query.wants(line)) else { continue };
            let of_instance = kept.entry(line.ordinal).or_default();
            of_instance.push_back(line);
            if of_instance.len() > most {
                of_instance.pop_front();
            }
        }
    }
    kept.into_values().flatten().collect()
}
