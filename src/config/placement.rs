//! Assignment of threads to cores.

use super::WriterCore;
use serde::Deserialize;
use std::{io, str::FromStr};

/// A list of cores as written: `auto`, `0-3`, `0,2`, `0-1,4`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(try_from = "String")]
pub enum CoreList {
    /// All cores that this process may use.
    #[default]
    Auto,
    /// These cores, sorted and without duplicates.
    Cores(Vec<usize>),
}

/// The largest core number: the size of the kernel's `cpu_set_t`, minus one.
const CORE_MAX: usize = 1023;

impl FromStr for CoreList {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "expected auto or a list of cores such as 0-3 or 0,2";
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let mut cores = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let first: usize = first.trim().parse().map_err(|_| EXPECTED)?;
            let last: usize = last.trim().parse().map_err(|_| EXPECTED)?;
            if first > last || last > CORE_MAX {
                return Err(EXPECTED);
            }
            cores.extend(first..=last);
        }
        cores.sort_unstable();
        cores.dedup();
        Ok(Self::Cores(cores))
    }
}

impl TryFrom<String> for CoreList {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// The cores that this process may run on: its affinity mask, which a cpuset or `taskset` may have made smaller than
/// the machine (sched_getaffinity(2)). In rising order.
///
/// # Errors
/// The mask cannot be read.
pub fn allowed_cores() -> io::Result<Vec<usize>> {
    let ids = core_affinity::get_core_ids().filter(|ids| !ids.is_empty());
    let mut cores: Vec<usize> = ids.ok_or_else(io::Error::last_os_error)?.into_iter().map(|core| core.id).collect();
    cores.sort_unstable();
    Ok(cores)
}

/// The core of each thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// One entry a reactor: the core it is pinned to.
    pub reactor_cores: Vec<usize>,
    /// The core that the writer is pinned to.
    pub writer_core: usize,
}

impl Placement {
    /// Places one reactor on each core and the writer on the last; a single core runs both. With more reactors than
    /// cores without the writer, reactors are placed round-robin on all cores, the writer's last.
    ///
    /// # Errors
    /// A core that this process may not use, or no reactor.
    pub fn resolve(
        cores: &CoreList,
        reactors: Option<usize>,
        writer: WriterCore,
        allowed: &[usize],
    ) -> Result<Self, String> {
        let check = |core: &usize| match allowed.contains(core) {
            true => Ok(()),
            false => Err(format!("core {core} is not one of the cores this process may use: {allowed:?}")),
        };
        let cores: Vec<usize> = match cores {
            CoreList::Auto => allowed.to_vec(),
            CoreList::Cores(cores) => cores.clone(),
        };
        cores.iter().try_for_each(check)?;
        let Some(&last) = cores.last() else { return Err("no core to run on".into()) };
        let writer_core = match writer {
            WriterCore::Auto => last,
            WriterCore::Core(core) => core,
        };
        check(&writer_core)?;

        let beside_writer: Vec<usize> = cores.iter().copied().filter(|&core| core != writer_core).collect();
        let free = if beside_writer.is_empty() { &cores } else { &beside_writer };
        let count = reactors.unwrap_or(free.len());
        if !(1..=crate::limits::REACTORS_CAP).contains(&count) {
            return Err(format!("--reactors must be from 1 to {}, not {count}", crate::limits::REACTORS_CAP));
        }
        let mut round = free.clone();
        if count > free.len() {
            round.extend(cores.iter().filter(|core| !free.contains(core)));
        }
        Ok(Self { reactor_cores: round.iter().copied().cycle().take(count).collect(), writer_core })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        for (text, cores) in
            [("0", vec![0]), ("0-3", vec![0, 1, 2, 3]), ("2,0", vec![0, 2]), ("0-1,1-2", vec![0, 1, 2])]
        {
            assert_eq!(text.parse(), Ok(CoreList::Cores(cores)), "{text}");
        }
        for text in ["", "x", "3-1", "0,", "-1", "0-99999999"] {
            assert!(text.parse::<CoreList>().is_err(), "{text}");
        }
    }

    #[test]
    fn threads_are_placed_as_the_manual_says() {
        use WriterCore::{Auto, Core};
        let auto = CoreList::Auto;
        for (reactors, writer, allowed, expected) in [
            (None, Auto, vec![0, 1, 2, 3], (vec![0, 1, 2], 3)),
            (None, Auto, vec![5], (vec![5], 5)),
            (None, Core(0), vec![0, 1, 2], (vec![1, 2], 0)),
            (Some(2), Auto, vec![0, 1, 2, 3], (vec![0, 1], 3)),
            (Some(2), Auto, vec![0, 1], (vec![0, 1], 1)),
            (Some(3), Auto, vec![0, 1], (vec![0, 1, 0], 1)),
            (Some(3), Auto, vec![4], (vec![4, 4, 4], 4)),
        ] {
            let placement = Placement::resolve(&auto, reactors, writer, &allowed).unwrap();
            assert_eq!(
                (placement.reactor_cores, placement.writer_core),
                expected,
                "{reactors:?} {writer:?} {allowed:?}"
            );
        }
        assert!(Placement::resolve(&CoreList::Cores(vec![1]), None, Auto, &[0]).unwrap_err().contains("core 1"));
        assert!(Placement::resolve(&auto, None, Core(7), &[0]).unwrap_err().contains("core 7"));
    }
}
