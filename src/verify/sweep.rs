//! Checks all segments on several threads: each takes the next piece, and the results are combined in order, so that
//! the report does not depend on the number of threads.
//!
//! Bounded: one segment's plan at a time is open for taking, and no thread runs further ahead of the earliest piece
//! that is not finished than [`CHECK_AHEAD_PIECES_MAX`].

use super::{
    finding::Findings,
    piece::{Checked, Checker},
    progress::Progress,
    subject::{CheckUnit, Subject},
    tally::{SegmentCheck, SegmentReport},
};
use crate::limits::CHECK_AHEAD_PIECES_MAX;
use std::{
    collections::BTreeMap,
    io,
    panic::resume_unwind,
    sync::{Arc, PoisonError, atomic::Ordering},
    thread,
};
use wake::sync::{Condvar, Mutex, MutexGuard};

/// Opens the next file to check. Opening may add findings.
type Open<'a> = dyn FnMut(&mut Findings) -> Option<Subject> + Send + 'a;

struct Work<'a> {
    open: Box<Open<'a>>,
    /// The segment whose pieces are being taken, and the next of them.
    current: Option<(Arc<Subject>, usize)>,
    taken: u64,
    added: u64,
    /// Pieces that are checked, and wait for one before them.
    waiting: BTreeMap<u64, (Arc<Subject>, CheckUnit, Checked)>,
    /// The segment that the next piece belongs to.
    tally: Option<(Arc<Subject>, SegmentCheck)>,
    /// Findings of opening files. Kept apart, because how far opening is ahead of reading depends on the threads.
    found_opening: Findings,
    findings: Findings,
    segments: Vec<SegmentReport>,
}

/// Checks every file that `open` gives, on `threads` threads; on the calling one if that is one.
///
/// # Errors
/// A thread could not be started.
pub fn sweep<'a>(
    threads: usize,
    progress: &Progress,
    open: impl FnMut(&mut Findings) -> Option<Subject> + Send + 'a,
) -> io::Result<(Vec<SegmentReport>, Findings)> {
    let work = Mutex::new(Work {
        open: Box::new(open),
        current: None,
        taken: 0,
        added: 0,
        waiting: BTreeMap::new(),
        tally: None,
        found_opening: Findings::default(),
        findings: Findings::default(),
        segments: Vec::new(),
    });
    let added = Condvar::new();
    if threads == 1 {
        run(Checker::new()?, &work, &added, progress);
    } else {
        sweep_on(threads, &work, &added, progress)?;
    }
    let mut work = work.into_inner().unwrap_or_else(PoisonError::into_inner);
    work.end_segment();
    let mut findings = work.found_opening;
    findings.append(work.findings);
    Ok((work.segments, findings))
}

/// Runs on `threads` threads, beside the calling one.
fn sweep_on(threads: usize, work: &Mutex<Work>, added: &Condvar, progress: &Progress) -> io::Result<()> {
    thread::scope(|scope| {
        let mut running = Vec::new();
        for index in 0..threads {
            let checker = Checker::new()?;
            let thread = thread::Builder::new()
                .name(format!("verify-{index}"))
                .spawn_scoped(scope, || run(checker, work, added, progress));
            running.push(thread?);
        }
        // One by one: the end of a thread is seen by a sanitizer, that of a scope is not.
        running.into_iter().for_each(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
        Ok(())
    })
}

fn lock<'a, 'b>(work: &'a Mutex<Work<'b>>) -> MutexGuard<'a, Work<'b>> {
    work.lock().unwrap_or_else(PoisonError::into_inner)
}

fn run(mut checker: Checker, work: &Mutex<Work>, added: &Condvar, progress: &Progress) {
    let mut guard = lock(work);
    loop {
        while guard.taken - guard.added >= CHECK_AHEAD_PIECES_MAX as u64 {
            guard = added.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        let Some((number, subject, piece)) = guard.take() else { return };
        drop(guard);
        let checked = checker.check(&subject, piece);
        progress.file_bytes.fetch_add(piece.bytes(), Ordering::Relaxed);
        progress.bytes.fetch_add(checked.bytes, Ordering::Relaxed);
        progress.lines.fetch_add(checked.walk.lines, Ordering::Relaxed);
        guard = lock(work);
        guard.waiting.insert(number, (subject, piece, checked));
        guard.add_waiting();
        added.notify_all();
    }
}

impl Work<'_> {
    /// The next piece, and its number.
    fn take(&mut self) -> Option<(u64, Arc<Subject>, CheckUnit)> {
        loop {
            if let Some((subject, index)) = &mut self.current
                && let Some(piece) = subject.piece(*index)
            {
                *index += 1;
                self.taken += 1;
                return Some((self.taken - 1, Arc::clone(subject), piece));
            }
            self.current = Some((Arc::new((self.open)(&mut self.found_opening)?), 0));
        }
    }

    /// Adds what has waited to its segment, as far as it is without a gap.
    fn add_waiting(&mut self) {
        while let Some((subject, piece, checked)) = self.waiting.remove(&self.added) {
            self.added += 1;
            if !self.tally.as_ref().is_some_and(|(current, _)| Arc::ptr_eq(current, &subject)) {
                self.end_segment();
                let tally = SegmentCheck::new(Arc::clone(&subject), self.findings.damage());
                self.tally = Some((subject, tally));
            }
            if let Some((_, tally)) = &mut self.tally {
                tally.add(piece, checked, &mut self.findings);
            }
        }
    }

    fn end_segment(&mut self) {
        if let Some((_, tally)) = self.tally.take() {
            self.segments.push(tally.finish(&mut self.findings));
        }
    }
}
