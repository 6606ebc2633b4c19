//! Processes: only one runs at a time.

/// Id of the process.
#[must_use]
pub fn id() -> u32 {
    4_242
}
