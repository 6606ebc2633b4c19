//! A server under measurement: a child process with a directory of its own, and what the kernel says about it.

use std::{
    collections::VecDeque,
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, Stdio},
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, channel},
    },
    thread,
    time::{Duration, Instant},
};

/// Time that a server may take until it listens.
const START_MAX: Duration = Duration::from_secs(30);
/// Time that a server may take to stop; then it is killed.
const STOP_MAX: Duration = Duration::from_secs(30);
/// Interval at which a child that is waited for is polled.
const LOOK_UP: Duration = Duration::from_millis(20);
/// Ticks of CPU time in a second as /proc counts them: USER_HZ is 100 on every machine that this runs on (proc(5)).
const TICK: Duration = Duration::from_millis(10);
/// Lines of a server's own words that are shown when it fails.
const WORDS_MAX: usize = 20;

/// A directory for one run, removed when it is dropped.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// A new, empty directory below the system's for temporary files.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new() -> Result<Self, String> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("ladder-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).map_err(|error| format!("cannot make {}: {error}", path.display()))?;
        Ok(Self(path))
    }

    /// Returns its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A directory that stays is the worst of it.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Resources that a process has used so far.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// CPU time, of threads that have ended too, to 10 ms. (schedstat counts nanoseconds, but only of threads that
    /// live; a stage that makes a thread for each request would cost next to nothing.)
    pub cpu: Duration,
    /// Threads at this moment.
    pub threads: u64,
    /// Most memory that was ever resident.
    pub resident_bytes_max: u64,
}

/// A running server.
#[derive(Debug)]
pub struct Subject {
    child: Child,
    words: Receiver<String>,
    /// Address that it listens on.
    pub address: SocketAddr,
    data: Scratch,
}

impl Subject {
    /// Starts `program` with `arguments`, a free port and a new directory, on `cores` if any are given, and waits
    /// until it says on standard error where it listens.
    ///
    /// # Errors
    /// It cannot be started, or does not listen in time; with its own words.
    pub fn start(program: &Path, arguments: &[String], cores: Option<&str>) -> Result<Self, String> {
        let data = Scratch::new()?;
        let mut child = pinned(program, cores)
            .args(arguments)
            .args(["--listen", "127.0.0.1:0", "--data-dir"])
            .arg(data.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", program.display()))?;
        let words = listen_to(child.stderr.take());
        let mut said = VecDeque::new();
        let until = Instant::now() + START_MAX;
        while let Ok(line) = words.recv_timeout(until.saturating_duration_since(Instant::now())) {
            if let Some(address) = address_in(&line) {
                return Ok(Self { child, words, address, data });
            }
            said.push_back(line);
            said.truncate(WORDS_MAX);
        }
        let _ = child.kill();
        let _ = child.wait();
        let said: Vec<String> = said.into();
        Err(format!("{} did not start; it said:\n{}", program.display(), said.join("\n")))
    }

    /// Reads the resources that it has used so far.
    ///
    /// # Errors
    /// The process is gone, or /proc is not as documented.
    pub fn usage(&self) -> Result<Usage, String> {
        let directory = PathBuf::from(format!("/proc/{}", self.child.id()));
        let read = |name: &str| fs::read_to_string(directory.join(name)).map_err(|error| format!("{name}: {error}"));
        let (stat, status) = (read("stat")?, read("status")?);
        usage_of(&stat, &status).ok_or_else(|| format!("{} is not as proc(5) says", directory.display()))
    }

    /// Stops it with SIGTERM and waits for its end; gives the lines in its log.
    ///
    /// # Errors
    /// It did not stop in time, or not well; with its own words.
    pub fn stop(mut self) -> Result<u64, String> {
        let signalled = Command::new("kill").args(["-s", "TERM", &self.child.id().to_string()]).status();
        signalled.map_err(|error| format!("kill(1) is needed: {error}"))?;
        let status = wait(&mut self.child, STOP_MAX, || {}).map_err(|error| format!("the server: {error}"))?;
        if !status {
            let said: Vec<String> = self.words.try_iter().collect();
            return Err(format!("the server did not stop well; it said:\n{}", said.join("\n")));
        }
        lines_in(&self.data.path().join("metrics.jsonl"))
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        // After a stop there is nothing left to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command for `program`, kept on `cores` by taskset(1).
#[must_use]
pub fn pinned(program: &Path, cores: Option<&str>) -> Command {
    match cores {
        None => Command::new(program),
        Some(cores) => {
            let mut command = Command::new("taskset");
            command.args([OsStr::new("--cpu-list"), OsStr::new(cores), program.as_os_str()]);
            command
        }
    }
}

/// Waits for a child, and calls `meanwhile` every now and then. Whether it ended with 0.
///
/// # Errors
/// It took longer than `time_max`, and was killed.
pub fn wait(child: &mut Child, time_max: Duration, mut meanwhile: impl FnMut()) -> Result<bool, String> {
    let until = Instant::now() + time_max;
    while Instant::now() < until {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status.success()),
            Ok(None) => {
                meanwhile();
                thread::sleep(LOOK_UP);
            }
            Err(error) => return Err(error.to_string()),
        }
    }
    let _ = child.kill();
    let _ = child.wait();
    Err(format!("it did not end within {time_max:?}"))
}

/// A child's lines as they come. They are read to the end, or the child would block on its own words.
fn listen_to(stderr: Option<ChildStderr>) -> Receiver<String> {
    let (sender, words) = channel();
    if let Some(stderr) = stderr {
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                // No request comes once the subject is gone.
                let _ = sender.send(line);
            }
        });
    }
    words
}

/// The address behind "listening on".
fn address_in(line: &str) -> Option<SocketAddr> {
    line.split_once("listening on ")?.1.split_whitespace().next()?.parse().ok()
}

/// proc(5): of /proc/PID/stat fields 14 and 15, utime and stime; of /proc/PID/status `Threads` and `VmHWM`.
fn usage_of(stat: &str, status: &str) -> Option<Usage> {
    // The second field is the program's name in parentheses, and may have anything in it.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let ticks: u32 = fields.next()?.parse::<u32>().ok()? + fields.next()?.parse::<u32>().ok()?;
    let field = |name: &str| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim_start_matches(':').split_ascii_whitespace().next()?.parse().ok()
    };
    Some(Usage { cpu: TICK * ticks, threads: field("Threads")?, resident_bytes_max: field("VmHWM")? * 1024 })
}

fn lines_in(path: &Path) -> Result<u64, String> {
    let cannot_read = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    let mut reader = BufReader::with_capacity(1 << 20, fs::File::open(path).map_err(cannot_read)?);
    let mut lines = 0;
    loop {
        let bytes = reader.fill_buf().map_err(cannot_read)?;
        if bytes.is_empty() {
            return Ok(lines);
        }
        lines += memchr::memchr_iter(b'\n', bytes).count() as u64;
        let taken = bytes.len();
        reader.consume(taken);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_in_either_kind_of_line() {
        for line in ["listening on 127.0.0.1:8080", "2026-01-02 INFO listening on 127.0.0.1:8080 driver=\"epoll\""] {
            assert_eq!(address_in(line), Some("127.0.0.1:8080".parse().unwrap()));
        }
        assert_eq!(address_in("listening on somewhere"), None);
    }

    #[test]
    fn a_name_with_a_parenthesis_does_not_shift_the_fields() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20";
        let status = "Name:\ta\nVmHWM:\t    2048 kB\nThreads:\t9\n";
        let usage = usage_of(stat, status).unwrap();
        assert_eq!((usage.cpu, usage.threads, usage.resident_bytes_max), (Duration::from_secs(2), 9, 2 << 20));
        assert!(usage_of("7 (a) S 1", status).is_none());
    }
}
