//! The reasons why the log cannot go on as was asked of it, though it takes lines: for `/ready`, `/stats` and the
//! operator's log.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

/// A kind of trouble. There is one text of each at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The active segment could not be sealed, or no next one begun.
    Rotation,
    /// The file that is appended to is not the one that has the active segment's name.
    Place,
    /// The data directory's lock is in doubt.
    Lock,
}

/// The troubles there are now.
#[derive(Debug, Default)]
pub struct Troubles {
    /// True if there is any: read for each `/ready`, so without a lock.
    any: AtomicBool,
    texts: Mutex<[Option<String>; 3]>,
}

impl Troubles {
    /// Notes a trouble, or that it is over. It is logged when it comes, when it becomes another, and when it goes.
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

    /// Their texts, one line each.
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
