//! Threads, by the names of the standard library.

use crate::{
    state::{seam, with},
    tasks,
};
use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// As in the standard library.
#[derive(Debug)]
pub struct JoinHandle<T> {
    task: usize,
    result: Arc<Mutex<Option<T>>>,
}

impl<T> JoinHandle<T> {
    /// As in the standard library.
    ///
    /// # Errors
    /// The process has ended.
    pub fn join(self) -> std::thread::Result<T> {
        while !with(|state| state.is_over(self.task) || state.is_dead).unwrap_or(true) {
            tasks::wait(None, Some(tasks::over_event(self.task)));
        }
        let result = self.result.lock().unwrap_or_else(PoisonError::into_inner).take();
        result.ok_or_else(|| Box::new("the process has ended") as Box<_>)
    }

    /// As in the standard library.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        with(|state| state.is_over(self.task)).unwrap_or(true)
    }
}

/// As in the standard library.
///
/// # Panics
/// There is no machine.
pub fn spawn<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let result = Arc::new(Mutex::new(None));
    let place = Arc::clone(&result);
    let body = Box::new(move || {
        let returned = body();
        *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(returned);
    });
    let task = with(|state| state.start(body)).expect("a machine");
    let _ = seam("spawn", "", task as u64);
    JoinHandle { task, result }
}

/// As in the standard library.
#[derive(Debug, Default)]
pub struct Builder(());

impl Builder {
    /// As in the standard library.
    #[must_use]
    pub fn new() -> Self {
        Self(())
    }

    /// As in the standard library.
    #[must_use]
    pub fn name(self, _name: String) -> Self {
        self
    }

    /// As in the standard library.
    ///
    /// # Errors
    /// None.
    pub fn spawn<T: Send + 'static>(self, body: impl FnOnce() -> T + Send + 'static) -> io::Result<JoinHandle<T>> {
        Ok(spawn(body))
    }
}

/// As in the standard library.
pub fn sleep(duration: Duration) {
    if seam("sleep", "", duration.as_nanos() as u64).is_ok() {
        tasks::sleep(duration.as_nanos() as u64);
    }
}

/// As in the standard library.
pub fn yield_now() {
    if seam("yield", "", 0).is_ok() {
        tasks::sleep(0);
    }
}
