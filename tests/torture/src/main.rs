//! `torture`: kills the server, fills its disk, breaks its disk. See `--help`; scripts/crash_test.sh,
//! scripts/full_disk.sh and scripts/failing_disk.sh build what it needs.

use clap::{Args, Parser, Subcommand};
use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};
use testkit::random::Random;
use torture::{
    Driver, Level, Subject, crash,
    failing_disk::{self, Fault},
    figures::Figures,
    full_disk::{self, Disk},
    power::PowerCuts,
    shim::Shim,
};

/// Something that has to be zero is not.
const UNSOUND: u8 = 1;
/// It could not be tried.
const NOT_TRIED: u8 = 2;

/// Compares the log with the responses to clients, while the server is killed, its disk is full, or its disk fails.
#[derive(Debug, Parser)]
#[command(
    name = "torture",
    after_help = "Exit code: 0 everything that must be zero is, 1 it is not, 2 it could not be tried."
)]
struct CommandLine {
    #[command(subcommand)]
    test: Test,
}

#[derive(Debug, Subcommand)]
enum Test {
    /// SIGKILL at random moments: under load, while it starts and recovers, while it stops
    Crash {
        /// Kills for each driver and level
        #[arg(long, default_value_t = 100)]
        kills: u64,
        /// Lose power, too, at some of the kills
        #[arg(long, default_value = "on")]
        power_cuts: PowerCuts,
        #[command(flatten)]
        matrix: Matrix,
    },
    /// A disk that is full and has space again, full at a stop, full at a kill
    FullDisk {
        /// Directory on a small file system of its own; what is in it is deleted
        #[arg(long)]
        disk: PathBuf,
        #[command(flatten)]
        matrix: Matrix,
    },
    /// A disk whose writes and syncs fail, or a directory that vanishes. Needs a C compiler
    FailingDisk {
        /// Only this fault
        #[arg(long)]
        fault: Option<Fault>,
        #[command(flatten)]
        matrix: Matrix,
    },
}

/// Combinations to try.
#[derive(Debug, Args)]
struct Matrix {
    /// The server
    #[arg(long)]
    binary: PathBuf,
    /// Only this driver
    #[arg(long)]
    driver: Option<Driver>,
    /// Only this level
    #[arg(long)]
    level: Option<Level>,
    /// Repeats the choices of a run
    #[arg(long)]
    seed: Option<u64>,
}

impl Matrix {
    /// Tries `test` with every driver and level, each in a directory of its own in `parent`, and prints the rows and
    /// their sum.
    fn run(
        &self,
        parent: &Path,
        names: &[&str],
        mut test: impl FnMut(&Subject, usize) -> io::Result<Figures>,
    ) -> io::Result<bool> {
        let seed = self.seed.unwrap_or_else(Random::new_seed);
        println!("seed {seed}\n{}", Figures::header());
        let mut random = Random::new(seed);
        let mut total = Figures::default();
        for driver in Driver::ALL {
            for level in Level::ALL {
                for (index, name) in names.iter().enumerate() {
                    let seed = random.number();
                    if self.driver.is_some_and(|only| only != driver) || self.level.is_some_and(|only| only != level) {
                        continue;
                    }
                    let directory = parent.join(format!("{}-{}-{index}", driver.name(), level.name()));
                    let subject = Subject { binary: self.binary.clone(), driver, level, directory, seed };
                    let title = format!("{subject} {name}");
                    let figures =
                        test(&subject, index).map_err(|error| io::Error::other(format!("{title}: {error}")))?;
                    println!("{}", figures.row(&title));
                    if figures.is_sound() {
                        fs::remove_dir_all(&subject.directory)?;
                    } else {
                        println!("  the log is kept in {}", subject.directory.display());
                    }
                    for problem in &figures.problems {
                        println!("  {problem}");
                    }
                    total += &figures;
                }
            }
        }
        println!("{}", total.row("total"));
        println!("{}", if total.is_sound() { "sound: everything that must be zero is" } else { "UNSOUND" });
        Ok(total.is_sound())
    }
}

fn main() -> ExitCode {
    match run(&CommandLine::parse().test) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(UNSOUND),
        Err(error) => {
            eprintln!("torture: {error}");
            ExitCode::from(NOT_TRIED)
        }
    }
}

fn run(test: &Test) -> io::Result<bool> {
    let scratch = tempfile::Builder::new().prefix("torture-").tempdir()?;
    let sound = match test {
        Test::Crash { kills, power_cuts, matrix } => {
            let shim = match Shim::build(scratch.path()) {
                Ok(shim) => Some(shim),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    println!("skipped: kills at a chosen system call, as there is no C compiler: {error}");
                    None
                }
                Err(error) => return Err(error),
            };
            let plan = crash::Plan { kills: *kills, shim: shim.as_ref(), power_cuts: *power_cuts };
            matrix.run(scratch.path(), &[""], |subject, _| crash::run(subject, plan))
        }
        Test::FullDisk { disk, matrix } => {
            matrix.run(disk, &[""], |subject, _| full_disk::run(subject, &Disk::Small(disk.clone())))
        }
        Test::FailingDisk { fault, matrix } => {
            let shim = Shim::build(scratch.path())?;
            let faults: Vec<Fault> =
                Fault::ALL.into_iter().filter(|known| fault.is_none_or(|only| only == *known)).collect();
            let names: Vec<&str> = faults.iter().map(|fault| fault.name()).collect();
            matrix.run(scratch.path(), &names, |subject, index| failing_disk::run(subject, &shim, faults[index]))
        }
    };
    if !matches!(sound, Ok(true)) {
        let _ = scratch.keep();
    }
    sound
}
