//! Stage 1, sequential: accept, serve, close, and only then the next. No thread, no lock that anybody else takes.
//!
//! Shows: while it waits - for a client to send, for the disk - it does nothing for anybody else. One client that says
//! nothing holds all others up for the whole timeout. Each connection ends with its response, or the first client to
//! stay would be the only one ever served.

use super::blocking;
use metricstream::config::Config;

/// Serves until a signal.
///
/// # Errors
/// One line: why it could not start, or what could not be stored.
pub fn run(config: Config) -> Result<(), String> {
    blocking::run(config, |server| {
        while let Some((stream, peer)) = server.accept() {
            server.serve(&stream, peer, || true);
        }
        Ok(())
    })
}
