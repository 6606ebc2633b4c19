//! The search for a time: lines are in the order of their arrival, and their timestamps need not be in any.

use super::{FollowError, Follower, LineBuffer};
use crate::{
    limits::BLOCK_BYTES,
    position::SegmentId,
    segment::{Segment, SegmentName, Sidecar},
};
use metric::Lines;

impl Follower {
    /// Moves on to the first line whose timestamp is at or after `from_ms`, or to the end. Sidecars say which blocks
    /// of sealed segments cannot have it. Returns false if `may_continue`, which is called for each block, did.
    ///
    /// # Errors
    /// See [`FollowError`].
    pub fn seek_time(&mut self, from_ms: i64, may_continue: &dyn Fn() -> bool) -> Result<bool, FollowError> {
        let mut lines = LineBuffer::default();
        let mut skipped = None;
        while may_continue() {
            if let SegmentId::Sealed(name) = self.position.segment
                && skipped != Some(name)
            {
                skipped = Some(name);
                self.skip_before(name, from_ms);
            }
            lines.clear();
            let read = self.read(&mut lines, BLOCK_BYTES)?;
            if read == 0 {
                return Ok(true);
            }
            let mut rest = Lines::new(&lines);
            let mut begin = 0;
            while let Some(line) = rest.next() {
                if line.is_ok_and(|line| line.timestamp_ms >= from_ms) {
                    self.position.byte -= (read - begin) as u64;
                    return Ok(true);
                }
                begin = rest.byte();
            }
        }
        Ok(false)
    }

    /// Skips the blocks at the position whose lines are all before `from_ms`, as far as there is a sidecar.
    fn skip_before(&mut self, name: SegmentName, from_ms: i64) {
        // Without it, or the files' sizes, for whatever reason, nothing is skipped: all lines are read, in more time.
        let Ok(sidecar) = Sidecar::read(&self.directory, name) else { return };
        let Ok(Some(segment)) = Segment::find(&self.directory, name) else { return };
        if !sidecar.fits(segment.plain, segment.compressed) {
            return;
        }
        let holds = |block: &&crate::segment::Block| block.may_hold(from_ms, i64::MAX);
        let byte = sidecar.blocks.iter().find(holds).map_or(sidecar.bytes, |block| block.offset);
        self.position.byte = self.position.byte.max(byte);
        // Opened again, it checks that this is the beginning of a line.
        self.source = None;
    }
}
