//! A load on two servers in turns: slice by slice, each a load of its own with new connections, so that what the host
//! does meanwhile is done to both. See [`Rounds`] for what is made of it.

use super::{
    Condition, Format, Plan, Report, Round, Rounds,
    baseline::{Change, differences},
    report,
    setup::{host, workload},
};
use crate::drivers::Chosen;
use std::{io, time::Duration};
use testkit::random::Random;

/// The measured part of a slice: what a host does to its guests lasts longer, and the kernel counts CPU time in steps
/// of 4 ms at most.
pub(super) const SLICE: Duration = Duration::from_millis(250);
/// Warm-up of a slice, unless another is given: the connects, and some hundred requests on each.
pub(super) const SLICE_WARMUP: Duration = Duration::from_millis(50);

/// Two servers, and how often each has its turn.
#[derive(Debug)]
pub struct Turns {
    /// The server that is the baseline, and the one that is compared with it. Each plan is of one slice.
    pub plans: [Plan; 2],
    /// Pairs of slices.
    pub pairs: u32,
    /// Earlier rounds of the same comparison.
    pub rounds: Rounds,
}

/// Outcome of the turns.
#[derive(Debug)]
pub struct TurnsOutcome {
    /// Slices; none when not one pair was complete.
    pub round: Option<Round>,
    /// A signal ended it early.
    pub interrupted: bool,
    /// This server does not listen.
    pub silent: Option<String>,
}

impl Turns {
    /// Refuses what is not comparable.
    ///
    /// # Errors
    /// In what the load of the two servers, or of an earlier round, differs.
    pub fn check(&self, chosen: Chosen) -> Result<(), String> {
        let [before, now] = self.plans.each_ref().map(|plan| workload(plan, chosen));
        let unlike = differences("", &before, &now);
        if !unlike.is_empty() {
            return Err(format!("--against: not comparable: {}", unlike.join("; ")));
        }
        self.rounds.check(&before, &host())
    }

    /// Loads both servers in turns.
    ///
    /// # Errors
    /// See [`run`](super::run).
    pub fn run(&self, chosen: Chosen) -> io::Result<TurnsOutcome> {
        let mut random = Random::new(self.plans[0].seed);
        let (mut reports, mut interrupted) = (Vec::new(), false);
        for _ in 0..self.pairs {
            let first = usize::from(random.number() % 2 == 1);
            let mut pair = [None, None];
            for side in [first, 1 - first] {
                let plan = &self.plans[side];
                let outcome = super::run(plan, chosen, None)?;
                if outcome.nothing_listens {
                    return Ok(TurnsOutcome { round: None, interrupted, silent: Some(plan.url.clone()) });
                }
                interrupted |= outcome.interrupted;
                pair[side] = Some(Report::new(plan, chosen, &outcome).json());
            }
            if interrupted {
                break;
            }
            if let [Some(before), Some(now)] = pair {
                reports.push([before, now]);
            }
        }
        Ok(TurnsOutcome { round: Round::of(&reports), interrupted, silent: None })
    }

    /// The comparison in its form, and why it fails.
    #[must_use]
    pub fn render(&self, round: &Round) -> (String, Vec<String>) {
        let (changes, remarks) = self.rounds.compare(Some(round));
        let plan = &self.plans[0];
        let text = match plan.format {
            Format::Json => format!("{}\n", round.json(&changes, &remarks)),
            _ => report::changes_and_remarks(&changes, &remarks),
        };
        (text, failures(&plan.fail_if, &changes))
    }
}

fn failures(conditions: &[Condition], changes: &[Change]) -> Vec<String> {
    conditions.iter().filter_map(|condition| condition.failure(&serde_json::Value::Null, changes)).collect()
}
