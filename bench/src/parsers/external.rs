//! A parser in a program of its own, which is timed by that program: simdjson in C++. The protocol of its standard
//! input and output stands at the top of `bench/simdjson/on_demand.cc`.

use super::{BatchParser, Input, Sample};
use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

/// Program that parses batches, started and running until this is dropped.
#[derive(Debug)]
pub struct External {
    child: Child,
    commands: ChildStdin,
    responses: BufReader<ChildStdout>,
    version: String,
}

impl External {
    /// Starts `program`.
    ///
    /// # Errors
    /// Says why it does not start or does not introduce itself.
    pub fn start(program: &Path) -> Result<Self, String> {
        let failed = |why: &dyn std::fmt::Display| format!("{}: {why}", program.display());
        let mut child = Command::new(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| failed(&error))?;
        let (Some(commands), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(failed(&"it has no pipes"));
        };
        let mut external = Self { child, commands, responses: BufReader::new(output), version: String::new() };
        external.version = external.line().map_err(|why| failed(&why))?;
        Ok(external)
    }

    /// Returns what the program says it is, with its version.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    fn line(&mut self) -> Result<String, String> {
        let mut line = String::new();
        match self.responses.read_line(&mut line) {
            Ok(0) => Err("the program has ended".to_owned()),
            Ok(_) => Ok(line.trim_end().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Sends a command with its number, and the body of that many bytes if it has one; returns the number it gives.
    fn command(&mut self, command: char, number: u64, body: &[u8]) -> Result<u64, String> {
        writeln!(self.commands, "{command} {number}")
            .and_then(|()| self.commands.write_all(body))
            .map_err(|error| error.to_string())?;
        let line = self.line()?;
        match line.split_once(' ') {
            Some(("ok", number)) => number.parse().map_err(|_| format!("it says '{line}'")),
            Some(("error", why)) => Err(why.to_owned()),
            _ => Err(format!("it says '{line}'")),
        }
    }
}

impl BatchParser for External {
    fn name(&self) -> &'static str {
        "simdjson On-Demand"
    }

    fn parse(&mut self, body: &[u8]) -> Result<usize, String> {
        let metrics = self.command('P', body.len() as u64, body)?;
        usize::try_from(metrics).map_err(|error| error.to_string())
    }

    fn samples(&mut self, _: &[u8]) -> Result<Option<Vec<Sample>>, String> {
        Ok(None)
    }

    fn times_itself(&mut self, input: &Input) -> bool {
        let loaded = self.command('C', 0, b"").and_then(|_| {
            input.batches.iter().try_for_each(|body| {
                let json = body.json.as_bytes();
                self.command('L', json.len() as u64, json).map(drop)
            })
        });
        loaded.is_ok()
    }

    fn walks_ns(&mut self, walks: u32) -> Result<u64, String> {
        self.command('T', u64::from(walks), b"")
    }
}

impl Drop for External {
    fn drop(&mut self) {
        // It is ours, and has nothing to finish.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt};

    /// A program that says `version`, and after it the same `response` to each line it reads.
    fn program(directory: &Path, response: &str) -> std::path::PathBuf {
        let path = directory.join("parser");
        let text = format!("#!/bin/sh\necho parser 1.0\nwhile read -r line; do echo '{response}'; done\n");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn a_program_gives_numbers_and_reasons() {
        let directory = tempfile::tempdir().unwrap();
        let mut external = External::start(&program(directory.path(), "ok 12")).unwrap();
        assert_eq!(external.version(), "parser 1.0");
        assert_eq!(external.walks_ns(3), Ok(12));
        let mut external = External::start(&program(directory.path(), "error no name")).unwrap();
        assert_eq!(external.walks_ns(3), Err("no name".to_owned()));
        let mut external = External::start(&program(directory.path(), "what")).unwrap();
        assert_eq!(external.walks_ns(3), Err("it says 'what'".to_owned()));
    }

    #[test]
    fn a_program_that_ends_is_an_error() {
        assert!(External::start(Path::new("/bin/true")).unwrap_err().contains("ended"));
        assert!(External::start(Path::new("/bin/no-such-program")).is_err());
    }
}
