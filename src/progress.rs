//! A line on standard error that says how far a long piece of work is, while it lasts, if that is a terminal. What it says is its
//! owner's.

use std::{
    io::{IsTerminal, Write},
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

/// How often the line is written anew; what takes less shows none.
const INTERVAL: Duration = Duration::from_millis(200);

/// Does `work`, and shows meanwhile what `line` makes of the time that has passed.
pub fn metered<T>(line: impl Fn(Duration) -> String + Sync, work: impl FnOnce() -> T) -> T {
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
                // The line gives way to the answer.
                show("");
            }
        };
        // Without a thread the work is done all the same, and nothing is shown.
        drop(thread::Builder::new().name("meter".into()).spawn_scoped(scope, show_all));
        let result = work();
        drop(done);
        result
    })
}

fn show(line: &str) {
    // A terminal that is gone is no reason to stop.
    let _ = write!(std::io::stderr(), "\r\x1b[K{line}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn the_line_is_asked_for_while_the_work_lasts_and_its_result_comes_back() {
        let (asked, was_asked) = channel();
        let asked = Mutex::new(asked);
        let line = |elapsed: Duration| {
            // Nobody listens any more once the work is done.
            let _ = asked.lock().unwrap().send(elapsed);
            String::new()
        };
        assert!(shown(line, || was_asked.recv().unwrap()) >= INTERVAL);
    }
}
