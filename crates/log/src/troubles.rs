//! The reasons why the log cannot operate as configured, though it accepts lines: for `/ready`, `/stats` and the
//! operator's log.

use std::sync::{
    PoisonError,
    atomic::{AtomicBool, Ordering},
};
use wake::sync::real::{Mutex, MutexGuard};

/// A kind of trouble. Each has one text at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The active segment could not be sealed, or the next one not begun.
    Rotation,
    /// The file that is appended to does not have the active segment's name.
    Place,
    /// The data directory's lock cannot be checked or restored.
    Lock,
}

/// The current troubles.
#[derive(Debug, Default)]
pub struct Troubles {
    /// True if there is any: read for each `/ready`, and so without a lock.
    any: AtomicBool,
    texts: Mutex<[Option<String>; 3]>,
}

impl Troubles {
    /// Sets or, with `None`, clears a trouble. It is logged when it begins, when its text changes, and when it ends.
    pub(crate) fn set(&self, trouble: Trouble, text: Option<String>) {
        let mut texts = self.texts();
        let before = std::mem::replace(&mut texts[trouble as usize], text.clone());
        self.any.store(texts.iter().any(Option::is_some), Ordering::Relaxed);
        drop(texts);
        match (before, text) {
            (before, Some(text)) if before.as_ref() != Some(&text) => tracing::warn!("{text}"),
            (Some(before), None) => tracing::info!("resolved: {before}"),
            _ => {}
        }
    }

    /// The texts of the current troubles, one line each.
    #[must_use]
    pub fn list(&self) -> Vec<String> {
        if self.any.load(Ordering::Relaxed) { self.texts().iter().flatten().cloned().collect() } else { Vec::new() }
    }

    fn texts(&self) -> MutexGuard<'_, [Option<String>; 3]> {
        self.texts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_stays_until_it_is_over() {
        let troubles = Troubles::default();
        assert!(troubles.list().is_empty());
        troubles.set(Trouble::Place, Some("moved".into()));
        troubles.set(Trouble::Rotation, Some("refused".into()));
        troubles.set(Trouble::Rotation, Some("refused again".into()));
        assert_eq!(troubles.list(), ["refused again", "moved"]);
        troubles.set(Trouble::Rotation, None);
        assert_eq!(troubles.list(), ["moved"]);
        troubles.set(Trouble::Place, None);
        assert!(troubles.list().is_empty());
    }
}
