//! Priority and cores of the calling thread, for threads that yield to the serving ones.

use rustix::{
    process::setpriority_process,
    thread::{CpuSet, sched_setaffinity},
};
use std::io;

/// Sets the nice value of the calling thread, 1 to 19: the higher, the smaller its share of a core that another thread
/// wants too. It cannot be lowered again without privileges. On Linux the value is the thread's, against POSIX
/// (setpriority(2), NOTES).
///
/// # Errors
/// The error of the system call; the priority is unchanged.
pub fn set_nice(nice: i32) -> io::Result<()> {
    // The threads of the simulated machine are one thread of the system, whose priority is not theirs to set.
    if cfg!(feature = "sim") { Ok(()) } else { Ok(setpriority_process(None, nice)?) }
}

/// Restricts the calling thread, and the threads that it starts, to these cores (sched_setaffinity(2)).
///
/// # Errors
/// The error of the system call; `EINVAL` if the thread may run on none of them.
pub fn set_affinity(cores: &[usize]) -> io::Result<()> {
    if cfg!(feature = "sim") {
        return Ok(());
    }
    let mut set = CpuSet::new();
    cores.iter().filter(|&&core| core < CpuSet::MAX_CPU).for_each(|&core| set.set(core));
    Ok(sched_setaffinity(None, &set)?)
}

#[cfg(test)]
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
            set_nice(15).unwrap();
            assert_eq!(nice(), "15");
        })
        .join()
        .unwrap();
        assert_eq!(nice(), before);
    }

    #[test]
    fn threads_stay_on_the_cores_of_the_one_that_started_them() {
        let core = core_affinity::get_core_ids().unwrap()[0].id;
        let cores = || core_affinity::get_core_ids().unwrap().into_iter().map(|core| core.id).collect::<Vec<_>>();
        let inner = std::thread::spawn(move || {
            set_affinity(&[core]).unwrap();
            std::thread::spawn(cores).join().unwrap()
        });
        assert_eq!(inner.join().unwrap(), [core]);
        assert!(set_affinity(&[]).is_err());
    }
}
