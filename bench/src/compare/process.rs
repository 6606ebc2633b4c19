//! Processes seen from outside: started on cores of their own, read from /proc, and ended with all their children.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// A server that has not responded to a request after this time has failed to start.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// Pause between two tries.
const START_PAUSE: Duration = Duration::from_millis(5);
/// Timeout of one attempt to get a response.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes examined of a response: its status is among the first.
const RESPONSE_BYTES_MAX: usize = 512;
/// Bytes shown of what a server said that did not start.
const SAID_BYTES_MAX: usize = 2000;

/// A command that runs `program` on `cores` alone (taskset(1) of util-linux), with no variable but PATH.
#[must_use]
pub fn pinned(cores: &[usize], program: &Path) -> Command {
    let list: Vec<String> = cores.iter().map(ToString::to_string).collect();
    let mut command = Command::new("taskset");
    command.env_clear().arg("--cpu-list").arg(list.join(",")).arg(program).stdin(Stdio::null());
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command
}

/// A port of 127.0.0.1 that is free now.
///
/// # Errors
/// There is none.
pub fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// A server with the processes it has started; all of them are killed when it is dropped, for its data is not kept.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// The first one is `child`.
    processes: Vec<u32>,
}

impl Server {
    /// Starts `command`, with what it says in the file `said`, and waits until it responds to requests on
    /// 127.0.0.1:`port`.
    ///
    /// # Errors
    /// It cannot be started, it ends, or it does not respond in time.
    pub fn start(mut command: Command, port: u16, said: &Path) -> io::Result<Self> {
        let out = fs::File::create(said)?;
        command.stdout(out.try_clone()?).stderr(out);
        let child = command
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", command.get_program().display())))?;
        let mut server = Self { processes: vec![child.id()], child };
        let begin = Instant::now();
        while !responds(port) {
            if server.child.try_wait()?.is_some() || begin.elapsed() > START_TIMEOUT {
                let text = fs::read(said).unwrap_or_default();
                let text = String::from_utf8_lossy(&text[text.len().saturating_sub(SAID_BYTES_MAX)..]).into_owned();
                return Err(io::Error::other(format!("the server did not start; it said: {}", text.trim())));
            }
            thread::sleep(START_PAUSE);
        }
        server.processes = tree(server.child.id())?;
        Ok(server)
    }

    /// CPU time of all threads of all its processes so far, nanoseconds. A thread that has ended is forgotten: servers
    /// keep theirs.
    ///
    /// # Errors
    /// /proc is not as documented.
    pub fn cpu_ns(&self) -> io::Result<u64> {
        let mut sum = 0;
        for process in &self.processes {
            for thread in fs::read_dir(format!("/proc/{process}/task"))? {
                match fs::read_to_string(thread?.path().join("schedstat")) {
                    Ok(text) => sum += parse_schedstat(&text).ok_or_else(|| unlike("schedstat", &text))?,
                    Err(error) if error.kind() == ErrorKind::NotFound => {} // It has ended meanwhile.
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(sum)
    }

    /// The most memory each of its processes ever had resident, added up; pages they share count for each.
    ///
    /// # Errors
    /// /proc is not as documented.
    pub fn peak_rss_bytes(&self) -> io::Result<u64> {
        self.processes.iter().try_fold(0, |sum, process| {
            let text = fs::read_to_string(format!("/proc/{process}/status"))?;
            Ok(sum + parse_peak_rss(&text).ok_or_else(|| unlike("status", &text))?)
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The parent first: it would start its children again.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let [_, children @ ..] = self.processes.as_slice()
            && !children.is_empty()
        {
            let _ = Command::new("kill").arg("-KILL").args(children.iter().map(ToString::to_string)).status();
        }
    }
}

fn unlike(file: &str, text: &str) -> io::Error {
    io::Error::other(format!("/proc: {file} is not as documented: '{}'", text.trim()))
}

/// Returns true if a request gets a response, whatever its status.
fn responds(port: u16) -> bool {
    exchange(port, "GET /health").is_ok_and(|response| !response.is_empty())
}

/// Sends a request, its method and target, that has to succeed.
///
/// # Errors
/// It does not.
pub fn ask(port: u16, request: &str) -> io::Result<()> {
    let response = exchange(port, request)?;
    if response.starts_with(b"HTTP/1.1 2") {
        return Ok(());
    }
    Err(io::Error::other(format!("{request}: the server responds '{}'", String::from_utf8_lossy(&response))))
}

/// The first bytes of what the server on 127.0.0.1:`port` says to a request.
fn exchange(port: u16, request: &str) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), RESPONSE_TIMEOUT)?;
    stream.set_read_timeout(Some(RESPONSE_TIMEOUT))?;
    let head = format!("{request} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    let mut response = [0; RESPONSE_BYTES_MAX];
    let read = stream.read(&mut response)?;
    Ok(response[..read].to_vec())
}

/// A process and all that descend from it, itself first.
fn tree(root: u32) -> io::Result<Vec<u32>> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(process) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // A process may end while we look.
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        if let Some(parent) = parse_parent(&stat) {
            parents.push((process, parent));
        }
    }
    let (mut found, mut known) = (vec![root], BTreeSet::from([root]));
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        let children = parents.iter().filter(|(_, of)| *of == parent).map(|(process, _)| *process);
        found.extend(children.filter(|child| known.insert(*child)));
        next += 1;
    }
    Ok(found)
}

/// The first field of schedstat: nanoseconds on a core (Linux 2.6.9, Documentation/scheduler/sched-stats.rst). The
/// kernel brings it up to date at each tick and each switch of threads.
fn parse_schedstat(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().next()?.parse().ok()
}

/// `VmHWM` of a status file (proc_pid_status(5)), in bytes.
fn parse_peak_rss(text: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = value.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

/// The parent in a stat file (proc_pid_stat(5)): the second field behind the name, which is in parentheses and may have
/// some of its own.
fn parse_parent(text: &str) -> Option<u32> {
    let (_, fields) = text.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// CPU time of a server over time.
#[derive(Debug, Default)]
pub struct CpuSeries(Vec<(Duration, u64)>);

impl CpuSeries {
    /// It had used `cpu_ns` at the time `at`, which is later than the one before.
    pub fn push(&mut self, at: Duration, cpu_ns: u64) {
        self.0.push((at, cpu_ns));
    }

    /// CPU time, in nanoseconds, from `start` to the last look; between two looks, in proportion.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a century is below 2^63; a load takes seconds")]
    pub fn used_ns(&self, start: Duration) -> f64 {
        let (Some(&first), Some(&(_, last_ns))) = (self.0.first(), self.0.last()) else { return 0.0 };
        let next = self.0.partition_point(|(at, _)| *at <= start);
        let at_start_ns = match (next.checked_sub(1).map(|index| self.0[index]), self.0.get(next)) {
            (None, _) => first.1 as f64,
            (Some((_, before_ns)), None) => before_ns as f64,
            (Some((before, before_ns)), Some(&(after, after_ns))) => {
                let share = (start - before).as_secs_f64() / (after - before).as_secs_f64();
                before_ns as f64 + share * after_ns.saturating_sub(before_ns) as f64
            }
        };
        (last_ns as f64 - at_start_ns).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_proc_are_read_as_documented() {
        assert_eq!(parse_schedstat("8349203 1234 56\n"), Some(8_349_203));
        assert_eq!(parse_schedstat("\n"), None);
        assert_eq!(parse_peak_rss("Name:\tx\nVmPeak:\t  9 kB\nVmHWM:\t    1024 kB\nVmRSS:\t 8 kB\n"), Some(1 << 20));
        assert_eq!(parse_peak_rss("Name:\tx\n"), None);
        assert_eq!(parse_parent("77 (nginx: (w) x) S 42 77 1 0"), Some(42));
        assert_eq!(parse_parent(""), None);
    }

    #[test]
    fn the_time_used_is_that_from_the_start_on() {
        let ms = Duration::from_millis;
        let mut series = CpuSeries::default();
        assert!(series.used_ns(ms(3)).abs() < 0.1);
        for (at, cpu_ns) in [(10, 100), (20, 200), (30, 400), (1000, 5000)] {
            series.push(ms(at), cpu_ns);
        }
        for (start, used) in
            [(0, 4900.0), (10, 4900.0), (15, 4850.0), (25, 4700.0), (30, 4600.0), (1000, 0.0), (2000, 0.0)]
        {
            assert!((series.used_ns(ms(start)) - used).abs() < 0.1, "{start}: {}", series.used_ns(ms(start)));
        }
    }

    #[test]
    fn a_server_that_does_not_start_is_reported_with_its_output() {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such luck; exit 3"]);
        let error = Server::start(command, free_port().unwrap(), &directory.path().join("said")).unwrap_err();
        assert!(error.to_string().contains("no such luck"), "{error}");
    }

    #[test]
    fn a_process_is_found_with_its_children_and_ended_with_them() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 60 & echo started; wait"]).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdout.take().unwrap().read_exact(&mut [0; 8]).unwrap();
        let processes = tree(child.id()).unwrap();
        assert_eq!((processes.len(), processes[0]), (2, child.id()));
        let server = Server { child, processes: processes.clone() };
        assert!(server.cpu_ns().unwrap() > 0);
        assert!(server.peak_rss_bytes().unwrap() > 4096);
        drop(server);
        // Whoever adopted the child may take a moment to notice its end.
        let alive = |process: &u32| {
            let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
            !stat.is_empty() && !stat.contains(") Z ")
        };
        let begin = Instant::now();
        while processes.iter().any(alive) {
            assert!(begin.elapsed() < Duration::from_secs(10));
            thread::yield_now();
        }
    }
}
