//! The stack of the main thread: of other threads the standard library chooses the size.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Lets the stack of the main thread grow to `bytes`, if its limit may be raised to that (RLIMIT_STACK, getrlimit(2)).
/// Returns the limit then in force: Linux compares with it whenever the stack grows.
#[must_use]
pub fn let_grow(bytes: u64) -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Stack);
    let wanted = bytes.min(maximum.unwrap_or(u64::MAX));
    match current {
        Some(current) if current < wanted => {
            let raised = setrlimit(Resource::Stack, Rlimit { current: Some(wanted), maximum });
            if raised.is_ok() { wanted } else { current }
        }
        current => current.unwrap_or(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_raised_and_never_lowered() {
        let before = getrlimit(Resource::Stack).current.unwrap_or(u64::MAX);
        assert_eq!(let_grow(1), before);
        assert!(let_grow(before.saturating_add(4096)) >= before);
    }
}
