//! The choices of a seed: the configuration, the load, the faults, and how each life of the server ends.

use machine::{Faults, Random};
use std::time::Duration;

/// The end of one life of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The process is killed: everything that it wrote is seen by the next.
    Kill,
    /// Power is lost: what was not synced survives in part.
    PowerCut,
    /// It is stopped, and takes its time.
    Stop,
    /// It is stopped, and then power is lost.
    StopAndPowerCut,
}

/// The options of a run.
#[derive(Debug, Clone)]
pub struct Options {
    pub reactors: usize,
    pub ring_bytes: usize,
    pub batches: u64,
    pub lines_max: u64,
    pub pad_max: u64,
    pub outstanding_max: u64,
    pub levels: Levels,
    pub rotate_bytes: Option<u64>,
    pub rotate_age: Option<Duration>,
    pub asked_rotations: u64,
    pub maintenance: bool,
    pub compress: bool,
    pub retain_bytes: Option<u64>,
    pub retain_age: Option<Duration>,
    pub poll: Duration,
    pub faults: Faults,
    pub endings: Vec<Ending>,
}

/// Weights of the levels of acknowledgement: memory, write, fsync.
#[derive(Debug, Clone, Copy)]
pub struct Levels(pub [u64; 3]);

/// One of the chances that a fault has in a run that has it.
fn rate(random: &mut Random, choices: &[u32]) -> u32 {
    random.pick(choices)
}

impl Options {
    /// Draws the options of a run.
    pub fn draw(random: &mut Random) -> Self {
        let mut faults = Faults {
            switch: rate(random, &[2_000, 10_000, 30_000, 65_536]),
            delay: rate(random, &[0, 6_000, 20_000]),
            ..Faults::default()
        };
        // Swarms: each run has some kinds of faults and not the others.
        for (chance, rates) in [
            (&mut faults.short_write, &[300, 3_000, 20_000][..]),
            (&mut faults.interrupted, &[300, 3_000]),
            (&mut faults.full, &[20, 100]),
            (&mut faults.write_error, &[10, 100]),
            (&mut faults.read_error, &[10, 100]),
            (&mut faults.sync_error, &[200, 1_500]),
            (&mut faults.no_descriptor, &[30, 400]),
            (&mut faults.clock_step, &[4, 20]),
        ] {
            if random.below(5) == 0 {
                *chance = rate(random, rates);
            }
        }
        let kinds: &[Ending] = match random.below(3) {
            0 => &[Ending::Kill, Ending::Kill, Ending::Stop],
            1 => &[Ending::PowerCut, Ending::PowerCut, Ending::Kill],
            _ => &[Ending::Kill, Ending::PowerCut, Ending::Stop, Ending::StopAndPowerCut],
        };
        let lives = random.between(1, 5);
        let maintenance = random.below(3) > 0;
        Self {
            reactors: random.between(1, 4) as usize,
            ring_bytes: 1 << random.between(12, 16),
            batches: random.between(1, 60),
            lines_max: random.pick(&[1, 3, 12, 30]),
            pad_max: random.pick(&[0, 40, 400]),
            outstanding_max: random.pick(&[1, 2, 8, 30]),
            levels: Levels(random.pick(&[[0, 1, 0], [0, 0, 1], [1, 1, 1], [0, 3, 1], [1, 0, 3]])),
            rotate_bytes: (random.below(4) > 0).then(|| random.pick(&[1, 2_000, 8_000, 30_000, 64 << 10])),
            rotate_age: (random.below(4) == 0).then(|| Duration::from_millis(random.pick(&[1_000, 3_000]))),
            asked_rotations: random.pick(&[0, 0, 1, 5]),
            maintenance,
            compress: random.below(2) == 0,
            retain_bytes: (random.below(3) == 0).then(|| random.pick(&[1, 10_000, 60_000])),
            retain_age: (random.below(5) == 0).then(|| Duration::from_secs(random.pick(&[1, 30, 86_400]))),
            poll: random.pick(&[Duration::ZERO, Duration::from_micros(10)]),
            faults,
            endings: (0..lives).map(|_| random.pick(kinds)).collect(),
        }
    }
}
