//! Lines that a process writes while it runs.
#![expect(clippy::unwrap_used, reason = "what fails to unwrap here fails the test that calls it")]

use crate::server::DEADLINE;
use std::{
    io::{BufRead, BufReader, Read},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::Instant,
};

/// Text of a stream, read by a thread of its own so that the process never waits for its reader.
#[derive(Debug, Clone, Default)]
pub(crate) struct Transcript {
    shared: Arc<(Mutex<Lines>, Condvar)>,
}

#[derive(Debug, Default)]
struct Lines {
    lines: Vec<String>,
    ended: bool,
}

impl Transcript {
    pub(crate) fn of(stream: impl Read + Send + 'static) -> Self {
        let transcript = Self::default();
        let shared = transcript.shared.clone();
        thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                shared.0.lock().unwrap().lines.push(line);
                shared.1.notify_all();
            }
            shared.0.lock().unwrap().ended = true;
            shared.1.notify_all();
        });
        transcript
    }

    /// Waits for a line in which `find` finds something. `None`: the stream has ended without one, or none has come
    /// before the deadline.
    pub(crate) fn find<T>(&self, find: impl Fn(&str) -> Option<T>) -> Option<T> {
        let end = Instant::now() + DEADLINE;
        let mut lines = self.shared.0.lock().unwrap();
        loop {
            if let Some(found) = lines.lines.iter().find_map(|line| find(line)) {
                return Some(found);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || lines.ended {
                return None;
            }
            lines = self.shared.1.wait_timeout(lines, left).unwrap().0;
        }
    }

    /// Every line so far.
    fn all(&self) -> Vec<String> {
        self.shared.0.lock().unwrap().lines.clone()
    }

    /// Every line, once the stream has ended.
    pub(crate) fn to_the_end(&self) -> Vec<String> {
        let lines = self.shared.1.wait_timeout_while(self.shared.0.lock().unwrap(), DEADLINE, |lines| !lines.ended);
        lines.unwrap().0.lines.clone()
    }

    pub(crate) fn text(&self) -> String {
        self.all().join("\n")
    }
}
