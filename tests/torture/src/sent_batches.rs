//! Record of the clients: every batch that was ever sent to one log, and its response.

use crate::{Level, batch::Mark};

/// Fate of a batch, as its client saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// No response came: it may be stored or not, but whole.
    Unanswered,
    /// Acknowledged with 200 at this level.
    Acknowledged(Level),
    /// Got another status: it must not be stored.
    Refused(u16),
}

/// End of the process that a connection was made to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It wrote everything down first: exit code 0.
    Clean,
    /// It was killed or gave up. What it had acknowledged at the level memory may be lost.
    Unclean,
    /// The machine lost its power. What was not acknowledged at the level fsync may be lost, or be stored in part.
    PowerCut,
}

/// One batch.
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    /// Number of metrics.
    pub metrics: u32,
    /// True if the batch is wrong somewhere, so that it must not be stored whatever the response is.
    pub broken: bool,
    /// Fate of the batch.
    pub fate: Fate,
}

/// One connection.
#[derive(Debug)]
pub struct Connection {
    /// Batches in the order in which they were sent.
    pub batches: Vec<Sent>,
    /// End of its server; `None` while it runs.
    pub end: Option<End>,
}

/// All connections that were made with one log.
#[derive(Debug, Default)]
pub struct SentBatches {
    connections: Vec<Connection>,
}

impl SentBatches {
    /// The number that the next connection gets.
    #[must_use]
    pub fn next_connection(&self) -> u32 {
        u32::try_from(self.connections.len()).unwrap_or(u32::MAX)
    }

    /// Enters the connections that were made to one process, with their numbers, and how it ended.
    pub fn enter(&mut self, mut made: Vec<(u32, Vec<Sent>)>, end: End) {
        made.sort_unstable_by_key(|(number, _)| *number);
        for (number, batches) in made {
            // A number whose connection could not be made is left out by nobody: it has no batches.
            while self.next_connection() < number {
                self.connections.push(Connection { batches: Vec::new(), end: Some(end) });
            }
            assert_eq!(self.next_connection(), number, "two connections have one number");
            self.connections.push(Connection { batches, end: Some(end) });
        }
    }

    /// A batch, if there was one of that mark.
    #[must_use]
    pub fn batch(&self, mark: Mark) -> Option<Sent> {
        self.connections.get(mark.connection as usize)?.batches.get(mark.number as usize).copied()
    }

    /// Returns the end of the server of a batch's connection.
    #[must_use]
    pub fn end_of(&self, mark: Mark) -> Option<End> {
        self.connections.get(mark.connection as usize)?.end
    }

    /// All connections, by their numbers.
    #[must_use]
    pub fn connections(&self) -> &[Connection] {
        &self.connections
    }
}
