//! Compares what the parsers read, then times them, interleaved.
//!
//! A round times each candidate once (A B C, A B C, ...), so that a noisy machine is noisy for all. A candidate's
//! figure is the median of its rounds, and its ratio to ours is the median of the ratios within each round. The clock
//! is the monotonic one: Rust's library does not give a thread's own CPU time, and its file under /proc moves in
//! ticks. A turn in which the kernel gave the core to somebody else is taken again, a few times at most. Caches and
//! branch predictors are warm: every candidate walks through the whole input again and again.

use super::{BatchParser, Input, Sample, allocations};
use std::{fs, hint::black_box, time::Instant};

/// Maximum number of attempts at a turn that is not interrupted.
const TURN_ATTEMPTS_MAX: u32 = 5;

/// Duration of a measurement.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// At least 1.
    pub rounds: usize,
    /// Approximate time of one candidate in one round, and not less than one walk through the input.
    pub turn_ns: u128,
}

/// Comparison of a candidate's reading of an input with ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// The same metrics.
    Agrees,
    /// It refuses a batch that ours takes: why.
    Refuses(String),
    /// It takes it for something else: where.
    Differs(String),
}

/// A candidate's times on an input.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// Nanoseconds a metric: the median of the rounds.
    pub ns: f64,
    /// The fastest round.
    pub ns_min: f64,
    /// The slowest round.
    pub ns_max: f64,
    /// Bytes of body over the median time.
    pub gb_per_s: f64,
    /// Allocations a metric, once warm; none of a parser in another process.
    pub allocations: Option<f64>,
    /// Time as a multiple of ours.
    pub ratio: f64,
}

/// Result of a candidate on an input.
#[derive(Debug)]
pub struct Row {
    /// Name of the parser.
    pub parser: &'static str,
    /// Comparison of its reading with ours.
    pub reading: Reading,
    /// Timing; `None` if it refuses the input.
    pub timing: Option<Timing>,
}

/// The figures of one input.
#[derive(Debug)]
pub struct Table {
    /// Name of the input.
    pub input: String,
    /// Number of batches.
    pub batches: usize,
    /// Metrics in all of them.
    pub metrics: u64,
    /// Bytes in all of them.
    pub bytes: u64,
    /// A row for each candidate, ours first.
    pub rows: Vec<Row>,
}

/// Compares what every candidate reads of `input` with what the first one, ours, reads: a reading for each.
///
/// # Errors
/// Says which batch ours refuses: then there is nothing to compare with.
pub fn compare(input: &Input, candidates: &mut [Box<dyn BatchParser>]) -> Result<Vec<Reading>, String> {
    let mut readings = vec![Reading::Agrees; candidates.len()];
    for (index, body) in input.batches.iter().enumerate() {
        let json = body.json.as_bytes();
        let of_batch = |what: String| format!("batch {}: {what}", index + 1);
        let ours = candidates[0].samples(json).map_err(of_batch)?.unwrap_or_default();
        for (candidate, reading) in candidates.iter_mut().zip(&mut readings) {
            if *reading != Reading::Agrees {
                continue;
            }
            // Timing runs `parse`, so that has to take it too.
            let read = candidate.parse(json).and_then(|_| candidate.samples(json));
            *reading = match read {
                Err(why) => Reading::Refuses(of_batch(why)),
                Ok(None) => Reading::Agrees,
                Ok(Some(samples)) => {
                    difference(&ours, &samples).map_or(Reading::Agrees, |what| Reading::Differs(of_batch(what)))
                }
            };
        }
    }
    Ok(readings)
}

fn difference(ours: &[Sample], theirs: &[Sample]) -> Option<String> {
    if ours.len() != theirs.len() {
        return Some(format!("{} metrics instead of {}", theirs.len(), ours.len()));
    }
    let index = ours.iter().zip(theirs).position(|(ours, theirs)| !is_same(ours, theirs))?;
    Some(format!("metrics[{index}] is {:?} instead of {:?}", theirs[index], ours[index]))
}

/// Relative error that a library may make in a float: serde_json, unless configured to be exact, is off by two units in
/// the last place at times, and a unit is at most 2^-52 of the value.
const ROUNDING_MAX: f64 = 4.0 * f64::EPSILON;

/// Equal, but for the rounding of the value.
fn is_same(ours: &Sample, theirs: &Sample) -> bool {
    let close = (ours.value - theirs.value).abs() <= ROUNDING_MAX * ours.value.abs();
    close && *ours == Sample { value: ours.value, ..theirs.clone() }
}

/// Times each candidate whose reading lets it.
#[must_use]
pub fn measure(input: &Input, candidates: &mut [Box<dyn BatchParser>], readings: Vec<Reading>, pace: Pace) -> Table {
    let names: Vec<_> = candidates.iter().map(|candidate| candidate.name()).collect();
    let mut timed: Vec<Timed> = candidates
        .iter_mut()
        .zip(&readings)
        .filter(|(_, reading)| !matches!(reading, Reading::Refuses(_)))
        .map(|(candidate, _)| Timed::warmed_up(candidate.as_mut(), input, pace))
        .collect();
    for _ in 0..pace.rounds {
        for candidate in &mut timed {
            candidate.turn(input);
        }
    }

    let mut timings = {
        let ours = &timed[0].rounds_ns;
        timed.iter().map(|timed| timed.timing(input, ours)).collect::<Vec<_>>().into_iter()
    };
    let row = |(parser, reading): (_, Reading)| {
        let timing = if matches!(reading, Reading::Refuses(_)) { None } else { timings.next() };
        Row { parser, reading, timing }
    };
    Table {
        input: input.name.clone(),
        batches: input.batches.len(),
        metrics: input.metrics(),
        bytes: input.bytes(),
        rows: names.into_iter().zip(readings).map(row).collect(),
    }
}

/// Returns how often this thread was preempted, by the kernel's count (proc_pid_status(5)). Without a /proc it stays 0.
fn preemptions() -> u64 {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let count = status.lines().find_map(|line| line.strip_prefix("nonvoluntary_ctxt_switches:"));
    count.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

/// A candidate while it is timed.
struct Timed<'a> {
    parser: &'a mut dyn BatchParser,
    /// Walks through the input in one turn.
    walks: u32,
    times_itself: bool,
    allocations_per_walk: u64,
    /// Nanoseconds a walk, for each round.
    rounds_ns: Vec<f64>,
}

impl<'a> Timed<'a> {
    /// Lets it grow its buffers, counts its allocations, and finds out how many walks make a turn.
    fn warmed_up(parser: &'a mut dyn BatchParser, input: &Input, pace: Pace) -> Self {
        let times_itself = parser.times_itself(input);
        walk(parser, input);
        let before = allocations();
        let start = Instant::now();
        walk(parser, input);
        let own_ns = if times_itself { parser.walks_ns(1).ok() } else { None };
        let walk_ns = own_ns.map_or_else(|| start.elapsed().as_nanos(), u128::from).max(1);
        let allocations_per_walk = allocations() - before;
        let walks = u32::try_from(pace.turn_ns / walk_ns).unwrap_or(u32::MAX).max(1);
        Self { parser, walks, times_itself, allocations_per_walk, rounds_ns: Vec::with_capacity(pace.rounds) }
    }

    /// Takes its turn of a round, again if the kernel took the core away meanwhile.
    fn turn(&mut self, input: &Input) {
        let mut round_ns = f64::INFINITY;
        for _ in 0..TURN_ATTEMPTS_MAX {
            let before = preemptions();
            let spent_ns = if self.times_itself {
                self.parser.walks_ns(self.walks).map_or(f64::INFINITY, |ns| ns as f64)
            } else {
                let start = Instant::now();
                for _ in 0..self.walks {
                    walk(self.parser, input);
                }
                start.elapsed().as_nanos() as f64
            };
            round_ns = round_ns.min(spent_ns / f64::from(self.walks));
            if preemptions() == before {
                break;
            }
        }
        self.rounds_ns.push(round_ns);
    }

    fn timing(&self, input: &Input, ours_ns: &[f64]) -> Timing {
        let metrics = input.metrics() as f64;
        let walk_ns = median(self.rounds_ns.clone());
        let ratios = self.rounds_ns.iter().zip(ours_ns).map(|(theirs, ours)| theirs / ours).collect();
        Timing {
            ns: walk_ns / metrics,
            ns_min: self.rounds_ns.iter().copied().fold(f64::INFINITY, f64::min) / metrics,
            ns_max: self.rounds_ns.iter().copied().fold(0.0, f64::max) / metrics,
            gb_per_s: input.bytes() as f64 / walk_ns,
            allocations: (!self.times_itself).then(|| self.allocations_per_walk as f64 / metrics),
            ratio: median(ratios),
        }
    }
}

/// Reads every batch once. That each is taken has been seen in [`compare`].
fn walk(parser: &mut dyn BatchParser, input: &Input) {
    for body in &input.batches {
        let _ = black_box(parser.parse(black_box(body.json.as_bytes())));
    }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    if figures.len() % 2 == 1 { figures[middle] } else { f64::midpoint(figures[middle - 1], figures[middle]) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use metric::Kind;

    fn sample(name: &str, value: f64) -> Sample {
        Sample { name: name.to_owned(), value, kind: Kind::Gauge, timestamp_ms: None, tags: Vec::new() }
    }

    #[test]
    fn a_difference_is_found() {
        let ours = [sample("a", 0.1), sample("b", 2.0)];
        assert_eq!(difference(&ours, &ours), None);
        assert_eq!(difference(&ours, &[sample("a", 0.1_f64.next_up()), sample("b", 2.0)]), None);
        for theirs in [
            vec![],
            vec![sample("a", 0.1)],
            vec![sample("a", 0.1), sample("b", 2.1)],
            vec![sample("a", 0.1), sample("c", 2.0)],
            vec![sample("a", f64::NAN), sample("b", 2.0)],
            vec![sample("a", 0.1), Sample { kind: Kind::Counter, ..sample("b", 2.0) }],
            vec![sample("a", 0.1), Sample { timestamp_ms: Some(0), ..sample("b", 2.0) }],
            vec![sample("a", 0.1), Sample { tags: vec![(String::new(), String::new())], ..sample("b", 2.0) }],
        ] {
            assert!(difference(&ours, &theirs).is_some(), "{theirs:?}");
        }
    }

    #[test]
    fn the_middle_of_an_odd_and_of_an_even_number() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
    }
}
