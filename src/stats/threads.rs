//! CPU time of single threads, from /proc: nothing runs on the threads themselves.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The threads of reactors and of the writer, once they are found.
#[derive(Debug)]
pub struct ThreadTimes {
    reactors: Vec<Option<PathBuf>>,
    writer: Option<PathBuf>,
}

/// CPU time of the threads so far, in nanoseconds; `None` where it is not known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CpuTimes {
    /// Each reactor's.
    pub reactors_ns: Vec<Option<u64>>,
    /// The writer's.
    pub writer_ns: Option<u64>,
}

impl ThreadTimes {
    /// No thread is known yet.
    #[must_use]
    pub fn new(reactors: usize) -> Self {
        Self { reactors: vec![None; reactors], writer: None }
    }

    /// Reads the times: one small file for each thread.
    pub fn read(&mut self) -> CpuTimes {
        if self.writer.is_none() || self.reactors.contains(&None) {
            self.find();
        }
        CpuTimes {
            reactors_ns: self.reactors.iter().map(|path| cpu_ns(path.as_deref())).collect(),
            writer_ns: cpu_ns(self.writer.as_deref()),
        }
    }

    /// Looks for the threads by their names.
    fn find(&mut self) {
        for entry in fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
            let path = entry.path();
            let Ok(name) = fs::read_to_string(path.join("comm")) else { continue };
            let index = name.trim_end().strip_prefix("reactor-").and_then(|index| index.parse::<usize>().ok());
            if let Some(place) = index.and_then(|index| self.reactors.get_mut(index)) {
                *place = Some(path.join("schedstat"));
            } else if name.trim_end() == "writer" {
                self.writer = Some(path.join("schedstat"));
            }
        }
    }
}

/// The first number of schedstat (Documentation/scheduler/sched-stats.rst): nanoseconds on a CPU.
fn cpu_ns(path: Option<&Path>) -> Option<u64> {
    fs::read_to_string(path?).ok()?.split_ascii_whitespace().next()?.parse().ok()
}
