//! Threads of the server, and the report that each makes when it exits.

use super::ServerError;
use core_affinity::CoreId;
use crossbeam_channel::{Sender, bounded};
use log::LogError;
use std::{io, thread};

/// The final report of a thread when it exits.
#[derive(Debug)]
pub enum Ended {
    Reactor(usize, io::Result<()>),
    Log(Result<(), LogError>),
}

impl Ended {
    /// The error of a thread that exited while the server needed it; `None` if all of them did.
    pub fn failure_of(last_word: Option<Self>) -> ServerError {
        match last_word {
            Some(Self::Reactor(index, Err(error))) => error!("reactor {index} failed: {error}"),
            Some(Self::Log(Err(error))) => error!("{error}"),
            Some(Self::Reactor(index, Ok(()))) => error!("reactor {index} exited unexpectedly"),
            Some(Self::Log(Ok(()))) => error!("the log exited unexpectedly"),
            None => error!("all threads exited unexpectedly"),
        }
    }
}

/// Starts a thread that reports its result when it exits. With `core`, the thread is pinned; if that fails, it does not
/// start.
///
/// # Errors
/// The thread could not be started, or not be pinned.
pub fn spawn(
    name: &str,
    core: Option<usize>,
    ended: &Sender<Ended>,
    body: impl FnOnce() -> Ended + Send + 'static,
) -> Result<(), ServerError> {
    let ended = ended.clone();
    let (pinned_sender, pinned) = bounded(1);
    let run = move || {
        let ok = core.is_none_or(|id| core_affinity::set_for_current(CoreId { id }));
        // Received below, before anything else happens.
        let _ = pinned_sender.send(ok);
        if ok {
            let last_word = body();
            // The receiver is gone once the server has stopped waiting for its threads.
            let _ = ended.send(last_word);
        }
    };
    thread::Builder::new().name(name.to_owned()).spawn(run).map_err(|error| cannot_spawn(name, &error))?;
    match (pinned.recv(), core) {
        (Ok(true), _) => Ok(()),
        (_, core) => Err(error!("cannot pin the thread {name} to core {core:?}")),
    }
}

/// The error of a thread that could not be started.
pub fn cannot_spawn(name: &str, error: &io::Error) -> ServerError {
    error!("cannot start the thread {name}: {error}")
}
