//! Bounded channels, by crossbeam's names.

use crate::{
    state::{State, seam, with},
    tasks,
};
use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// As crossbeam's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecvTimeoutError {
    /// Nothing came in time.
    Timeout,
    /// There is no sender, and nothing left.
    Disconnected,
}

/// As crossbeam's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrySendError<T> {
    /// There is no space.
    Full(T),
    /// There is no receiver.
    Disconnected(T),
}

impl<T> TrySendError<T> {
    /// The message.
    pub fn into_inner(self) -> T {
        match self {
            Self::Full(message) | Self::Disconnected(message) => message,
        }
    }
}

/// As crossbeam's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TryRecvError;

#[derive(Debug)]
struct Channel<T> {
    id: u64,
    capacity: usize,
    queue: Mutex<VecDeque<T>>,
    senders: AtomicUsize,
    receivers: AtomicUsize,
}

impl<T> Channel<T> {
    fn queue(&self) -> MutexGuard<'_, VecDeque<T>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As crossbeam's.
#[derive(Debug)]
pub struct Sender<T>(Arc<Channel<T>>);

/// As crossbeam's.
#[derive(Debug)]
pub struct Receiver<T>(Arc<Channel<T>>);

/// As crossbeam's.
#[must_use]
pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let channel = Arc::new(Channel {
        id: with(State::id).unwrap_or(0),
        capacity,
        queue: Mutex::default(),
        senders: AtomicUsize::new(1),
        receivers: AtomicUsize::new(1),
    });
    (Sender(Arc::clone(&channel)), Receiver(channel))
}

impl<T> Sender<T> {
    /// As crossbeam's.
    ///
    /// # Errors
    /// As crossbeam's.
    pub fn try_send(&self, message: T) -> Result<(), TrySendError<T>> {
        if self.0.receivers.load(Ordering::Relaxed) == 0 {
            return Err(TrySendError::Disconnected(message));
        }
        if self.0.queue().len() >= self.0.capacity {
            return Err(TrySendError::Full(message));
        }
        self.0.queue().push_back(message);
        with(|state| state.ring(self.0.id));
        let _ = seam("send", "", self.0.id);
        Ok(())
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.senders.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(&self.0))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.senders.fetch_sub(1, Ordering::Relaxed);
        with(|state| state.ring(self.0.id));
    }
}

impl<T> Receiver<T> {
    /// As crossbeam's.
    ///
    /// # Errors
    /// Nothing is there.
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.0.queue().pop_front().ok_or(TryRecvError)
    }

    /// As crossbeam's.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.queue().is_empty()
    }

    /// As crossbeam's.
    ///
    /// # Errors
    /// As crossbeam's.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        let until_ns = with(|state| state.now_ns.saturating_add(timeout.as_nanos() as u64)).unwrap_or(0);
        loop {
            if seam("receive", "", self.0.id).is_err() {
                return Err(RecvTimeoutError::Disconnected);
            }
            if let Ok(message) = self.try_recv() {
                return Ok(message);
            }
            if self.0.senders.load(Ordering::Relaxed) == 0 {
                return Err(RecvTimeoutError::Disconnected);
            }
            if with(|state| state.now_ns >= until_ns).unwrap_or(true) {
                return Err(RecvTimeoutError::Timeout);
            }
            tasks::wait(Some(until_ns), Some(self.0.id));
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.0.receivers.fetch_sub(1, Ordering::Relaxed);
    }
}
