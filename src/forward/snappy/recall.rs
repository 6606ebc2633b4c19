//! Repeats in labels, as they were found in the request before.
//!
//! Series mostly come in one order, request after request, and where a series' labels repeat those of the series in
//! front of it depends on nothing but these labels. So it is searched once: a run whose labels are those of a run of
//! the request before, and whose runs in front are those in front of that, repeats the same bytes of them. Only the
//! distances differ, with the numbers of samples.

use std::ops::Range;

/// Bytes of labels that repeat others.
#[derive(Debug, Clone, Copy)]
pub struct Repeat {
    /// Their place in the labels.
    pub begin: u16,
    /// The end of that.
    pub end: u16,
    /// Number of runs by which the labels that they repeat are in front.
    pub back: u16,
    /// The place there.
    pub source: u16,
}

/// The labels of a run, and what they repeat.
#[derive(Debug)]
struct Piece {
    labels: Range<usize>,
    repeats: Range<usize>,
    /// Runs that were in front when it was searched.
    searched: usize,
}

/// The runs of a request.
#[derive(Debug, Default)]
struct Request {
    message: Vec<u8>,
    pieces: Vec<Piece>,
    repeats: Vec<Repeat>,
}

/// The runs of the request before, and of the one that is written.
#[derive(Debug)]
pub struct Recall {
    before: Request,
    now: Request,
    /// The piece before that is expected next, and how many runs in front are those in front of it.
    next: usize,
    streak: usize,
    /// Latest pieces by their hash.
    by_hash: Vec<u32>,
}

const PLACES: usize = 1 << 12;
/// Runs in front, whose labels a run mostly repeats: with fewer of them it is searched again once there are more.
pub const RUNS_SEARCHED: usize = 4;

impl Recall {
    /// Nothing was written.
    pub fn new() -> Self {
        let [before, now] = [(); 2].map(|()| Request::default());
        Self { before, now, next: 0, streak: 0, by_hash: vec![0; PLACES] }
    }

    /// Finds what the labels of the next run repeat, where the same runs are in front of it. True: these repeats are
    /// those of the run from now on. False: [`learn`](Self::learn) has to be called for each. `labels` are at `at` in
    /// the message.
    pub fn find(&mut self, labels: &[u8], at: usize, hash: u64) -> bool {
        let place = usize::try_from(hash % PLACES as u64).unwrap_or(0);
        let index = u32::try_from(self.now.pieces.len()).unwrap_or(u32::MAX);
        let other = std::mem::replace(&mut self.by_hash[place], index) as usize;
        let Self { before: Request { message, pieces, repeats }, now, .. } = self;
        let is_it = |index: usize| pieces.get(index).is_some_and(|piece| message[piece.labels.clone()] == *labels);
        let found = match is_it(self.next) {
            true => Some(self.next),
            false => Some(other).filter(|&index| is_it(index)),
        };
        let in_front = if found == Some(self.next) { self.streak } else { 0 };
        let (begin, mut searched) = (now.repeats.len(), now.pieces.len());
        let known = found.map(|index| &pieces[index]).filter(|piece| {
            let is_there = |repeat: &Repeat| usize::from(repeat.back) <= in_front;
            piece.searched >= searched.min(RUNS_SEARCHED) && repeats[piece.repeats.clone()].iter().all(is_there)
        });
        if let Some(piece) = known {
            now.repeats.extend_from_slice(&repeats[piece.repeats.clone()]);
            searched = piece.searched;
        }
        now.pieces.push(Piece { labels: at..at + labels.len(), repeats: begin..now.repeats.len(), searched });
        (self.next, self.streak) = found.map_or((usize::MAX, 0), |index| (index + 1, in_front + 1));
        known.is_some()
    }

    /// Passes by a run that has no labels in the message.
    pub fn pass(&mut self) {
        let end = self.now.repeats.len();
        self.now.pieces.push(Piece { labels: 0..0, repeats: end..end, searched: 0 });
        (self.next, self.streak) = (usize::MAX, 0);
    }

    /// Adds what the labels of the latest run repeat.
    pub fn learn(&mut self, repeat: Repeat) {
        self.now.repeats.push(repeat);
        if let Some(piece) = self.now.pieces.last_mut() {
            piece.repeats.end = self.now.repeats.len();
        }
    }

    /// The repeats of the latest run's labels.
    pub fn latest(&self) -> &[Repeat] {
        self.now.pieces.last().map_or(&[], |piece| &self.now.repeats[piece.repeats.clone()])
    }

    /// Forgets the latest run: what it repeats is not all in labels.
    pub fn forget(&mut self) {
        if let Some(piece) = self.now.pieces.last_mut() {
            piece.labels = 0..0;
        }
    }

    /// Ends the request with this message, and takes that. The one given back is to be used again.
    pub fn end(&mut self, message: &mut Vec<u8>) {
        std::mem::swap(message, &mut self.now.message);
        std::mem::swap(&mut self.now, &mut self.before);
        self.now.pieces.clear();
        self.now.repeats.clear();
        (self.next, self.streak) = (0, 0);
    }
}
