//! The process under test: how it is started, what it says, how it ends.

use crate::{
    http::{Answer, Client, get},
    log::{self, Metric},
    process::{self, Resource, Signal},
};
use std::{
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// Timeout of every wait in a test. Far beyond what a healthy server needs on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// A network driver, forced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    IoUring,
    Epoll,
}

impl Driver {
    /// As `--driver` and `/stats` call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::IoUring => "io_uring",
            Self::Epoll => "epoll",
        }
    }
}

/// Asks again and again until there is an answer.
///
/// # Panics
/// After [`DEADLINE`], with `what`.
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        match ask() {
            Some(answer) => return answer,
            None => assert!(Instant::now() < end, "waited in vain: {what}"),
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// Configuration of a server under test.
#[derive(Debug, Clone)]
pub struct Setup {
    flags: Vec<(String, String)>,
    variables: Vec<(String, String)>,
    limits: Vec<(Resource, u64, u64)>,
}

impl Setup {
    /// A free port, one reactor, no rate limit.
    pub fn new(driver: Driver) -> Self {
        Self { flags: Vec::new(), variables: Vec::new(), limits: Vec::new() }
            .flag("--listen", "127.0.0.1:0")
            .flag("--driver", driver.name())
            .flag("--reactors", 1)
            .flag("--rate-limit", 0)
            .flag("--stats-interval", "0s")
    }

    /// Sets a flag, in place of what it was set to before.
    pub fn flag(mut self, name: &str, value: impl ToString) -> Self {
        self = self.without(name);
        self.flags.push((name.to_owned(), value.to_string()));
        self
    }

    /// Gives a flag once more.
    pub fn more(mut self, name: &str, value: impl ToString) -> Self {
        self.flags.push((name.to_owned(), value.to_string()));
        self
    }

    /// Leaves a flag to its default.
    pub fn without(mut self, name: &str) -> Self {
        self.flags.retain(|(known, _)| known != name);
        self
    }

    /// Sets an environment variable.
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the limits of `resource` for the process: soft and hard.
    pub fn limit(mut self, resource: Resource, soft: u64, hard: u64) -> Self {
        self.limits.push((resource, soft, hard));
        self
    }

    /// Starts in a directory of its own, which is gone when the server is.
    pub fn start(&self) -> Server {
        let directory = TempDir::new().unwrap();
        let mut server = self.start_in(directory.path());
        server.own_directory = Some(directory);
        server
    }

    /// Starts on `directory` and waits until it listens.
    pub fn start_in(&self, directory: &Path) -> Server {
        let mut child = self.command(directory).spawn().unwrap();
        let said = Transcript::of(child.stderr.take().unwrap());
        let mut server = Server {
            child,
            address: SocketAddr::from(([0, 0, 0, 0], 0)),
            listens_at: Vec::new(),
            said,
            directory: directory.to_owned(),
            own_directory: None,
            status: None,
        };
        server.listens_at = server.said.wait("the places it listens at", listening_on);
        if let Some(address) = server.listens_at.iter().find_map(|place| place.parse().ok()) {
            server.address = address;
        }
        server
    }

    /// Starts with `stderr` as its standard error. Where it listens is heard as a service manager hears it.
    pub fn start_saying_to(&self, stderr: Stdio) -> Server {
        self.start_heard_by_manager(|directory, setup| {
            let mut command = setup.command(directory);
            command.stderr(stderr);
            command
        })
    }

    /// Starts by way of a shell, which runs `script` with the command line as its arguments.
    pub fn start_by_shell(&self, script: &str) -> Server {
        self.start_heard_by_manager(|directory, setup| {
            let command = setup.command(directory);
            let mut shell = Command::new("sh");
            shell.args(["-c", script, "sh"]).arg(command.get_program()).args(command.get_args());
            for (name, value) in command.get_envs() {
                match value {
                    Some(value) => shell.env(name, value),
                    None => shell.env_remove(name),
                };
            }
            shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            shell
        })
    }

    fn start_heard_by_manager(&self, command: impl FnOnce(&Path, &Self) -> Command) -> Server {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_read_timeout(Some(DEADLINE)).unwrap();
        let setup = self.clone().variable("NOTIFY_SOCKET", path.to_str().unwrap());
        let data = directory.path().join("data");
        let child = command(&data, &setup).spawn().unwrap();
        let mut message = [0; 4096];
        // Figures may go before.
        let address: SocketAddr = until("it says where it listens", || {
            let length = manager.recv(&mut message).unwrap();
            let message = std::str::from_utf8(&message[..length]).unwrap();
            Some(message.strip_prefix("READY=1\nSTATUS=listening on ")?.parse().unwrap())
        });
        let said = Transcript::of(std::io::empty());
        let listens_at = vec![address.to_string()];
        Server { child, address, listens_at, said, directory: data, own_directory: Some(directory), status: None }
    }

    /// Starts a server that must not come up, with `stderr` as its standard error; returns how it exits.
    pub fn exit_saying_to(&self, stderr: Stdio) -> ExitStatus {
        let directory = TempDir::new().unwrap();
        let mut command = self.command(directory.path());
        let mut child = command.stdout(Stdio::null()).stderr(stderr).spawn().unwrap();
        wait_until_ended(&mut child).unwrap_or_else(|| {
            let _ = child.kill();
            panic!("it does not end")
        })
    }

    /// Starts on `directory` a server that must not come up.
    pub fn refused(&self, directory: &Path) -> Refused {
        let mut child = self.command(directory).spawn().unwrap();
        let said = Transcript::of(child.stderr.take().unwrap());
        let mut output = String::new();
        let status = match wait_until_ended(&mut child) {
            Some(status) => status,
            None => {
                let _ = child.kill();
                panic!("it runs where it had to refuse; it said:\n{}", said.text());
            }
        };
        child.stdout.take().unwrap().read_to_string(&mut output).unwrap();
        Refused { code: status.code(), said: said.to_the_end(), output }
    }

    fn command(&self, directory: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_metricstream"));
        for (name, _) in
            std::env::vars().filter(|(name, _)| ["METRICSTREAM_", "OTEL_"].iter().any(|start| name.starts_with(start)))
        {
            command.env_remove(name);
        }
        for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] {
            command.env_remove(name);
        }
        command.envs(self.variables.iter().cloned());
        if !self.flags.iter().any(|(name, _)| name == "--data-dir") {
            command.arg("--data-dir").arg(directory);
        }
        for (name, value) in &self.flags {
            command.arg(name);
            if !value.is_empty() {
                command.arg(value);
            }
        }
        for &(resource, soft, hard) in &self.limits {
            process::limit(&mut command, resource, soft, hard);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// Result of a server that did not start.
#[derive(Debug)]
pub struct Refused {
    pub code: Option<i32>,
    /// Lines of standard error.
    pub said: Vec<String>,
    /// Standard output.
    pub output: String,
}

impl Refused {
    /// The one line that says why, with exit code 2. Nothing but the log's INFO may stand before it.
    pub fn line(&self) -> &str {
        assert_eq!(self.code, Some(2), "{self:?}");
        let (line, before) = self.said.split_last().unwrap();
        assert!(line.starts_with("metricstream: ") && before.iter().all(|line| line.contains(" INFO ")), "{self:?}");
        line
    }
}

/// A server that runs. Dropped, it is killed.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// The first TCP address that it listens at, if there is one.
    pub address: SocketAddr,
    /// Every place that it listens at, as it says.
    pub listens_at: Vec<String>,
    said: Transcript,
    pub directory: PathBuf,
    own_directory: Option<TempDir>,
    status: Option<ExitStatus>,
}

impl Server {
    /// A new connection.
    pub fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// One request on a connection of its own.
    pub fn ask(&self, request: &[u8]) -> Answer {
        self.connect().ask(request)
    }

    /// The document of `GET /stats`.
    pub fn stats(&self) -> serde_json::Value {
        let answer = self.ask(&get("/stats"));
        assert_eq!(answer.status, 200);
        answer.json()
    }

    /// A number of `/stats`, by its JSON pointer.
    pub fn stat(&self, pointer: &str) -> u64 {
        number_at(&self.stats(), pointer)
    }

    /// The process, while it was not waited for.
    pub fn pid(&self) -> u32 {
        assert!(self.status.is_none(), "it has ended");
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        assert!(self.status.is_none(), "it has ended");
        testkit::process::signal(&self.child, signal).unwrap();
    }

    /// Waits until the process has ended.
    pub fn wait(&mut self) -> ExitStatus {
        if let Some(status) = self.status {
            return status;
        }
        let status = wait_until_ended(&mut self.child).unwrap_or_else(|| panic!("it does not end"));
        self.status = Some(status);
        status
    }

    /// Returns true if the process still runs.
    pub fn is_running(&mut self) -> bool {
        if self.status.is_none() {
            self.status = self.child.try_wait().unwrap();
        }
        self.status.is_none()
    }

    /// Stops it with SIGTERM, which must end it with code 0.
    pub fn stop(&mut self) {
        self.signal(Signal::Terminate);
        assert_eq!(self.wait().code(), Some(0), "exit code of a stop");
    }

    /// Ends it with SIGKILL.
    pub fn kill(&mut self) {
        self.signal(Signal::Kill);
        self.wait();
    }

    /// Waits for a line on standard error in which `find` finds something.
    pub fn wait_for_line<T>(&self, what: &str, find: impl Fn(&str) -> Option<T>) -> T {
        self.said.wait(what, find)
    }

    /// All lines on standard error of a server that has ended.
    pub fn said(&self) -> Vec<String> {
        assert!(self.status.is_some(), "it still runs");
        self.said.to_the_end()
    }

    /// The metrics of the log, every line checked.
    pub fn metrics(&self) -> Vec<Metric> {
        log::metrics(&self.directory)
    }

    /// Open descriptors (proc(5)).
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count()
    }

    /// Resident memory in bytes (proc(5), `VmRSS`).
    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().strip_suffix("kB").unwrap().trim().parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.status.is_none() {
            // Both fail only when it has ended by itself.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if thread::panicking() {
            eprintln!("the server on {} said:\n{}", self.address, self.said.text());
        }
    }
}

/// A number of a document, by its JSON pointer.
pub fn number_at(document: &serde_json::Value, pointer: &str) -> u64 {
    let value = document.pointer(pointer).unwrap_or_else(|| panic!("no {pointer} in {document:#}"));
    value.as_u64().unwrap_or_else(|| panic!("{pointer} is {value}"))
}

/// The places in a line such as `… listening on 127.0.0.1:40001, unix:/run/a …`.
fn listening_on(line: &str) -> Option<Vec<String>> {
    let (_, after) = line.split_once("listening on ")?;
    let mut places = Vec::new();
    for word in after.split([' ', '"']) {
        places.push(word.trim_end_matches(',').to_owned());
        if !word.ends_with(',') {
            break;
        }
    }
    Some(places)
}

fn wait_until_ended(child: &mut Child) -> Option<ExitStatus> {
    let end = Instant::now() + DEADLINE;
    loop {
        match child.try_wait().unwrap() {
            Some(status) => return Some(status),
            None if Instant::now() > end => return None,
            None => thread::sleep(Duration::from_millis(2)),
        }
    }
}

/// Text that the server writes to standard error.
#[derive(Debug, Clone, Default)]
struct Transcript {
    shared: Arc<(Mutex<Lines>, Condvar)>,
}

#[derive(Debug, Default)]
struct Lines {
    lines: Vec<String>,
    ended: bool,
}

impl Transcript {
    fn of(stderr: impl Read + Send + 'static) -> Self {
        let transcript = Self::default();
        let shared = transcript.shared.clone();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                shared.0.lock().unwrap().lines.push(line);
                shared.1.notify_all();
            }
            shared.0.lock().unwrap().ended = true;
            shared.1.notify_all();
        });
        transcript
    }

    fn wait<T>(&self, what: &str, find: impl Fn(&str) -> Option<T>) -> T {
        let end = Instant::now() + DEADLINE;
        let mut lines = self.shared.0.lock().unwrap();
        loop {
            if let Some(found) = lines.lines.iter().find_map(|line| find(line)) {
                return found;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || lines.ended {
                // Given back before the panic: what was said is printed on the way out.
                drop(lines);
                panic!("waited in vain for {what}");
            }
            lines = self.shared.1.wait_timeout(lines, left).unwrap().0;
        }
    }

    /// Every line so far.
    fn all(&self) -> Vec<String> {
        self.shared.0.lock().unwrap().lines.clone()
    }

    /// Every line, once the stream has ended.
    fn to_the_end(&self) -> Vec<String> {
        let lines = self.shared.1.wait_timeout_while(self.shared.0.lock().unwrap(), DEADLINE, |lines| !lines.ended);
        lines.unwrap().0.lines.clone()
    }

    fn text(&self) -> String {
        self.all().join("\n")
    }
}
