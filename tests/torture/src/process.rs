//! Signals and limits by way of libc: the only file with `unsafe` in it.
#![expect(unsafe_code, reason = "kill(2), tgkill(2), prlimit(2) and openpty(3) have no safe form in std")]

use std::{
    fs::File,
    io,
    os::fd::{FromRawFd, OwnedFd},
    process::Child,
    ptr,
};

/// A signal for a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM: stop in order.
    Terminate,
    /// SIGINT: the same.
    Interrupt,
    /// SIGHUP: seal the segment.
    HangUp,
    /// SIGKILL
    Kill,
    /// SIGSTOP: stand still until the next.
    Stop,
    /// SIGCONT
    Continue,
    /// SIGQUIT: stop in order.
    Quit,
    /// SIGPWR: stop in order.
    Power,
    /// SIGXCPU: stop in order.
    CpuTime,
    /// SIGUSR1: seal the segment.
    User1,
    /// SIGUSR2: nothing, as the following.
    User2,
    /// SIGALRM
    Alarm,
    /// SIGVTALRM
    VirtualAlarm,
    /// SIGPROF
    Profile,
    /// SIGIO
    Io,
    /// SIGSTKFLT
    StackFault,
    /// The first real-time signal, SIGRTMIN.
    FirstRealTime,
    /// The last one, SIGRTMAX.
    LastRealTime,
}

impl Signal {
    /// Those that are not meant for a server.
    pub const FOR_OTHERS: [Self; 8] = [
        Self::User2,
        Self::Alarm,
        Self::VirtualAlarm,
        Self::Profile,
        Self::Io,
        Self::StackFault,
        Self::FirstRealTime,
        Self::LastRealTime,
    ];

    fn number(self) -> libc::c_int {
        match self {
            Self::Terminate => libc::SIGTERM,
            Self::Interrupt => libc::SIGINT,
            Self::HangUp => libc::SIGHUP,
            Self::Kill => libc::SIGKILL,
            Self::Stop => libc::SIGSTOP,
            Self::Continue => libc::SIGCONT,
            Self::Quit => libc::SIGQUIT,
            Self::Power => libc::SIGPWR,
            Self::CpuTime => libc::SIGXCPU,
            Self::User1 => libc::SIGUSR1,
            Self::User2 => libc::SIGUSR2,
            Self::Alarm => libc::SIGALRM,
            Self::VirtualAlarm => libc::SIGVTALRM,
            Self::Profile => libc::SIGPROF,
            Self::Io => libc::SIGIO,
            Self::StackFault => libc::SIGSTKFLT,
            Self::FirstRealTime => libc::SIGRTMIN(),
            Self::LastRealTime => libc::SIGRTMAX(),
        }
    }
}

fn pid_of(child: &Child) -> io::Result<libc::pid_t> {
    libc::pid_t::try_from(child.id()).map_err(io::Error::other)
}

/// Sends `signal` to a child that was not waited for yet.
///
/// # Errors
/// What kill(2) says.
pub fn signal(child: &Child, signal: Signal) -> io::Result<()> {
    let pid = pid_of(child)?;
    let number = signal.number();
    #[cfg(tsan)]
    if let (false, Some(thread)) =
        (matches!(signal, Signal::Kill | Signal::Stop | Signal::Continue), thread_for_signals(pid))
    {
        // SAFETY: tgkill(2) touches no memory of ours.
        return match unsafe { libc::syscall(libc::SYS_tgkill, pid, thread, number) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        };
    }
    // SAFETY: kill(2) touches no memory of ours, and the pid is that of a child that was not reaped (the caller's
    // promise).
    match unsafe { libc::kill(pid, number) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The server's thread that waits for signals. ThreadSanitizer puts a handler off until its thread makes a call that
/// the sanitizer knows, and the main thread, to which the kernel gives a process's signal, sleeps on a futex, which it
/// does not.
#[cfg(tsan)]
fn thread_for_signals(pid: libc::pid_t) -> Option<libc::pid_t> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let mut threads = threads.map_while(Result::ok);
    let thread = threads.find(|thread| {
        std::fs::read_to_string(thread.path().join("comm")).is_ok_and(|name| name.trim_end() == "signals")
    })?;
    thread.file_name().to_str()?.parse().ok()
}

/// Bounds the size of the files that a running child may write (RLIMIT_FSIZE; `None`: without limit). The hard limit
/// stays.
///
/// # Errors
/// What prlimit(2) says.
pub fn limit_files(child: &Child, bytes: Option<u64>) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: bytes.unwrap_or(libc::RLIM_INFINITY), rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the new limit is a live structure, and a null pointer says that the old one is not wanted.
    match unsafe { libc::prlimit(pid_of(child)?, libc::RLIMIT_FSIZE, &raw const limit, ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A terminal: the end that shows what was written, and the end that programs write to. Reading fails with EIO once no
/// program has it.
///
/// # Errors
/// What openpty(3) says.
pub fn terminal() -> io::Result<(File, File)> {
    let (mut shown, mut written) = (-1, -1);
    // SAFETY: two live integers are written; null pointers say that name, modes and size are not wanted.
    let result =
        unsafe { libc::openpty(&raw mut shown, &raw mut written, ptr::null_mut(), ptr::null_mut(), ptr::null_mut()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: both descriptors were just opened, and nobody else has them.
    Ok(unsafe { (OwnedFd::from_raw_fd(shown).into(), OwnedFd::from_raw_fd(written).into()) })
}
