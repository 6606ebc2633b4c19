//! Signal handling: the action of each signal, and the thread that receives them. The thread waits for nothing else,
//! so a second stop signal ends the process at once, whatever the other threads are doing.

use super::dispositions::{ignore_real_time_signals, unblock};
use crate::{limits, logging};
use crossbeam_channel::{Receiver, Sender, bounded};
use signal_hook::{
    consts::{
        SIGALRM, SIGHUP, SIGINT, SIGIO, SIGPROF, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGVTALRM, SIGXCPU, SIGXFSZ,
    },
    iterator::Signals,
    low_level::signal_name,
};
use std::{
    io, process,
    sync::{Arc, atomic::AtomicBool},
    thread,
    time::Instant,
};

/// The action of a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Request {
    /// Shut down; the second time, end at once.
    Stop,
    /// Seal the log's segment and start another.
    Rotate,
    /// Ignore: the signal is not meant for a server, and must not end it.
    Nothing,
}

/// Every signal that would end the process and may be caught, but for the real-time ones and those that the kernel
/// sends for a fault (signal(7)).
///
/// SIGQUIT stops in order, as it does other servers; a core dump is what SIGABRT is for. SIGPWR is what a container's
/// host sends to stop it, and SIGXCPU says that SIGKILL comes next. SIGUSR1 is what recipes for logrotate send to
/// servers that have SIGHUP for something else.
fn requests() -> impl Iterator<Item = (i32, Request)> {
    let stop = [SIGTERM, SIGINT, SIGQUIT, libc::SIGPWR, SIGXCPU].map(|signal| (signal, Request::Stop));
    let rotate = [SIGHUP, SIGUSR1].map(|signal| (signal, Request::Rotate));
    let nothing =
        [SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGIO, libc::SIGSTKFLT].map(|signal| (signal, Request::Nothing));
    stop.into_iter().chain(rotate).chain(nothing)
}

/// Signals, as they come: those that stop the server, and those that rotate its log apart from them, so that none
/// crowds out another.
#[derive(Debug)]
pub struct SignalsSeen {
    pub stop: Receiver<i32>,
    pub rotate: Receiver<i32>,
}

/// A signal's name.
pub fn name_of(signal: i32) -> String {
    match signal {
        _ if signal == libc::SIGPWR => "SIGPWR".into(),
        _ if signal == libc::SIGSTKFLT => "SIGSTKFLT".into(),
        _ => signal_name(signal).map_or_else(|| format!("signal {signal}"), str::to_owned),
    }
}

/// Has a write over RLIMIT_FSIZE fail with EFBIG, in every command, instead of killing the process (setrlimit(2)).
/// SIGPIPE is ignored by Rust's runtime: a write to a reader that has left fails with EPIPE.
///
/// # Errors
/// The handler cannot be set.
pub fn catch_file_size() -> io::Result<()> {
    signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false))).map(drop)
}

/// Watches for signals from now on.
pub fn watch() -> io::Result<SignalsSeen> {
    ignore_real_time_signals()?;
    let signals = Signals::new(requests().map(|(signal, _)| signal))?;
    // They have their handlers: one that is pending already is not lost.
    unblock(requests().map(|(signal, _)| signal))?;
    // One each is enough: the second that stops never gets there, and one that rotates requests what the next would
    // request too.
    let (stop_sender, stop) = bounded(1);
    let (rotate_sender, rotate) = bounded(1);
    thread::Builder::new().name("signals".into()).spawn(move || serve(signals, &stop_sender, &rotate_sender))?;
    Ok(SignalsSeen { stop, rotate })
}

fn serve(mut signals: Signals, stop: &Sender<i32>, rotate: &Sender<i32>) {
    let requests: Vec<_> = requests().collect();
    let (mut is_stopping, mut ignored_at) = (false, None::<Instant>);
    for signal in signals.forever() {
        let request = requests.iter().find(|(of, _)| *of == signal).map_or(Request::Nothing, |(_, request)| *request);
        match request {
            Request::Stop if is_stopping => {
                tracing::warn!("stopped at once by a second signal: {}", name_of(signal));
                logging::flush();
                process::exit(1);
            }
            Request::Stop => {
                is_stopping = true;
                // The channel has capacity for the only message.
                let _ = stop.try_send(signal);
            }
            // Full: a requested rotation has not started yet.
            Request::Rotate => drop(rotate.try_send(signal)),
            Request::Nothing if ignored_at.is_none_or(|at| at.elapsed() >= limits::IGNORED_SIGNAL_INTERVAL) => {
                ignored_at = Some(Instant::now());
                tracing::info!("{} is ignored", name_of(signal));
            }
            Request::Nothing => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use signal_hook::consts::FORBIDDEN;
    use std::collections::HashSet;

    #[test]
    fn every_signal_that_would_end_the_process_is_taken_once() {
        let taken: Vec<_> = requests().map(|(signal, _)| signal).collect();
        let different: HashSet<_> = taken.iter().copied().collect();
        assert_eq!(taken.len(), different.len());
        // What the kernel sends for a fault, what cannot be caught or is apart, and those that do nothing or stop a
        // process by default.
        let faults = [libc::SIGABRT, libc::SIGBUS, libc::SIGSYS, libc::SIGTRAP];
        let apart = [libc::SIGPIPE, SIGXFSZ];
        let harmless = [libc::SIGCHLD, libc::SIGCONT, libc::SIGURG, libc::SIGWINCH];
        let job_control = [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];
        let others: HashSet<_> =
            [FORBIDDEN, &faults, &apart, &harmless, &job_control].into_iter().flatten().copied().collect();
        for signal in 1..32 {
            assert!(different.contains(&signal) != others.contains(&signal), "{}", name_of(signal));
        }
    }

    #[test]
    fn signals_have_names() {
        for (signal, name) in [(SIGTERM, "SIGTERM"), (libc::SIGPWR, "SIGPWR"), (SIGXCPU, "SIGXCPU"), (99, "signal 99")]
        {
            assert_eq!(name_of(signal), name);
        }
    }
}
