//! The hasher's random keys, which are no secret here.

use crate::state::with;
use std::hash::{BuildHasher, DefaultHasher, Hasher};

/// As in the standard library.
#[derive(Debug, Clone)]
pub struct RandomState(u64);

impl RandomState {
    /// As in the standard library.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "nobody needs one by default")]
    pub fn new() -> Self {
        Self(with(|state| state.random.bits()).unwrap_or(0))
    }
}

impl BuildHasher for RandomState {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.0);
        hasher
    }
}
