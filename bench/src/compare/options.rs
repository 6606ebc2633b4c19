//! The command line of `compare`: what was typed, checked and settled into a [`Plan`].

use super::{
    client::Client,
    scenario::{self, Cell, SCENARIOS, SMOKE, Scenario},
    subject::{SUBJECTS, Subject},
};
use crate::cores;
use clap::{CommandFactory, Parser, error::ErrorKind};
use metricstream::config::CoreList;
use std::{
    env,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

/// Measures this server, the floor, nginx, VictoriaMetrics and InfluxDB under the same loads, in turns, on the same
/// cores.
///
/// Each round measures every cell (a scenario, a subject, a client) once, in a fresh process with an empty directory.
/// Prints medians with their least and greatest over the rounds, and ratios taken within each round; stores them with
/// the raw data.
#[derive(Debug, Parser)]
#[command(name = "compare", version)]
struct Arguments {
    /// Rounds over all cells.
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Measured seconds of a cell; wrk takes the next whole number.
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    seconds: Duration,
    /// Seconds of load before that, not counted [default: a quarter of --seconds].
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    warmup: Option<Duration>,
    /// Servers to measure, by name [default: all].
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    subjects: Vec<String>,
    /// Loads to put on them, by name [default: all].
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    scenarios: Vec<String>,
    /// Programs that make the loads, by name [default: both].
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    clients: Vec<String>,
    /// Cores of the server, as 0,2 or 0-3 [default: the first that may be used].
    #[arg(long, value_name = "LIST")]
    server_cores: Option<CoreList>,
    /// Cores of the client, a thread on each [default: the second, or the first where it is the only one].
    #[arg(long, value_name = "LIST")]
    client_cores: Option<CoreList>,
    /// Both on all the cores, as they run when nobody pins them.
    #[arg(long, conflicts_with_all = ["server_cores", "client_cores"])]
    all_cores: bool,
    /// The host's name in the results [default: its own].
    #[arg(long)]
    name: Option<String>,
    /// Directory in which that of the results is made [default: perf/runs; with --smoke they are not kept].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Directory in which servers write, in one that is deleted at the end; for --ack fsync it should be on a disk
    /// [default: beside this program].
    #[arg(long, value_name = "DIR")]
    work_dir: Option<PathBuf>,
    /// Touches the free memory first, and keeps the kernel from giving it back to the host until the end: a virtual
    /// machine is given a page by its host at its first touch, which costs the server that is measured.
    #[arg(long)]
    touch_memory: bool,
    /// One round of 0.3 s in two scenarios, to see that all of it works.
    #[arg(long, conflicts_with_all = ["rounds", "seconds", "warmup", "scenarios"])]
    smoke: bool,
}

/// Plan of the measurements, fully resolved.
#[derive(Debug)]
pub struct Plan {
    /// Rounds, at least 1.
    pub rounds: u32,
    /// Counted part of a cell.
    pub measured: Duration,
    /// Load before that.
    pub warmup: Duration,
    /// In the order of a round; at least one.
    pub cells: Vec<Cell>,
    /// Cells that are left out, and why.
    pub skipped: Vec<String>,
    /// Cores of every server.
    pub server_cores: Vec<usize>,
    /// Cores of every client.
    pub client_cores: Vec<usize>,
    /// True if the free memory is touched before the first round.
    pub touch_memory: bool,
    /// Replaces the host's name.
    pub name: Option<String>,
    /// Parent of the results' directory; none when they are not kept.
    pub out: Option<PathBuf>,
    /// Parent of the directory that servers write to.
    pub work_dir: PathBuf,
    /// The programs.
    pub programs: Programs,
}

/// Programs that are there.
#[derive(Debug, Default)]
pub struct Programs {
    /// Ours.
    pub floor: Option<PathBuf>,
    /// Ours.
    pub metricstream: Option<PathBuf>,
    /// Ours.
    pub load_test: Option<PathBuf>,
    /// Debian's.
    pub nginx: Option<PathBuf>,
    /// Debian's.
    pub victoria_metrics: Option<PathBuf>,
    /// Debian's.
    pub influxd: Option<PathBuf>,
    /// Debian's.
    pub wrk: Option<PathBuf>,
}

/// A cell's time beside its load: starting and ending the processes, deleting the data. VictoriaMetrics takes the most.
const CELL_OVERHEAD: Duration = Duration::from_millis(300);
/// One cell at most.
const SECONDS_MAX: f64 = 3600.0;
const SMOKE_MEASURED: Duration = Duration::from_millis(300);

impl Plan {
    /// Returns the approximate duration of the whole plan.
    #[must_use]
    pub fn total(&self) -> Duration {
        let round: Duration =
            self.cells.iter().map(|cell| self.warmup + cell.client.length(self.measured) + CELL_OVERHEAD).sum();
        round * self.rounds
    }
}

impl Programs {
    /// Ours are beside this program, the others on the path and in /usr/sbin, where Debian has nginx.
    fn find(directory: &Path) -> Self {
        let own = |name: &str| Some(directory.join(name)).filter(|path| path.is_file());
        let path = env::var_os("PATH").unwrap_or_default();
        let places: Vec<PathBuf> = env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]).collect();
        let installed = |name: &str| places.iter().map(|place| place.join(name)).find(|path| path.is_file());
        Self {
            floor: own("floor"),
            metricstream: own("metricstream"),
            load_test: own("load_test"),
            nginx: installed("nginx"),
            victoria_metrics: installed("victoria-metrics"),
            influxd: installed("influxd"),
            wrk: installed("wrk"),
        }
    }
}

/// Reads the command line, program name first, and resolves it: looks for the programs and the cores.
///
/// # Errors
/// An invalid command line, or the text that `--help` or `--version` requests; [`clap::Error::exit`] prints either.
pub fn parse(arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<Plan, clap::Error> {
    let typed = Arguments::try_parse_from(arguments)?;
    let found = directory().map_err(|error| format!("where is this program: {error}"));
    found
        .and_then(|directory| settle(typed, &directory, Programs::find(&directory)))
        .map_err(|message| Arguments::command().error(ErrorKind::ValueValidation, message))
}

fn directory() -> io::Result<PathBuf> {
    Ok(env::current_exe()?.parent().unwrap_or(Path::new(".")).to_owned())
}

fn settle(typed: Arguments, directory: &Path, programs: Programs) -> Result<Plan, String> {
    let all: Vec<_> = SCENARIOS.iter().collect();
    let scenarios = match typed.smoke {
        true => all.into_iter().filter(|scenario| SMOKE.contains(&scenario.name)).collect(),
        false => chosen("scenario", &typed.scenarios, all, |scenario: &&Scenario| scenario.name)?,
    };
    let subjects = SUBJECTS.iter().collect();
    let mut subjects = chosen("subject", &typed.subjects, subjects, |subject: &&Subject| subject.name)?;
    let mut clients = chosen("client", &typed.clients, Client::ALL.to_vec(), |client| client.name())?;
    // wrk is warmed up for by load_test.
    Client::LoadTest.program(&programs)?;
    let mut skipped = Vec::new();
    let mut there = |name: &str, program: Result<&Path, &str>| match program {
        Ok(_) => true,
        Err(missing) => {
            skipped.push(format!("{name}: {missing}"));
            false
        }
    };
    subjects.retain(|subject| there(subject.name, subject.program(&programs)));
    clients.retain(|client| there(client.name(), client.program(&programs)));
    let cells = scenario::cells(&scenarios, &subjects, &clients);
    if cells.is_empty() {
        return Err(format!("nothing is left to measure; skipped: {skipped:?}"));
    }

    let allowed = cores::allowed();
    let listed = |list: Option<CoreList>, default: Option<&usize>| match list {
        Some(CoreList::Cores(cores)) => match cores.iter().find(|core| !allowed.contains(core)) {
            Some(core) => Err(format!("core {core} is not among those this process may use: {allowed:?}")),
            None => Ok(cores),
        },
        Some(CoreList::Auto) => Ok(allowed.clone()),
        None if typed.all_cores => Ok(allowed.clone()),
        None => Ok(default.into_iter().copied().collect()),
    };
    let measured = if typed.smoke { SMOKE_MEASURED } else { typed.seconds };
    Ok(Plan {
        rounds: if typed.smoke { 1 } else { typed.rounds },
        measured,
        warmup: typed.warmup.unwrap_or(measured / 4),
        cells,
        skipped,
        server_cores: listed(typed.server_cores, allowed.first())?,
        client_cores: listed(typed.client_cores, allowed.get(1).or(allowed.first()))?,
        touch_memory: typed.touch_memory,
        name: typed.name,
        out: typed.out.or((!typed.smoke).then(|| PathBuf::from("perf/runs"))),
        work_dir: typed.work_dir.unwrap_or_else(|| directory.to_owned()),
        programs,
    })
}

/// Those of `all` that `names` name, in the order of `all`; all of them when nothing is named.
fn chosen<T>(what: &str, names: &[String], all: Vec<T>, name: impl Fn(&T) -> &str) -> Result<Vec<T>, String> {
    let known: Vec<_> = all.iter().map(|one| name(one).to_owned()).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(name)) {
        return Err(format!("there is no {what} '{unknown}'; there are {}", known.join(", ")));
    }
    Ok(all.into_iter().filter(|one| names.is_empty() || names.iter().any(|given| given == name(one))).collect())
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.05..=SECONDS_MAX).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err(format!("a number of seconds, from 0.05 to {SECONDS_MAX}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn everything() -> Programs {
        let there = || Some(PathBuf::from("/bin/true"));
        Programs {
            floor: there(),
            metricstream: there(),
            load_test: there(),
            nginx: there(),
            victoria_metrics: there(),
            influxd: there(),
            wrk: there(),
        }
    }

    fn typed(line: &str, programs: Programs) -> Result<Plan, String> {
        let words = ["compare"].into_iter().chain(line.split_whitespace());
        let typed = Arguments::try_parse_from(words).map_err(|error| error.to_string())?;
        settle(typed, Path::new("/srv"), programs)
    }

    #[test]
    fn by_default_all_of_it_is_measured_seven_times() {
        let plan = typed("", everything()).unwrap();
        assert_eq!((plan.rounds, plan.measured), (7, Duration::from_secs(2)));
        assert_eq!(plan.warmup, Duration::from_millis(500));
        assert!(plan.cells.len() > SCENARIOS.len() * 6);
        assert_eq!((plan.server_cores.len(), plan.client_cores.len()), (1, 1));
        assert_eq!(plan.out.as_deref(), Some(Path::new("perf/runs")));
        assert!(plan.total() > plan.measured * 7 * u32::try_from(plan.cells.len()).unwrap());
    }

    #[test]
    fn names_choose() {
        let plan = typed("--subjects nginx,floor-epoll --scenarios c64,b1 --clients load_test", everything()).unwrap();
        let names: Vec<_> = plan.cells.iter().map(|cell| (cell.scenario.name, cell.subject.name)).collect();
        assert_eq!(names, [("c64", "floor-epoll"), ("c64", "nginx"), ("b1", "floor-epoll"), ("b1", "nginx")]);
        let error = typed("--subjects apache", everything()).unwrap_err();
        assert!(error.contains("apache") && error.contains("nginx"), "{error}");
    }

    #[test]
    fn what_is_missing_is_skipped_and_reported() {
        let programs = Programs { nginx: None, wrk: None, ..everything() };
        let plan = typed("", programs).unwrap();
        assert_eq!(plan.skipped, ["nginx: nginx is not installed", "wrk: wrk is not installed"]);
        assert!(plan.cells.iter().all(|cell| cell.client == Client::LoadTest && cell.subject.name != "nginx"));
        assert!(typed("--subjects nginx", Programs { nginx: None, ..everything() }).is_err());
        assert!(typed("", Programs { load_test: None, ..everything() }).is_err());
    }

    #[test]
    fn a_smoke_run_is_short_and_keeps_nothing() {
        let plan = typed("--smoke", everything()).unwrap();
        assert!(plan.total() < Duration::from_secs(20), "{:?}", plan.total());
        assert_eq!(plan.out, None);
        assert_eq!(typed("--smoke --out here", everything()).unwrap().out, Some(PathBuf::from("here")));
    }

    #[test]
    fn wrong_use_is_reported() {
        for line in
            ["--rounds 0", "--seconds 0", "--seconds x", "--smoke --rounds 2", "--server-cores 99999", "--only x"]
        {
            assert!(typed(line, everything()).is_err(), "{line}");
        }
        let both = typed("--all-cores", everything()).unwrap();
        assert_eq!((&both.server_cores, &both.client_cores), (&cores::allowed(), &cores::allowed()));
    }
}
