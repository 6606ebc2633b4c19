//! Lines on standard error: of the log (`tracing`), of refusals, of panics. Each is put into a bounded queue, and one
//! thread writes them.
//!
//! Promises: whoever has something to say is neither held up nor stopped by it, whatever standard error is: a pipe that
//! nobody reads, a full disk, a terminal that is gone. What does not fit into the queue, and what cannot be written, is
//! dropped and counted; once lines get through again, one of them says how many are missing, at the place where they
//! are missing. A process ends with its own exit code after a bounded wait for what is queued. In no line is there a
//! character that a terminal acts on (`printable`).
//!
//! Not `tracing-appender`: its queue is bounded in lines but not in bytes, and a write that fails is neither counted
//! nor said. Not `eprintln!`: it waits for whoever reads, holding a lock that all threads share, and panics when the
//! write fails.

use crate::{config::LogFormat, limits};
use metric::{
    format_timestamp,
    printable::{self, Notation},
};
use std::{
    backtrace::{Backtrace, BacktraceStatus},
    collections::VecDeque,
    fmt,
    io::{self, ErrorKind, IsTerminal, Write},
    mem,
    panic::PanicHookInfo,
    sync::{
        Arc, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};
use wake::sync::real::{Condvar, Mutex, MutexGuard};

/// Counters of log lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LineCounts {
    /// Lines that were written.
    pub written: u64,
    /// Lines that were dropped: the queue was full, or the write failed.
    pub dropped: u64,
    /// Bytes of lines that wait to be written.
    pub queued_bytes: u64,
}

/// A line in the queue.
#[derive(Debug)]
struct Entry {
    /// Lines dropped between the one before and this one, as the queue was full.
    dropped_before: u64,
    line: Vec<u8>,
}

#[derive(Debug, Default)]
struct State {
    entries: VecDeque<Entry>,
    bytes: usize,
    /// Lines dropped since the last one that the queue took.
    dropped: u64,
    is_writing: bool,
}

#[derive(Debug)]
struct Queue {
    state: Mutex<State>,
    /// A line was queued.
    filled: Condvar,
    /// All lines are written or dropped.
    emptied: Condvar,
    written: AtomicU64,
    dropped: AtomicU64,
    /// The format of the notice about dropped lines.
    notation: OnceLock<Notation>,
}

impl Queue {
    fn new() -> Self {
        Self {
            state: Mutex::default(),
            filled: Condvar::new(),
            emptied: Condvar::new(),
            written: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            notation: OnceLock::new(),
        }
    }

    /// Nothing that runs under the lock can panic.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a line, its line feed included, or drops it. Never waits for whoever reads.
    fn push(&self, line: Vec<u8>) {
        let mut state = self.state();
        let has_space = state.entries.len() < limits::STDERR_LINES_MAX
            && line.len() <= limits::STDERR_BYTES_MAX.saturating_sub(state.bytes);
        if !has_space {
            state.dropped += 1;
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        state.bytes += line.len();
        let dropped_before = mem::take(&mut state.dropped);
        state.entries.push_back(Entry { dropped_before, line });
        drop(state);
        self.filled.notify_one();
    }

    /// Waits until all lines are written or dropped, but not longer than `wait`.
    fn flush(&self, wait: Duration) {
        let is_busy = |state: &mut State| state.is_writing || !state.entries.is_empty();
        // A poisoned lock is as good as a free one, and there is nothing to do when time is over.
        let _ = self.emptied.wait_timeout_while(self.state(), wait, is_busy);
    }

    fn counts(&self) -> LineCounts {
        LineCounts {
            written: self.written.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
            queued_bytes: self.state().bytes as u64,
        }
    }

    /// The next line; without one for a second while lines are missing that nobody was notified of: nothing.
    fn next(&self, has_unsaid: bool) -> Option<Entry> {
        let mut state = self.state();
        let until = Instant::now() + limits::STDERR_RETRY;
        loop {
            if let Some(entry) = state.entries.pop_front() {
                state.bytes -= entry.line.len();
                state.is_writing = true;
                return Some(entry);
            }
            state.is_writing = false;
            self.emptied.notify_all();
            if !has_unsaid && state.dropped == 0 {
                state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            state = self.filled.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Writes lines for as long as the process runs.
    fn drain(&self, out: &mut impl Write) {
        let mut output = Output { out, is_mid_line: false };
        let mut unsaid = 0;
        loop {
            let entry = self.next(unsaid > 0);
            unsaid += entry.as_ref().map_or_else(|| mem::take(&mut self.state().dropped), |entry| entry.dropped_before);
            if unsaid > 0 && output.write_line(&self.notice(unsaid)) {
                unsaid = 0;
            }
            let Some(entry) = entry else { continue };
            // While not even the notice gets through, the line does not either.
            if unsaid == 0 && output.write_line(&entry.line) {
                self.written.fetch_add(1, Ordering::Relaxed);
            } else {
                unsaid += 1;
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// The line about those that are missing.
    fn notice(&self, dropped: u64) -> Vec<u8> {
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let now = format_timestamp(i64::try_from(now_ms).unwrap_or(0));
        let now = String::from_utf8_lossy(&now);
        let what = "log lines are missing here: standard error was blocked or failed";
        let line = match self.notation.get() {
            Some(Notation::Json) => format!(
                "{{\"timestamp\":\"{now}\",\"level\":\"WARN\",\"message\":\"{what}\",\"lines_dropped\":{dropped}}}\n"
            ),
            _ => format!("{now}  WARN {dropped} {what}\n"),
        };
        line.into_bytes()
    }
}

/// Standard error, or what a test has in its place.
struct Output<'a, W> {
    out: &'a mut W,
    /// The last write ended within a line, which the next one must not go on with.
    is_mid_line: bool,
}

impl<W: Write> Output<'_, W> {
    /// Writes a line, and returns true if it was written whole. Blocks while the reader does.
    fn write_line(&mut self, line: &[u8]) -> bool {
        if self.is_mid_line {
            match self.write(b"\n") {
                (_, true) => self.is_mid_line = false,
                _ => return false,
            }
        }
        let (written, is_whole) = self.write(line);
        self.is_mid_line = !is_whole && written > 0;
        is_whole
    }

    /// The number of bytes written, and whether they are all.
    fn write(&mut self, bytes: &[u8]) -> (usize, bool) {
        let mut written = 0;
        while written < bytes.len() {
            match self.out.write(&bytes[written..]) {
                Ok(0) => return (written, false),
                Ok(count) => written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Whoever shares the open file has made it non-blocking, and the reader is behind.
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(limits::STDERR_POLL),
                Err(_) => return (written, false),
            }
        }
        (written, true)
    }
}

/// The queue of this process, and whether there is a thread that writes what is in it.
#[derive(Debug)]
struct Logger {
    queue: Arc<Queue>,
    writer: io::Result<()>,
}

static LOGGER: OnceLock<Logger> = OnceLock::new();

fn logger() -> &'static Logger {
    LOGGER.get_or_init(|| {
        let queue = Arc::new(Queue::new());
        let writer =
            thread::Builder::new().name("logging".into()).stack_size(limits::STDERR_THREAD_STACK_BYTES).spawn({
                let queue = Arc::clone(&queue);
                move || queue.drain(&mut io::stderr())
            });
        Logger { queue, writer: writer.map(drop) }
    })
}

fn push(line: Vec<u8>) {
    let logger = logger();
    match &logger.writer {
        Ok(()) => logger.queue.push(line),
        // No thread could be started, so this process has hardly begun: there is nothing it could hold up.
        Err(_) => drop(io::stderr().write_all(&line)),
    }
}

/// Says a line on standard error, whatever the level of the log.
pub fn say(text: &dyn fmt::Display) {
    push(printable::line(text.to_string().as_bytes(), Notation::Text, false));
}

/// Waits until what was said is written, but not for long: to be called before the process ends.
pub fn flush() {
    if let Some(Logger { queue, writer: Ok(()) }) = LOGGER.get() {
        queue.flush(limits::STDERR_FLUSH_MAX);
    }
}

/// The counters of this process's log lines.
#[must_use]
pub fn counts() -> LineCounts {
    LOGGER.get().map_or_else(LineCounts::default, |logger| logger.queue.counts())
}

/// Has panics speak through the queue. Rust's own hook writes to standard error by itself, so a panic could wait there
/// for a reader instead of ending the process.
pub fn install_panic_hook() {
    std::panic::set_hook(Box::new(|panic| {
        say_panic(panic);
        flush();
    }));
}

fn say_panic(panic: &PanicHookInfo<'_>) {
    let current = thread::current();
    let place = panic.location().map(|location| format!(" at {location}")).unwrap_or_default();
    let what = panic.payload_as_str().unwrap_or("no message");
    say(&format_args!("metricstream: thread {} panicked{place}: {what}", current.name().unwrap_or("(unnamed)")));
    // If RUST_BACKTRACE is set.
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        backtrace.to_string().lines().for_each(|line| say(&line));
    }
}

/// Has every line of the log go to standard error in `format`, from the level on that `filter` says.
///
/// # Errors
/// There is no thread to write them.
pub fn start(format: LogFormat, filter: EnvFilter) -> Result<(), String> {
    let logger = logger();
    if let Err(error) = &logger.writer {
        return Err(format!("cannot start the logging thread: {error}"));
    }
    let notation = match format {
        LogFormat::Text => Notation::Text,
        LogFormat::Json => Notation::Json,
    };
    // Set once, as this is called once.
    let _ = logger.queue.notation.set(notation);
    let colors = io::stderr().is_terminal() && format == LogFormat::Text;
    let lines = tracing_subscriber::fmt()
        .with_writer(Lines { notation, colors })
        .with_target(false)
        .with_ansi(colors)
        .log_internal_errors(false)
        .with_env_filter(filter);
    match format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
    Ok(())
}

/// The writer for `tracing`: each line in one write.
#[derive(Debug, Clone, Copy)]
struct Lines {
    notation: Notation,
    colors: bool,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        *self
    }
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        push(printable::line(line, self.notation, self.colors));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// An output whose every write does what the test says: the bytes that it takes, or an error.
    struct Scripted {
        written: Sender<Vec<u8>>,
        script: Receiver<Result<usize, ErrorKind>>,
    }

    impl Write for Scripted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Stands still once the test has nothing more to say, as a pipe that nobody reads.
            let Ok(result) = self.script.recv() else {
                loop {
                    thread::park();
                }
            };
            let length = result?.min(bytes.len());
            self.written.send(bytes[..length].to_vec()).unwrap();
            Ok(length)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Fixture {
        queue: Arc<Queue>,
        script: Sender<Result<usize, ErrorKind>>,
        written: Receiver<Vec<u8>>,
    }

    impl Fixture {
        fn new() -> Self {
            let queue = Arc::new(Queue::new());
            let ((script, scripted), (writes, written)) = (channel(), channel());
            let mut out = Scripted { written: writes, script: scripted };
            thread::spawn({
                let queue = Arc::clone(&queue);
                move || queue.drain(&mut out)
            });
            Self { queue, script, written }
        }

        fn allow(&self, result: Result<usize, ErrorKind>) {
            self.script.send(result).unwrap();
        }

        fn written(&self) -> String {
            String::from_utf8(self.written.recv().unwrap()).unwrap()
        }

        fn until(&self, reached: impl Fn(LineCounts) -> bool) {
            while !reached(self.queue.counts()) {
                thread::yield_now();
            }
        }
    }

    const ALL: Result<usize, ErrorKind> = Ok(usize::MAX);

    #[test]
    fn a_full_queue_drops_counts_and_says_so_where_it_was() {
        let fixture = Fixture::new();
        // The writer stands in its first write.
        fixture.queue.push(b"first\n".to_vec());
        fixture.until(|counts| counts.queued_bytes == 0);
        for _ in 0..limits::STDERR_LINES_MAX + 3 {
            fixture.queue.push(b"x\n".to_vec());
        }
        assert_eq!(fixture.queue.counts().dropped, 3);
        fixture.allow(ALL);
        assert_eq!(fixture.written(), "first\n");
        fixture.allow(ALL);
        assert_eq!(fixture.written(), "x\n");
        fixture.until(|counts| counts.queued_bytes < 2 * limits::STDERR_LINES_MAX as u64 - 2);
        fixture.queue.push(b"last\n".to_vec());
        for _ in 2..=limits::STDERR_LINES_MAX {
            fixture.allow(ALL);
            assert_eq!(fixture.written(), "x\n");
        }
        fixture.allow(ALL);
        assert!(fixture.written().contains(" WARN 3 log lines are missing here"));
        fixture.allow(ALL);
        assert_eq!(fixture.written(), "last\n");
        fixture.queue.flush(Duration::from_secs(3600));
        assert_eq!(fixture.queue.counts().queued_bytes, 0);
    }

    #[test]
    fn bytes_are_bounded_too() {
        let queue = Queue::new();
        queue.push(vec![b'x'; limits::STDERR_BYTES_MAX - 1]);
        queue.push(b"xx".to_vec());
        queue.push(b"\n".to_vec());
        let counts = queue.counts();
        assert_eq!((counts.queued_bytes, counts.dropped), (limits::STDERR_BYTES_MAX as u64, 1));
    }

    #[test]
    fn failed_writes_drop_their_line_and_are_tried_again() {
        let fixture = Fixture::new();
        fixture.queue.push(b"torn in two\n".to_vec());
        fixture.allow(Ok(4));
        fixture.allow(Err(ErrorKind::StorageFull));
        assert_eq!(fixture.written(), "torn");
        fixture.until(|counts| counts.dropped == 1);
        fixture.queue.push(b"lost\n".to_vec());
        fixture.allow(Err(ErrorKind::BrokenPipe));
        fixture.until(|counts| counts.dropped == 2);
        fixture.queue.push(b"kept\n".to_vec());
        // The rest of the torn line's line, the notice, and the line.
        for _ in 0..3 {
            fixture.allow(ALL);
        }
        assert_eq!(fixture.written(), "\n");
        assert!(fixture.written().contains(" WARN 2 log lines"));
        assert_eq!(fixture.written(), "kept\n");
        fixture.until(|counts| counts.written == 1);
    }

    #[test]
    fn the_notice_does_not_wait_for_another_line() {
        let fixture = Fixture::new();
        fixture.queue.push(b"lost\n".to_vec());
        fixture.allow(Err(ErrorKind::StorageFull));
        fixture.until(|counts| counts.dropped == 1);
        fixture.allow(ALL);
        assert!(fixture.written().contains(" WARN 1 log lines"));
    }

    #[test]
    fn a_write_that_would_block_or_is_interrupted_goes_on() {
        let fixture = Fixture::new();
        fixture.queue.push(b"line\n".to_vec());
        for result in [Err(ErrorKind::Interrupted), Ok(2), Err(ErrorKind::WouldBlock), ALL] {
            fixture.allow(result);
        }
        assert_eq!([fixture.written(), fixture.written()], ["li", "ne\n"]);
        fixture.until(|counts| counts == LineCounts { written: 1, ..LineCounts::default() });
    }

    #[test]
    fn a_flush_does_not_wait_for_a_reader_that_never_comes() {
        let fixture = Fixture::new();
        fixture.queue.push(b"stuck\n".to_vec());
        fixture.until(|counts| counts.queued_bytes == 0);
        fixture.queue.flush(Duration::from_millis(1));
        assert_eq!(fixture.queue.counts().written, 0);
    }

    #[test]
    fn the_notice_is_json_where_the_log_is() {
        let queue = Queue::new();
        queue.notation.set(Notation::Json).unwrap();
        let notice: serde_json::Value = serde_json::from_slice(&queue.notice(7)).unwrap();
        assert_eq!((&notice["lines_dropped"], &notice["level"]), (&7.into(), &"WARN".into()));
    }
}
