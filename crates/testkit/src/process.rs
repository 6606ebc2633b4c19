//! Signals, limits, terminals, threads and sockets by way of libc: the only file of the kit with `unsafe` in it, but
//! for the allocator.
#![expect(unsafe_code, reason = "kill(2), prlimit(2), ptrace(2) and their like have no safe form in std")]
#![expect(clippy::unwrap_used, reason = "what fails to unwrap here fails the test that calls it")]

use std::{
    fs::File,
    io, mem,
    net::TcpStream,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::{Child, Command},
    ptr,
    time::Duration,
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

/// A thread of a child process that stands still, while the others run, until this is dropped. To be dropped by the
/// thread that made it, which is what ptrace(2) calls the tracer.
///
/// It is stopped while it waits in the kernel: anywhere else it may hold a lock that others need, that of an arena of
/// the allocator for one, and then they stand still too.
#[derive(Debug)]
pub struct Frozen(i32);

/// System calls in which a thread waits for others and holds nothing.
const WAITING: [i64; 5] =
    [libc::SYS_ppoll, libc::SYS_futex, libc::SYS_epoll_pwait, libc::SYS_epoll_pwait2, libc::SYS_io_uring_enter];

/// Those that newer architectures have no longer.
#[cfg(target_arch = "x86_64")]
const WAITING_BY_OLD_CALLS: [i64; 2] = [libc::SYS_poll, libc::SYS_epoll_wait];
#[cfg(not(target_arch = "x86_64"))]
const WAITING_BY_OLD_CALLS: [i64; 0] = [];

impl Frozen {
    /// Holds the thread of the child `pid` that is called `name`. Panics when it does not wait once in ten thousand
    /// looks.
    pub fn thread(pid: u32, name: &str) -> Self {
        let mut threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().map(Result::unwrap);
        let is_it = |path: &std::path::Path| std::fs::read_to_string(path.join("comm")).unwrap().trim_end() == name;
        let thread = threads.find(|thread| is_it(&thread.path())).unwrap_or_else(|| panic!("no thread {name}"));
        let held = Self(thread.file_name().to_str().unwrap().parse().unwrap());
        held.request(libc::PTRACE_SEIZE);
        for _ in 0..10_000 {
            held.request(libc::PTRACE_INTERRUPT);
            let mut status = 0;
            // SAFETY: the status is written into a live integer.
            let stopped = unsafe { libc::waitpid(held.0, &raw mut status, libc::__WALL) };
            let error = io::Error::last_os_error();
            assert!(stopped == held.0 && libc::WIFSTOPPED(status), "{name}: {status}, {error}");
            // The number of the system call is its first word: -1 outside of any.
            let call = std::fs::read_to_string(thread.path().join("syscall")).unwrap();
            let number = call.split_whitespace().next().and_then(|number| number.parse().ok());
            if number.is_some_and(|number| WAITING.contains(&number) || WAITING_BY_OLD_CALLS.contains(&number)) {
                return held;
            }
            held.request(libc::PTRACE_CONT);
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("{name} never waits");
    }

    fn request(&self, request: libc::c_uint) {
        // SAFETY: no request of this module reads or writes memory of ours; the thread is that of a child (the
        // caller's promise).
        let result = unsafe { libc::ptrace(request, self.0, ptr::null_mut::<u8>(), ptr::null_mut::<u8>()) };
        assert_eq!(result, 0, "ptrace({request}, {}): {}", self.0, io::Error::last_os_error());
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // Fails only when the process has ended.
        // SAFETY: the request touches no memory of ours, and the thread is held by us.
        let _ = unsafe { libc::ptrace(libc::PTRACE_DETACH, self.0, ptr::null_mut::<u8>(), ptr::null_mut::<u8>()) };
    }
}

/// Resource of which a process has a limited amount (getrlimit(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// Bytes of any one file: RLIMIT_FSIZE. Over it: SIGXFSZ, or EFBIG where that is ignored.
    FileBytes,
    /// Open descriptors: RLIMIT_NOFILE. Over it: EMFILE.
    Descriptors,
}

impl Resource {
    fn number(self) -> libc::__rlimit_resource_t {
        match self {
            Self::FileBytes => libc::RLIMIT_FSIZE,
            Self::Descriptors => libc::RLIMIT_NOFILE,
        }
    }
}

/// Gives the process that `command` starts so much of `resource`: `soft` for now, and `hard` as the most it may ask
/// for.
pub fn limit(command: &mut Command, resource: Resource, soft: u64, hard: u64) {
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: between fork and exec only setrlimit(2) runs, which is async-signal-safe and reads a structure that the
    // closure owns.
    unsafe {
        command.pre_exec(move || match libc::setrlimit(resource.number(), &raw const limit) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        });
    }
}

/// Changes the soft limit of a running child (prlimit(2), Linux 2.6.36), and returns what it was.
pub fn change_limit(pid: u32, resource: Resource, soft: u64) -> u64 {
    let pid = i32::try_from(pid).unwrap();
    let mut before = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a null pointer says that no new limit is given; the old one is written into a live structure.
    let read = unsafe { libc::prlimit(pid, resource.number(), ptr::null(), &raw mut before) };
    let after = libc::rlimit { rlim_cur: soft, rlim_max: before.rlim_max };
    // SAFETY: the new limit is a live structure, and a null pointer says that the old one is not wanted.
    let written = unsafe { libc::prlimit(pid, resource.number(), &raw const after, ptr::null_mut()) };
    assert_eq!((read, written), (0, 0), "prlimit({pid}): {}", io::Error::last_os_error());
    before.rlim_cur
}

/// Fixes the receive buffer of `stream` (SO_RCVBUF, socket(7); the kernel doubles it), so that a peer's sends soon
/// stall.
pub fn limit_receive_buffer(stream: &TcpStream, bytes: i32) {
    let length = libc::socklen_t::try_from(mem::size_of::<i32>()).unwrap();
    // SAFETY: the descriptor is open for as long as `stream` is borrowed, and the value is a live i32 of that length.
    let result = unsafe {
        libc::setsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVBUF, (&raw const bytes).cast(), length)
    };
    assert_eq!(result, 0, "SO_RCVBUF: {}", io::Error::last_os_error());
}

/// Makes `stream` end with a reset instead of an end of file when it is dropped (SO_LINGER of zero, socket(7)).
pub fn reset_on_drop(stream: &TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let length = libc::socklen_t::try_from(mem::size_of::<libc::linger>()).unwrap();
    // SAFETY: the descriptor is open for as long as `stream` is borrowed, and the value is a live structure of that
    // length.
    let result = unsafe {
        libc::setsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, (&raw const linger).cast(), length)
    };
    assert_eq!(result, 0, "SO_LINGER: {}", io::Error::last_os_error());
}
