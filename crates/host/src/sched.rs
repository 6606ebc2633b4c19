//! Priority and cores of threads: of the calling one, for threads that yield to the serving ones.

use rustix::{
    process::{Pid, setpriority_process},
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
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

/// Returns the core to which a thread of this process is pinned: the only one on which it may run
/// (sched_getaffinity(2)). `None` also for a thread that has ended, and on a machine with over 1,024 cores.
#[must_use]
pub fn pinned_core(thread: i32) -> Option<usize> {
    let set = sched_getaffinity(Some(Pid::from_raw(thread)?)).ok().filter(|set| set.count() == 1)?;
    (0..CpuSet::MAX_CPU).find(|&core| set.is_set(core))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::thread::gettid;

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
            assert_eq!(pinned_core(gettid().as_raw_pid()), Some(core));
            std::thread::spawn(cores).join().unwrap()
        });
        assert_eq!(inner.join().unwrap(), [core]);
        assert_eq!(pinned_core(gettid().as_raw_pid()).is_some(), cores().len() == 1);
        assert_eq!(pinned_core(i32::MAX), None);
        assert!(set_affinity(&[]).is_err());
    }
}
