//! The choices of a seed: the configuration, the load, the faults, and how each life of the server ends.

use log::AckLevel;
use machine::{Faults, Random};
use metricstream::forward::Compression;
use std::time::Duration;

/// One run in so many is long.
const LONG_ONE_IN: u64 = 16;

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
    pub requested_rotations: u64,
    pub maintenance: bool,
    pub compress: bool,
    pub retain_bytes: Option<u64>,
    pub retain_age: Option<Duration>,
    pub poll: Duration,
    /// The forward of the log, if there is one.
    pub forward: Option<Forward>,
    /// Queries of one who asks the log while it is written.
    pub queries: u64,
    /// Runs end soon after calls of a kind.
    pub ends_after: Option<EndsAfter>,
    /// log2 of the calls after which a life that is to be killed is killed, at most: later it has often ended.
    pub kill_calls_log_max: u64,
    /// Bits are flipped in the files that the last life has left.
    pub rots: bool,
    /// The service is in front of the log; otherwise its reactors hand batches over by themselves.
    pub http: Option<Http>,
    pub faults: Faults,
    pub endings: Vec<Ending>,
}

/// The calls after which a run ends.
#[derive(Debug, Clone, Copy)]
pub struct EndsAfter {
    pub call: &'static str,
    /// Number of calls, the first ones, of which one is chosen.
    pub first: u64,
    /// log2 of the calls that follow, at most.
    pub follow_log_max: u64,
}

/// Milestone of a run of the log: a reactor has handed over its last batch, and has all its acknowledgements.
pub const REACTOR_ENDS: &str = "a reactor ends";

/// Weights of the levels of acknowledgement: memory, write, fsync.
#[derive(Debug, Clone, Copy)]
pub struct Levels(pub [u64; 3]);

impl Levels {
    pub fn draw(self, random: &mut Random) -> AckLevel {
        let weights = self.0;
        let at = random.below(weights.iter().sum());
        if at < weights[0] {
            AckLevel::Memory
        } else if at < weights[0] + weights[1] {
            AckLevel::Write
        } else {
            AckLevel::Fsync
        }
    }
}

/// A forward of the log.
#[derive(Debug, Clone)]
pub struct Forward {
    pub batch_samples: usize,
    pub batch_age_ms: u64,
    pub compression: Compression,
    /// Version 2.0 is tried first.
    pub is_auto: bool,
}

/// The service in front of the log, and its clients.
#[derive(Debug, Clone)]
pub struct Http {
    pub clients: u64,
    pub requests: u64,
    /// Kinds of clients, each as likely.
    pub kinds: Vec<Kind>,
    pub rate_limit: Option<u32>,
    pub connections_limit: u32,
    pub ring_bytes: usize,
    /// The server is stopped while its clients send.
    pub drains_early: bool,
}

/// The way in which a client sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A request, its response, the next request.
    Whole,
    /// In small pieces, with pauses.
    Dripping,
    /// Several requests before it reads the responses, at once or in pieces.
    Pipelining,
    /// More requests than its connection may keep while it waits for the first response. It resets some connections.
    Overfilling,
    /// It resets some connections: before the end of a request, or before it reads the response.
    Resetting,
    /// It ends its direction before it reads.
    HalfClosing,
    /// It waits before it reads.
    SlowReading,
    /// More at once than its rate allows.
    Flooding,
    /// Bodies that are no batches.
    Malformed,
    /// Bodies in chunks.
    Chunked,
}

const KINDS: [Kind; 10] = [
    Kind::Whole,
    Kind::Dripping,
    Kind::Pipelining,
    Kind::Overfilling,
    Kind::Resetting,
    Kind::HalfClosing,
    Kind::SlowReading,
    Kind::Flooding,
    Kind::Malformed,
    Kind::Chunked,
];

impl Http {
    fn draw(random: &mut Random) -> Self {
        let kinds = random.between(1, 4);
        Self {
            clients: random.between(1, 6),
            requests: random.between(1, 12),
            kinds: (0..kinds).map(|_| random.pick(&KINDS)).collect(),
            rate_limit: (random.below(2) == 0).then(|| random.pick(&[1, 2, 5, 20])),
            connections_limit: random.pick(&[1, 2, 4, 100, 100]),
            ring_bytes: 1 << random.between(17, 19),
            drains_early: random.below(5) == 0,
        }
    }
}

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
        let runs = random.between(1, 5);
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
            requested_rotations: random.pick(&[0, 0, 1, 5]),
            maintenance,
            compress: random.below(2) == 0,
            retain_bytes: (random.below(3) == 0).then(|| random.pick(&[1, 10_000, 60_000])),
            retain_age: (random.below(5) == 0).then(|| Duration::from_secs(random.pick(&[1, 30, 86_400]))),
            forward: None,
            queries: 0,
            ends_after: None,
            kill_calls_log_max: 13,
            rots: false,
            http: None,
            poll: random.pick(&[Duration::ZERO, Duration::from_micros(10)]),
            faults,
            endings: (0..runs).map(|_| random.pick(kinds)).collect(),
        }
    }

    /// Draws what only some seeds have. Of a generator of its own, so that the others stay as they are.
    pub fn draw_more(&mut self, seed: u64) {
        let mut random = Random::new(seed ^ 0x6e65_7477_6f72_6b73);
        match seed % 6 {
            0 => {
                self.rots = true;
                self.faults.bit_rot = rate(&mut random, &[0, 3_000, 30_000]);
            }
            1 | 4 => self.draw_service(&mut random),
            3 => self.draw_pointed(&mut random),
            _ => {}
        }
        // Of a disk whose bits rot as they are read nobody else may read.
        if !self.rots && random.below(3) == 0 {
            self.queries = random.between(1, 8);
        }
        if !self.rots && random.below(4) == 0 {
            self.forward = Some(Forward {
                batch_samples: random.pick(&[1, 3, 10, 2_000]),
                batch_age_ms: random.pick(&[10, 1_000]),
                compression: random.pick(&[Compression::Snappy, Compression::Zstd]),
                is_auto: random.below(3) == 0,
            });
        }
        if random.below(5) == 0 {
            self.faults.slow_sync = rate(&mut random, &[6_000, 30_000]);
        }
        // Most runs are short: what there is to be found is mostly found in the first batches, and many runs see more
        // than a long one.
        if random.below(LONG_ONE_IN) > 0 {
            self.shorten(&mut random);
        }
    }

    /// True if segments are deleted.
    pub const fn retains(&self) -> bool {
        self.maintenance && (self.retain_bytes.is_some() || self.retain_age.is_some())
    }

    /// These options, with the least of a load.
    pub fn with_one_batch(mut self) -> Self {
        (self.batches, self.requested_rotations, self.queries) = (1, 0, 0);
        if let Some(http) = &mut self.http {
            (http.clients, http.requests) = (1, 1);
        }
        self
    }

    fn shorten(&mut self, random: &mut Random) {
        self.batches = random.between(1, 12);
        self.lines_max = random.pick(&[1, 2, 4, 8]);
        self.pad_max = random.pick(&[0, 40]);
        self.rotate_bytes = self.rotate_bytes.map(|_| random.pick(&[1, 500, 2_000]));
        self.retain_bytes = self.retain_bytes.map(|_| random.pick(&[1, 1_000, 4_000]));
        self.kill_calls_log_max = 10;
        self.endings.truncate(2);
        self.queries = self.queries.min(3);
        if let Some(http) = &mut self.http {
            http.clients = http.clients.min(3);
            http.requests = http.requests.min(4);
        }
    }

    /// Runs that end where files get and lose their names, and where an orderly stop is under way: few calls out of
    /// thousands.
    fn draw_pointed(&mut self, random: &mut Random) {
        let call = random.pick(&["unlink", "rename", "rename to a free name", "short write", REACTOR_ENDS]);
        let (first, follow_log_max) = match call {
            "unlink" => (4, 4),
            REACTOR_ENDS => (self.reactors as u64, 6),
            _ => (12, 5),
        };
        self.ends_after = Some(EndsAfter { call, first, follow_log_max });
        self.rotate_bytes = Some(random.pick(&[1, 2_000, 8_000]));
        (self.maintenance, self.compress) = (true, random.below(4) > 0);
        (self.retain_bytes, self.retain_age) = (None, None);
        self.faults.short_write = rate(random, &[0, 20_000, 50_000]);
        self.faults.delay = 0;
        let endings: &[Ending] = match call {
            // What was removed, and what was said of the end, is to be true without what only memory held.
            "unlink" | REACTOR_ENDS => &[Ending::PowerCut, Ending::PowerCut, Ending::PowerCut, Ending::Kill],
            _ => &[Ending::Kill, Ending::PowerCut],
        };
        self.endings = (0..random.between(2, 5)).map(|_| random.pick(endings)).collect();
        if call == "unlink" {
            // Of segments that were compressed, of which the batches must have survived.
            (self.compress, self.levels) = (true, Levels([0, 1, 3]));
        }
    }

    fn draw_service(&mut self, random: &mut Random) {
        self.http = Some(Http::draw(random));
        if random.below(3) == 0 {
            // What was acknowledged is known to a client by then, and is to survive.
            let call = random.pick(&["sync begins", "send", "write"]);
            self.ends_after = Some(EndsAfter { call, first: 12, follow_log_max: 8 });
            self.endings = (0..random.between(1, 3)).map(|_| random.pick(&[Ending::PowerCut, Ending::Kill])).collect();
            (self.levels, self.faults.slow_sync) = (Levels([0, 1, 3]), 20_000);
        }
        if self.http.as_ref().is_some_and(|http| http.kinds.contains(&Kind::Overfilling)) {
            // Nothing waits long enough for a connection to be full, otherwise.
            self.faults.slow_sync = 20_000;
            if random.below(2) == 0 {
                // What is counted for those that reset their connections is looked at where a run comes to its end.
                self.endings.fill(Ending::Stop);
            }
        }
        self.faults.net_delay = rate(random, &[0, 6_000, 30_000]);
        for (chance, rates) in [
            (&mut self.faults.net_cut, &[3_000, 20_000, 50_000][..]),
            (&mut self.faults.short_send, &[1_000, 20_000]),
            (&mut self.faults.net_reset, &[100, 1_000]),
            (&mut self.faults.zero_window, &[100, 2_000]),
            (&mut self.faults.accept_error, &[1_000, 10_000]),
            (&mut self.faults.late, &[2_000, 20_000]),
            (&mut self.faults.no_buffers, &[2_000, 20_000]),
        ] {
            if random.below(3) == 0 {
                *chance = rate(random, rates);
            }
        }
    }
}
