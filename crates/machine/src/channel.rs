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
    /// The channel has no space.
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
    /// Behaves as crossbeam's.
    ///
    /// # Errors
    /// Behaves as crossbeam's.
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

/// The error of crossbeam's: there is no receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendError<T>(pub T);

impl<T> Sender<T> {
    /// Behaves as crossbeam's.
    ///
    /// # Errors
    /// Behaves as crossbeam's.
    pub fn send(&self, mut message: T) -> Result<(), SendError<T>> {
        loop {
            message = match self.try_send(message) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Disconnected(message)) => return Err(SendError(message)),
                Err(TrySendError::Full(message)) => message,
            };
            if seam("wait to send", "", self.0.id).is_err() {
                return Err(SendError(message));
            }
            if self.0.queue().len() >= self.0.capacity && self.0.receivers.load(Ordering::Relaxed) > 0 {
                tasks::wait(None, Some(self.0.id));
            }
        }
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
    /// Behaves as crossbeam's.
    ///
    /// # Errors
    /// Nothing is there.
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        let message = self.0.queue().pop_front().ok_or(TryRecvError)?;
        with(|state| state.ring(self.0.id));
        Ok(message)
    }

    /// Behaves as crossbeam's.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.queue().is_empty()
    }

    /// Behaves as crossbeam's.
    ///
    /// # Errors
    /// Behaves as crossbeam's.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        let until_ns = with(|state| state.now_ns.saturating_add(timeout.as_nanos() as u64)).unwrap_or(0);
        self.recv_until(Some(until_ns))
    }

    /// Behaves as crossbeam's.
    ///
    /// # Errors
    /// Behaves as crossbeam's.
    pub fn recv(&self) -> Result<T, RecvTimeoutError> {
        self.recv_until(None)
    }

    fn recv_until(&self, until_ns: Option<u64>) -> Result<T, RecvTimeoutError> {
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
            if with(|state| until_ns.is_some_and(|until_ns| state.now_ns >= until_ns)).unwrap_or(true) {
                return Err(RecvTimeoutError::Timeout);
            }
            tasks::wait(until_ns, Some(self.0.id));
        }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        self.0.receivers.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(&self.0))
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.0.receivers.fetch_sub(1, Ordering::Relaxed);
        with(|state| state.ring(self.0.id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{End, Faults, Machine, thread};

    #[test]
    fn a_full_channel_waits_and_a_closed_one_ends_both_sides() {
        for seed in 0..20 {
            let mut machine = Machine::new(seed);
            machine.set_faults(Faults { switch: 30_000, delay: 10_000, ..Faults::default() });
            let end = machine.run(60, || {
                let (sender, receiver) = bounded(2);
                let other = receiver.clone();
                let sending = thread::spawn(move || (0..10).for_each(|number| sender.send(number).unwrap()));
                let receiving = thread::spawn(move || std::iter::from_fn(|| other.recv().ok()).count());
                let received = std::iter::from_fn(|| receiver.recv().ok()).count();
                sending.join().unwrap();
                assert_eq!(received + receiving.join().unwrap(), 10);
                assert_eq!(receiver.recv_timeout(Duration::from_secs(1)), Err(RecvTimeoutError::Disconnected));
                let (sender, receiver) = bounded(1);
                drop(receiver);
                assert_eq!(sender.send(1), Err(SendError(1)));
            });
            assert_eq!(end, End::Done, "seed {seed}");
        }
    }
}
