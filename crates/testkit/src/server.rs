//! The server under test: the real binary, started, killed, stopped.

use crate::process::{self, Signal};
use std::{
    io::{self, BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Far beyond what a start or a stop takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);
/// Between two looks at a process that ends.
const PAUSE: Duration = Duration::from_millis(1);

/// A process that was started and may not listen yet. Dropped, it is killed.
#[derive(Debug)]
pub struct Server {
    child: Child,
    listens: mpsc::Receiver<SocketAddr>,
    said: Option<JoinHandle<Vec<String>>>,
}

/// Status and output of a process that has ended.
#[derive(Debug)]
pub struct Ended {
    /// With what.
    pub status: ExitStatus,
    /// Lines of its standard error.
    pub said: Vec<String>,
}

impl Ended {
    /// The last thing it said.
    #[must_use]
    pub fn last_line(&self) -> &str {
        self.said.last().map_or("", String::as_str)
    }
}

/// The command that serves from `directory` on a free port, with none of the environment's options.
#[must_use]
pub fn command(binary: &Path, directory: &Path) -> Command {
    let mut command = Command::new(binary);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("METRICSTREAM_")) {
        command.env_remove(name);
    }
    command.args(["--listen", "127.0.0.1:0", "--stats-interval", "0s"]).arg("--data-dir").arg(directory);
    command
}

impl Server {
    /// Starts `command`.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn(mut command: Command) -> io::Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", command.get_program().display())))?;
        let stderr = child.stderr.take().ok_or_else(|| io::Error::other("no standard error"))?;
        let (sender, listens) = mpsc::channel();
        let said = thread::spawn(move || {
            let mut lines = Vec::new();
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if let Some(address) = listening_on(&line) {
                    // It is called once.
                    let _ = sender.send(address);
                }
                lines.push(line);
            }
            lines
        });
        Ok(Self { child, listens, said: Some(said) })
    }

    /// Waits until it listens. `None`: it has ended instead, or takes too long.
    #[must_use]
    pub fn listening(&self) -> Option<SocketAddr> {
        self.listens.recv_timeout(DEADLINE).ok()
    }

    /// Starts `command`, which must come to listen.
    ///
    /// # Errors
    /// It does not, with what it said.
    pub fn start(command: Command) -> io::Result<(Self, SocketAddr)> {
        let server = Self::spawn(command)?;
        match server.listening() {
            Some(address) => Ok((server, address)),
            None => {
                let said = server.wait()?.said.join("\n");
                Err(io::Error::other(format!("the server did not start; it said:\n{said}")))
            }
        }
    }

    /// Ends it with SIGKILL.
    ///
    /// # Errors
    /// What the system says.
    pub fn kill(mut self) -> io::Result<Ended> {
        self.child.kill()?;
        let status = self.child.wait()?;
        Ok(self.ended(status))
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// What the system says.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        process::signal(&self.child, signal)
    }

    /// See [`process::limit_files`].
    ///
    /// # Errors
    /// What the system says.
    pub fn limit_files(&self, bytes: Option<u64>) -> io::Result<()> {
        process::limit_files(&self.child, bytes)
    }

    /// Waits until it has ended by itself. One that does not is killed, and its status says so.
    ///
    /// # Errors
    /// What the system says.
    pub fn wait(mut self) -> io::Result<Ended> {
        let begin = Instant::now();
        while begin.elapsed() < DEADLINE {
            if let Some(status) = self.child.try_wait()? {
                return Ok(self.ended(status));
            }
            thread::sleep(PAUSE);
        }
        self.kill()
    }

    fn ended(&mut self, status: ExitStatus) -> Ended {
        let said = self.said.take().and_then(|said| said.join().ok()).unwrap_or_default();
        Ended { status, said }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only when it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The address in a line such as `… listening on 127.0.0.1:40001 …`.
fn listening_on(line: &str) -> Option<SocketAddr> {
    let (_, after) = line.split_once("listening on ")?;
    after.split_whitespace().next()?.parse().ok()
}
