//! The memory that lines are read into.

use std::ops::Deref;

/// Whole lines that were read. Its memory is used again without being zeroed first: reading costs no second pass.
#[derive(Debug, Default)]
pub struct LineBuffer {
    /// The lines, and behind them what earlier reads left.
    memory: Vec<u8>,
    /// End of the lines.
    end: usize,
}

impl LineBuffer {
    /// Drops the lines.
    pub fn clear(&mut self) {
        self.end = 0;
    }

    /// The lines alone.
    #[must_use]
    pub fn into_bytes(mut self) -> Vec<u8> {
        self.memory.truncate(self.end);
        self.memory
    }

    /// The `bytes` bytes behind the lines, with what was written there since they ended.
    pub(super) fn space(&mut self, bytes: usize) -> &mut [u8] {
        let end = self.end + bytes;
        if self.memory.len() < end {
            self.memory.resize(end, 0);
        }
        &mut self.memory[self.end..end]
    }

    /// Makes the first `bytes` bytes of the [`space`](Self::space) lines.
    pub(super) fn extend(&mut self, bytes: usize) {
        self.end += bytes;
        debug_assert!(self.end <= self.memory.len());
    }
}

impl Deref for LineBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[..self.end]
    }
}
