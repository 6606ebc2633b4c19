//! Threads, limits and sockets by way of libc: the only file of the tests with `unsafe` in it.
#![expect(unsafe_code, reason = "ptrace(2), setrlimit(2), prlimit(2) and setsockopt(2) have no safe form in std")]

use std::{io, mem, net::TcpStream, os::fd::AsRawFd, os::unix::process::CommandExt, process::Command, ptr};

pub use torture::process::Signal;

/// A thread of a child process that stands still, while the others run, until this is dropped. To be dropped by the
/// thread that made it, which is what ptrace(2) calls the tracer.
#[derive(Debug)]
pub struct Frozen(i32);

impl Frozen {
    /// Holds the thread of the child `pid` that is called `name`.
    pub fn thread(pid: u32, name: &str) -> Self {
        let mut threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().map(Result::unwrap);
        let is_it = |path: &std::path::Path| std::fs::read_to_string(path.join("comm")).unwrap().trim_end() == name;
        let thread = threads.find(|thread| is_it(&thread.path())).unwrap_or_else(|| panic!("no thread {name}"));
        let thread: i32 = thread.file_name().to_str().unwrap().parse().unwrap();
        for request in [libc::PTRACE_SEIZE, libc::PTRACE_INTERRUPT] {
            // SAFETY: neither request reads or writes memory of ours; the thread is that of a child (the caller's
            // promise).
            let result = unsafe { libc::ptrace(request, thread, ptr::null_mut::<u8>(), ptr::null_mut::<u8>()) };
            assert_eq!(result, 0, "ptrace({request}, {thread}): {}", io::Error::last_os_error());
        }
        let mut status = 0;
        // SAFETY: the status is written into a live integer.
        let stopped = unsafe { libc::waitpid(thread, &raw mut status, libc::__WALL) };
        assert!(stopped == thread && libc::WIFSTOPPED(status), "{thread}: {status}, {}", io::Error::last_os_error());
        Self(thread)
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
