//! The process under test: the real binary, started, observed, stopped, killed. Other programs that announce where they
//! listen, such as those of `bench`, are started by [`Server::spawn`] as well.
#![expect(clippy::unwrap_used, reason = "what fails to unwrap here fails the test that calls it")]

use crate::{
    http::{Client, Response, get},
    metric::{self, Metric},
    process::{self, Resource, Signal},
    transcript::Transcript,
};
use std::{
    io::{self, Read},
    net::SocketAddr,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// Timeout of every wait for a process. Far beyond what a healthy server needs on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(240);
/// The server's timeouts.
const TIMEOUTS: [&str; 6] =
    ["--head-timeout", "--body-timeout", "--idle-timeout", "--write-timeout", "--drain-timeout", "--query-timeout"];
/// Pause between two checks of a condition.
const PAUSE: Duration = Duration::from_millis(2);

/// A network driver, forced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// io_uring.
    IoUring,
    /// epoll.
    Epoll,
}

impl Driver {
    /// Name for `--driver` and in `/stats`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::IoUring => "io_uring",
            Self::Epoll => "epoll",
        }
    }
}

/// Polls until there is a result.
///
/// # Panics
/// After [`DEADLINE`], with `what`.
pub fn until<T>(what: &str, mut poll: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        match poll() {
            Some(result) => return result,
            None => assert!(Instant::now() < end, "waited in vain: {what}"),
        }
        thread::sleep(PAUSE);
    }
}

/// The command that runs `binary`, with none of the environment's options and no standard input.
#[must_use]
pub fn program(binary: impl AsRef<Path>) -> Command {
    let mut command = Command::new(binary.as_ref());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let is_option = ["METRICSTREAM_", "OTEL_"].iter().any(|start| text.starts_with(start));
        if is_option || ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"].contains(&&*text) {
            command.env_remove(&name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// Configuration of a server under test.
#[derive(Debug, Clone)]
pub struct Setup {
    binary: PathBuf,
    flags: Vec<(String, String)>,
    variables: Vec<(String, String)>,
    limits: Vec<(Resource, u64, u64)>,
}

impl Setup {
    /// A free port, one reactor, no rate limit, and no timeout that a busy machine could reach.
    #[must_use]
    pub fn new(binary: impl Into<PathBuf>, driver: Driver) -> Self {
        let setup = Self { binary: binary.into(), flags: Vec::new(), variables: Vec::new(), limits: Vec::new() }
            .flag("--listen", "127.0.0.1:0")
            .flag("--driver", driver.name())
            .flag("--reactors", 1)
            .flag("--rate-limit", 0)
            .flag("--stats-interval", "0s");
        TIMEOUTS.iter().fold(setup, |setup, name| setup.flag(name, "10m"))
    }

    /// Sets a flag, in place of what it was set to before.
    #[must_use]
    pub fn flag(mut self, name: &str, value: impl ToString) -> Self {
        self = self.without(name);
        self.flags.push((name.to_owned(), value.to_string()));
        self
    }

    /// Gives a flag once more.
    #[must_use]
    pub fn more(mut self, name: &str, value: impl ToString) -> Self {
        self.flags.push((name.to_owned(), value.to_string()));
        self
    }

    /// Leaves a flag to its default.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.flags.retain(|(known, _)| known != name);
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the limits of `resource` for the process: soft and hard.
    #[must_use]
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
        Server::start(self.command(directory), directory).unwrap()
    }

    /// Starts with `stderr` as its standard error. The address comes by way of the service manager's socket.
    pub fn start_with_stderr(&self, stderr: Stdio) -> Server {
        self.start_under_manager(|directory, setup| {
            let mut command = setup.command(directory);
            command.stderr(stderr);
            command
        })
    }

    /// Starts by way of a shell, which runs `script` with the command line as its arguments.
    pub fn start_by_shell(&self, script: &str) -> Server {
        self.start_under_manager(|directory, setup| {
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

    fn start_under_manager(&self, command: impl FnOnce(&Path, &Self) -> Command) -> Server {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_read_timeout(Some(DEADLINE)).unwrap();
        let setup = self.clone().variable("NOTIFY_SOCKET", path.to_str().unwrap());
        let data = directory.path().join("data");
        let child = command(&data, &setup).spawn().unwrap();
        let mut message = [0; 4096];
        // Figures may come first.
        let address: SocketAddr = until("the message that it is ready", || {
            let length = manager.recv(&mut message).unwrap();
            let message = std::str::from_utf8(&message[..length]).unwrap();
            Some(message.strip_prefix("READY=1\nSTATUS=listening on ")?.parse().unwrap())
        });
        let mut server = Server::of(child, io::empty(), &data);
        (server.address, server.listens_at) = (address, vec![address.to_string()]);
        server.own_directory = Some(directory);
        server
    }

    /// Starts a server that must not come up, with `stderr` as its standard error, and returns its exit status.
    pub fn exit_with_stderr(&self, stderr: Stdio) -> ExitStatus {
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
        let mut command = program(&self.binary);
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
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// Result of a server that did not start.
#[derive(Debug)]
pub struct Refused {
    /// Exit code; a signal is none.
    pub code: Option<i32>,
    /// Lines of standard error.
    pub said: Vec<String>,
    /// Standard output.
    pub output: String,
}

impl Refused {
    /// The one line with the reason, after an exit with code 2. Only lines of INFO may precede it.
    pub fn line(&self) -> &str {
        assert_eq!(self.code, Some(2), "{self:?}");
        let (line, before) = self.said.split_last().unwrap();
        assert!(line.starts_with("metricstream: ") && before.iter().all(|line| line.contains(" INFO ")), "{self:?}");
        line
    }
}

/// Exit of a process, and its output.
#[derive(Debug)]
pub struct Ended {
    /// Exit status.
    pub status: ExitStatus,
    /// Lines of its standard error.
    pub said: Vec<String>,
}

impl Ended {
    /// The last line of its standard error.
    #[must_use]
    pub fn last_line(&self) -> &str {
        self.said.last().map_or("", String::as_str)
    }
}

/// The stream on which a program announces where it listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Announces {
    /// Standard output: a program of `bench`.
    OnStdout,
    /// Standard error: the server.
    OnStderr,
}

/// A process that was started. Dropped, it is killed.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// The first TCP address that it listens at, if there is one.
    pub address: SocketAddr,
    /// Every address and path that it listens at, as it announces them.
    pub listens_at: Vec<String>,
    said: Transcript,
    /// Data directory.
    pub directory: PathBuf,
    own_directory: Option<TempDir>,
    status: Option<ExitStatus>,
}

impl Server {
    fn of(child: Child, output: impl Read + Send + 'static, directory: &Path) -> Self {
        Self {
            child,
            address: SocketAddr::from(([0, 0, 0, 0], 0)),
            listens_at: Vec::new(),
            said: Transcript::of(output),
            directory: directory.to_owned(),
            own_directory: None,
            status: None,
        }
    }

    /// Starts `command`, which serves from `directory` and may not listen yet.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn(mut command: Command, directory: &Path, announces: Announces) -> io::Result<Self> {
        let is_stdout = announces == Announces::OnStdout;
        command.stdin(Stdio::null());
        if is_stdout {
            command.stdout(Stdio::piped());
        } else {
            command.stdout(Stdio::null()).stderr(Stdio::piped());
        }
        let mut child = command
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", command.get_program().display())))?;
        Ok(match (child.stdout.take(), child.stderr.take()) {
            (Some(stdout), _) if is_stdout => Self::of(child, stdout, directory),
            (_, stderr) => Self::of(child, stderr.unwrap(), directory),
        })
    }

    /// Waits until the process listens. `false`: it has ended instead, or takes too long.
    pub fn wait_until_listening(&mut self) -> bool {
        let Some(places) = self.said.find(listening_on) else { return false };
        if let Some(address) = places.iter().find_map(|place| place.parse().ok()) {
            self.address = address;
        }
        self.listens_at = places;
        true
    }

    /// Starts `command`, which serves from `directory` and must come to listen.
    ///
    /// # Errors
    /// An error that has the output of a program that does not.
    pub fn start(command: Command, directory: &Path) -> io::Result<Self> {
        let mut server = Self::spawn(command, directory, Announces::OnStderr)?;
        if server.wait_until_listening() {
            return Ok(server);
        }
        let ended = server.end();
        Err(io::Error::other(format!(
            "the server did not start: {}; it said:\n{}",
            ended.status,
            ended.said.join("\n")
        )))
    }

    /// A new connection.
    pub fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// One request on a connection of its own.
    pub fn request(&self, request: &[u8]) -> Response {
        self.connect().request(request)
    }

    /// The document of `GET /stats`.
    pub fn stats(&self) -> serde_json::Value {
        let response = self.request(&get("/stats"));
        assert_eq!(response.status, 200);
        response.json()
    }

    /// A number of `/stats`, by its JSON pointer.
    pub fn stat(&self, pointer: &str) -> u64 {
        number_at(&self.stats(), pointer)
    }

    /// Process id, until it was waited for.
    pub fn pid(&self) -> u32 {
        assert!(self.status.is_none(), "it has ended");
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        assert!(self.status.is_none(), "it has ended");
        process::signal(&self.child, signal).unwrap();
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

    /// Bounds the size of the files that the process may write; see [`process::limit_files`].
    ///
    /// # Errors
    /// Errors of prlimit(2).
    pub fn limit_files(&self, bytes: Option<u64>) -> io::Result<()> {
        process::limit_files(&self.child, bytes)
    }

    /// Waits until the process has ended by itself. One that does not is killed, which its status shows.
    pub fn end(mut self) -> Ended {
        let status = match self.status.or_else(|| wait_until_ended(&mut self.child)) {
            Some(status) => status,
            None => {
                self.kill();
                self.wait()
            }
        };
        self.status = Some(status);
        Ended { status, said: self.said.to_the_end() }
    }

    /// Ends it with SIGKILL.
    pub fn end_by_kill(mut self) -> Ended {
        self.kill();
        self.end()
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
        self.said.find(find).unwrap_or_else(|| panic!("waited in vain for {what}"))
    }

    /// All lines on standard error of a server that has ended.
    #[must_use]
    pub fn said(&self) -> Vec<String> {
        assert!(self.status.is_some(), "it still runs");
        self.said.to_the_end()
    }

    /// The metrics of the log, every line checked.
    #[must_use]
    pub fn metrics(&self) -> Vec<Metric> {
        metric::metrics(&self.directory)
    }

    /// Open descriptors (proc(5)). Not those of pipes to the program that looks stacks up for ThreadSanitizer, which it
    /// starts at the first report that may be suppressed; the server opens no pipe while it runs.
    #[must_use]
    pub fn descriptors(&self) -> usize {
        let descriptors = std::fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap();
        let is_pipe =
            |path: &Path| std::fs::read_link(path).is_ok_and(|file| file.to_string_lossy().starts_with("pipe:"));
        descriptors.filter(|entry| !cfg!(tsan) || !is_pipe(&entry.as_ref().unwrap().path())).count()
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
#[must_use]
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
            None => thread::sleep(PAUSE),
        }
    }
}
