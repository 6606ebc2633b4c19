//! The invariants of the data directory whenever the log in it has been opened.
//!
//! - A batch that was acknowledged is there, whole and once, if the end of its server allows it: at `write` after a
//!   kill, at `fsync` also after a loss of power, and every batch after a stop. What the log had when it was opened
//!   counts as on stable storage from then on.
//! - Where the log says that it was closed cleanly, it has everything that the last life that opened it committed.
//! - A batch is whole or not there; in part only where power was lost before it was synced.
//! - The batches of a reactor are in the order in which they were committed, and those of one life before those of the
//!   next.
//! - There is nothing that no client sent, unless power was lost; and nothing that was refused, or not sent whole.
//!
//! Two things weaken it, as they weaken the log: a failed sync drops pages that later syncs report as written, so that
//! what was not acknowledged at `fsync` may be lost when power is; and a wall clock that was set hides whether the boot
//! is the same, so that a part of a batch that was never acknowledged may stay.

use crate::book::{Book, number_of};
use log::segment::{ACTIVE_NAME, SegmentFile, SegmentName};
use std::{collections::BTreeMap, path::Path};

/// The lines of a file of a segment.
fn decode(file: SegmentFile, bytes: Vec<u8>) -> Result<Vec<u8>, String> {
    match file {
        SegmentFile::Compressed => zstd::decode_all(&bytes[..]).map_err(|error| format!("a frame is damaged: {error}")),
        _ => Ok(bytes),
    }
}

/// The log's segments in order, each by the name of its plain file, with its lines.
pub fn segments(directory: &Path) -> Result<Vec<(String, Vec<u8>)>, String> {
    let mut forms = BTreeMap::<SegmentName, SegmentFile>::new();
    let names = machine::list(directory).map_err(|error| error.to_string())?;
    for (name, file) in names.iter().filter_map(|name| SegmentName::parse(name)) {
        match file {
            SegmentFile::Plain => drop(forms.insert(name, file)),
            SegmentFile::Compressed => drop(forms.entry(name).or_insert(file)),
            SegmentFile::Sidecar => {}
        }
    }
    let mut found = Vec::new();
    let plain = |name: SegmentName| name.file(SegmentFile::Plain);
    let files = forms.into_iter().map(|(name, file)| (plain(name), name.file(file), file));
    let active = (ACTIVE_NAME.to_owned(), ACTIVE_NAME.to_owned(), SegmentFile::Plain);
    for (name, path, file) in files.chain([active]) {
        let bytes = machine::contents(&directory.join(&path)).map_err(|error| format!("{path}: {error}"))?;
        found.push((name.clone(), decode(file, bytes).map_err(|error| format!("{name}: {error}"))?));
    }
    Ok(found)
}

/// Marks the batches that retention has deleted.
pub fn note_removed(directory: &Path, book: &mut Book, removed: Vec<(String, Vec<u8>)>) {
    for (name, bytes) in removed {
        let Some((segment, file)) = SegmentName::parse(&name) else { continue };
        if file == SegmentFile::Sidecar {
            continue;
        }
        let is_left = [SegmentFile::Plain, SegmentFile::Compressed]
            .into_iter()
            .any(|file| machine::contents(&directory.join(segment.file(file))).is_ok());
        let Ok(lines) = decode(file, bytes) else { continue };
        if !is_left {
            for number in lines.split(|&byte| byte == b'\n').filter_map(number_of) {
                if let Some(batch) = book.batches.get_mut(number) {
                    batch.is_retired = true;
                }
            }
        }
    }
}

/// Checks the log. What is stored counts as on stable storage from now on.
pub fn check(directory: &Path, book: &mut Book) -> Result<(), String> {
    let mut whole = vec![0_u32; book.batches.len()];
    let mut in_part = vec![false; book.batches.len()];
    let mut last = ((0, 0), 0);
    let mut last_of = BTreeMap::new();
    for (name, lines) in segments(directory)? {
        let mut at = 0;
        while at < lines.len() {
            let rest = &lines[at..];
            let line_end = rest.iter().position(|&byte| byte == b'\n').map_or(rest.len(), |end| end + 1);
            let number = number_of(&rest[..line_end]).filter(|&number| number < book.batches.len());
            let Some(number) = number else {
                if !book.lost_power {
                    return Err(format!("{name} has a line at byte {at} that no client sent"));
                }
                at += line_end;
                continue;
            };
            let batch = &book.batches[number];
            if !rest.starts_with(&batch.text) {
                in_part[number] = true;
                at += line_end;
                continue;
            }
            at += batch.text.len();
            whole[number] += 1;
            if batch.producer.0 < last.0.0 {
                return Err(format!("{name}: batch {number} of life {} is after {last:?}", batch.producer.0));
            }
            last = (batch.producer, number);
            if last_of.insert(batch.producer, number).is_some_and(|before| before > number) {
                return Err(format!("{name}: batch {number} is after a later one of its reactor"));
            }
        }
    }
    for (number, batch) in book.batches.iter_mut().enumerate() {
        let about = |what: &str| {
            let level = batch.level.name();
            Err(format!("batch {number} of {:?} at {level} is {what}", batch.producer))
        };
        if batch.is_refused && (whole[number] > 0 || in_part[number]) {
            return about("refused and there");
        }
        batch.is_present = whole[number] == 1;
        match whole[number] {
            0 => {
                let is_lost = !(batch.is_retired || batch.may_be_lost);
                if is_lost && (batch.is_durable || batch.is_acknowledged) {
                    return about("acknowledged and not there");
                }
                if in_part[number] && !batch.may_be_partial && !batch.is_retired {
                    return about("there in part");
                }
            }
            1 => {
                batch.is_durable = true;
                // It was lucky; from now on it is on stable storage.
                batch.may_be_lost = false;
                batch.may_be_partial |= in_part[number];
            }
            _ => return about("there twice"),
        }
    }
    Ok(())
}

impl Book {
    /// Notes that this life has opened the log. `is_clean`: the log says that it was closed cleanly. Then the life that
    /// had opened it before has lost nothing; what an earlier one had lost was lost already when that one opened it.
    pub fn note_opened(&mut self, life: usize, is_clean: bool) {
        let before = self.opened_by.replace(life);
        if !is_clean || self.sync_failed {
            return;
        }
        for batch in self.batches.iter_mut().filter(|batch| Some(batch.producer.0) == before) {
            batch.is_durable |= batch.is_acknowledged || !self.is_sent_by_clients;
            (batch.may_be_lost, batch.may_be_partial) = (false, false);
        }
    }

    /// A bit of the state was flipped, or the clock was set before the log was opened: the start could cut a torn line,
    /// but not a batch whose writing was cut off.
    pub fn expect_torn_batches(&mut self) {
        for batch in &mut self.batches {
            let is_promised = batch.is_acknowledged && batch.level != log::AckLevel::Memory;
            batch.may_be_partial |= !(batch.is_durable || is_promised);
        }
    }

    /// Draws the consequences of the end of a life. `is_stopped`: everything that was committed was written and synced.
    pub fn end_life(&mut self, life: usize, is_stopped: bool, lost_power: bool) {
        self.lost_power |= lost_power;
        let (clock_was_set, sync_failed) = (self.clock_was_set, self.sync_failed);
        let is_sent_by_clients = self.is_sent_by_clients;
        for batch in &mut self.batches {
            let is_ours = batch.producer.0 == life;
            if is_ours && is_stopped {
                batch.is_durable |= batch.is_acknowledged || !is_sent_by_clients;
            }
            let is_fsync = batch.is_acknowledged && batch.level == log::AckLevel::Fsync;
            batch.is_durable |= is_fsync;
            // A memory acknowledgement promises nothing about a process that ends.
            let is_promised = batch.is_durable || (batch.is_acknowledged && batch.level != log::AckLevel::Memory);
            batch.may_be_lost |= is_ours && !is_promised;
            if lost_power {
                // A batch of an earlier life too, if no start since has come as far as to sync it.
                let is_unsure = !batch.is_durable || (sync_failed && !is_fsync);
                batch.may_be_lost |= is_unsure;
                batch.may_be_partial |= is_unsure;
            }
            batch.may_be_partial |= is_ours && clock_was_set && !is_promised;
        }
    }
}
