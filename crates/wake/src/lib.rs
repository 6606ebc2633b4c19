//! Waking one thread from another, and the primitives that both share: a doorbell, a mailbox, a clock, and the locks
//! and atomics that the model checker can replace.
//!
//! Owns the wake-up protocol ([`Doorbell`]: Dekker's pattern with a full fence on each side), the queue for rare
//! messages beside it ([`mailbox`]), the flags of a channel whose ends never wait ([`Notices`]), the server's clock
//! ([`clock`]), and the shims of `std::sync` for loom ([`sync`]). Promises that no wake-up is lost, that waking a thread
//! which is awake costs one fence and one load, and that the doorbell and the mailbox never block, but for the owner's
//! own wait on its eventfd. Depends on `host` alone.
//!
//! ```
//! use std::sync::Arc;
//! use wake::{Doorbell, mailbox::mailbox};
//!
//! let doorbell = Arc::new(Doorbell::new()?);
//! let (sender, receiver) = mailbox(2, Arc::clone(&doorbell));
//! sender.post("stop").unwrap();
//! // The owner announces its sleep, and checks its sources once more before it waits on the doorbell.
//! doorbell.announce_sleep();
//! assert_eq!(receiver.take(), Some("stop"));
//! doorbell.awake();
//! # Ok::<(), std::io::Error>(())
//! ```

pub mod clock;
mod doorbell;
mod event;
pub mod mailbox;
mod notices;
pub mod sync;

pub use doorbell::{Doorbell, Sleeping};
pub use notices::Notices;
