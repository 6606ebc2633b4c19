//! Names of connections. A slot is reused; its generation distinguishes the old tenant's events from the new one's.

/// Names one connection of one driver: an index into its table, and which tenant of that index is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token {
    slot: u32,
    generation: u32,
}

impl Token {
    /// A token for `slot`, in its `generation`.
    #[must_use]
    pub const fn new(slot: u32, generation: u32) -> Self {
        Self { slot, generation }
    }

    /// Index into a table of connections: dense, below `DriverConfig::connections_max`.
    #[must_use]
    pub const fn slot(self) -> usize {
        self.slot as usize
    }

    /// Which tenant of the slot this is.
    #[must_use]
    pub const fn generation(self) -> u32 {
        self.generation
    }
}
