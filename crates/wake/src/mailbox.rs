//! A mailbox of messages from any thread to the one that owns a driver: the control plane, a few messages a second.
//!
//! A bounded queue (crossbeam's) beside the owner's [`Doorbell`]. Posting never blocks; a full mailbox returns the
//! message. Bytes at line rate go through rings; this is for "stop accepting" and "here is a connection".

use crate::Doorbell;
use host::channel::{self, TrySendError};
use std::sync::Arc;

/// Creates a mailbox for at most `capacity` messages; its owner sleeps on `doorbell`.
///
/// # Panics
/// `capacity` is zero: no message could ever be posted.
#[must_use]
pub fn mailbox<T>(capacity: usize, doorbell: Arc<Doorbell>) -> (Sender<T>, Receiver<T>) {
    assert!(capacity > 0, "a mailbox holds at least one message");
    let (sender, receiver) = channel::bounded(capacity);
    (Sender { queue: sender, doorbell }, Receiver { queue: receiver })
}

/// The sending end. Any number of clones may post at the same time; one sender's messages arrive in its order.
#[derive(Debug)]
pub struct Sender<T> {
    queue: channel::Sender<T>,
    doorbell: Arc<Doorbell>,
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), doorbell: Arc::clone(&self.doorbell) }
    }
}

impl<T> Sender<T> {
    /// Puts `message` into the mailbox and wakes the owner if it sleeps. Never blocks.
    ///
    /// # Errors
    /// Returns the message: the mailbox is full, or its owner is gone.
    pub fn post(&self, message: T) -> Result<(), T> {
        self.queue.try_send(message).map_err(TrySendError::into_inner)?;
        self.doorbell.wake();
        Ok(())
    }
}

/// The owner's end. The owner checks it after [`Doorbell::announce_sleep`] and before it sleeps.
#[derive(Debug)]
pub struct Receiver<T> {
    queue: channel::Receiver<T>,
}

impl<T> Receiver<T> {
    /// The oldest message, if there is one. Never blocks.
    #[inline]
    #[must_use]
    pub fn take(&self) -> Option<T> {
        // Nearly always there is none, which costs less to see than to try.
        if self.queue.is_empty() { None } else { self.queue.try_recv().ok() }
    }

    /// True if no message is waiting.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::HashMap, thread};

    fn doorbell() -> Arc<Doorbell> {
        Arc::new(Doorbell::new().unwrap())
    }

    #[test]
    fn a_full_box_and_a_box_without_owner_give_the_message_back() {
        let (sender, receiver) = mailbox(2, doorbell());
        assert!(receiver.is_empty());
        assert_eq!([sender.post('a'), sender.post('b'), sender.post('c')], [Ok(()), Ok(()), Err('c')]);
        assert!(!receiver.is_empty());
        assert_eq!([receiver.take(), receiver.take(), receiver.take()], [Some('a'), Some('b'), None]);
        drop(receiver);
        assert_eq!(sender.post('d'), Err('d'));
    }

    #[test]
    fn every_message_arrives_once_and_in_its_senders_order() {
        const SENDERS: usize = 4;
        const MESSAGES: usize = 2_000;
        let (sender, receiver) = mailbox(8, doorbell());
        let mut next = HashMap::new();
        thread::scope(|scope| {
            for name in 0..SENDERS {
                let sender = sender.clone();
                scope.spawn(move || {
                    for number in 0..MESSAGES {
                        while sender.post((name, number)).is_err() {
                            thread::yield_now();
                        }
                    }
                });
            }
            for _ in 0..SENDERS * MESSAGES {
                let (name, number) = loop {
                    match receiver.take() {
                        Some(message) => break message,
                        None => thread::yield_now(),
                    }
                };
                assert_eq!(std::mem::replace(next.entry(name).or_insert(0), number + 1), number);
            }
        });
        assert_eq!(next.len(), SENDERS);
        assert!(receiver.is_empty());
    }
}
