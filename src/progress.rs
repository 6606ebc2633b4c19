//! A progress line on standard error for long-running work, if standard error is a terminal. The caller provides its
//! text.
//!
//! indicatif would bring six crates, console and unicode-width among them, for these 50 lines.

use std::{
    io::{IsTerminal, Write},
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

/// Interval at which the line is updated; shorter work shows none.
const INTERVAL: Duration = Duration::from_millis(200);

/// Runs `work`, and meanwhile shows the line that `line` returns for the elapsed time.
pub fn with_progress<T>(line: impl Fn(Duration) -> String + Sync, work: impl FnOnce() -> T) -> T {
    if std::io::stderr().is_terminal() { shown(line, work) } else { work() }
}

fn shown<T>(line: impl Fn(Duration) -> String + Sync, work: impl FnOnce() -> T) -> T {
    let (done, is_done) = channel::<()>();
    thread::scope(|scope| {
        let show_all = || {
            let is_done = is_done;
            let began = Instant::now();
            let mut has_shown = false;
            while is_done.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                show(&line(began.elapsed()));
                has_shown = true;
            }
            if has_shown {
                // Erases the line before the result is printed.
                show("");
            }
        };
        // If the thread cannot be started, the work runs without a progress line.
        drop(thread::Builder::new().name("meter".into()).spawn_scoped(scope, show_all));
        let result = work();
        drop(done);
        result
    })
}

fn show(line: &str) {
    // A closed terminal does not stop the work.
    let _ = write!(std::io::stderr(), "\r\x1b[K{line}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn the_progress_line_is_updated_while_the_work_runs() {
        let (sender, requests) = channel();
        let sender = Mutex::new(sender);
        let line = |elapsed: Duration| {
            // Nobody listens any more once the work is done.
            let _ = sender.lock().unwrap().send(elapsed);
            String::new()
        };
        assert!(shown(line, || requests.recv().unwrap()) >= INTERVAL);
    }
}
