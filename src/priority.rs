//! The priority of the calling thread, for those that work behind the ones that serve.
#![allow(unsafe_code)] // One system call, which the standard library does not have.

use std::io;

/// Makes the calling thread as `nice` as given, 1 to 19: the nicer, the less of a core it gets where another thread wants it too.
/// There is no way back without privileges. On Linux the value is the thread's, against POSIX (setpriority(2), NOTES).
///
/// # Errors
/// As the system says; the priority is as it was.
pub fn be_nice(nice: i32) -> io::Result<()> {
    // SAFETY: takes three integers and touches no memory of ours; a `who` of 0 is the calling thread.
    match unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    /// Field 19 of /proc/thread-self/stat (proc_pid_stat(5)): the name, in parentheses, is field 2.
    fn nice() -> String {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        fields.split(' ').nth(19 - 3).unwrap().to_owned()
    }

    #[test]
    fn one_thread_is_nice_and_the_others_are_not() {
        let before = nice();
        std::thread::spawn(|| {
            be_nice(15).unwrap();
            assert_eq!(nice(), "15");
        })
        .join()
        .unwrap();
        assert_eq!(nice(), before);
    }
}
