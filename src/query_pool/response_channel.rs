//! The channel of a response from the thread that makes it to the reactor that sends it: a bounded queue of events.
//!
//! Neither end ever waits. A thread that finds the queue full puts the response aside and requests a notice of space;
//! the reactor takes a part when the one before has been sent, and sends the notice once half of the queue is empty.
//! The reactor is notified through its mailbox, once for however many parts it has not looked at yet, so a response has
//! one message under way at most in each direction, and all of them together fit (`limits.rs` asserts it): none is ever
//! lost. When the reactor abandons the response, because its client has left, the thread is notified by a flag, by the
//! queue, and by the notice of space.

use crate::limits;
use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError, bounded};
use http1::{HttpError, Piece};
use reactor::Token;
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};
use wake::Notices;

/// One part of a response. A response is `Whole`, or `Refused`, or `Head` and, unless the request was HEAD, any number
/// of `Piece`s and one `Last`. If the queue ends before that, the response cannot be finished.
#[derive(Debug)]
pub enum ResponseEvent {
    /// A 200 that is known from end to end.
    Whole {
        /// Media type of the body.
        content_type: &'static str,
        /// More field lines, each from the CR LF before it on.
        fields: Box<[u8]>,
        /// The body.
        body: Piece,
    },
    /// A refusal.
    Refused {
        /// The error that is counted, with its status.
        error: HttpError,
        /// The text for the client.
        text: String,
        /// More field lines, each from the CR LF before it on.
        fields: Box<[u8]>,
    },
    /// A 200 whose body follows.
    Head {
        /// Media type of the body.
        content_type: &'static str,
        /// More header fields, each from the CR LF before it on.
        fields: Box<[u8]>,
    },
    /// Some of the body.
    Piece(Piece),
    /// The end of the body.
    Last(Piece),
}

/// The reason why a part could not be sent.
#[derive(Debug)]
pub enum SendError {
    /// The queue is full: the part, to be sent later.
    Full(ResponseEvent),
    /// The client has left, or its connection was evicted.
    Left,
}

/// The number of open channels of one kind, over all reactors, and its bound.
#[derive(Debug, Clone)]
pub struct Open {
    count: Arc<AtomicUsize>,
    max: usize,
}

impl Open {
    /// None is open yet, and at most so many will be.
    #[must_use]
    pub fn up_to(max: usize) -> Self {
        Self { count: Arc::default(), max }
    }

    /// Takes one more in, unless as many as may be are open.
    #[must_use]
    pub fn admit(&self) -> Option<Permit> {
        // A count that orders nothing else.
        let taken =
            self.count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| (open < self.max).then_some(open + 1));
        taken.ok().map(|_| Permit(self.clone()))
    }
}

/// A place among the open pipes; dropped, it is free again.
#[derive(Debug)]
pub struct Permit(Open);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The state shared by both ends, and the pending notice.
#[derive(Debug)]
struct Shared {
    token: Token,
    notices: Notices,
    /// Held until both ends and the message are gone.
    _place: Permit,
}

/// The reactor that a response goes to.
pub trait ReadyListener: fmt::Debug + Send + Sync {
    /// Wakes the reactor to read from the channel that `notice` names. Never blocks; at most one notice of a channel is
    /// under way.
    fn notify(&self, notice: ReadyNotice);
}

/// Opens a channel to the connection that `token` names, at `reactor`. `space` is the response's number, and the
/// channel that it is sent to when there is space again after its thread had to wait for it; at most once at a time.
#[must_use]
pub fn pipe(
    token: Token,
    reactor: Arc<dyn ReadyListener>,
    place: Permit,
    space: (u64, Sender<u64>),
) -> (Writer, Reader) {
    let (sender, receiver) = bounded(limits::PIECES_WAITING_MAX);
    let shared = Arc::new(Shared { token, notices: Notices::new(), _place: place });
    let reader = Reader { parts: receiver, space, is_live: false, shared: Arc::clone(&shared) };
    (Writer { parts: Some(sender), reactor, shared }, reader)
}

/// Returns true if so few parts wait that a thread should produce more.
const fn has_space(waiting: usize) -> bool {
    waiting <= limits::PIECES_WAITING_MAX / 2
}

/// The end of the thread that makes the response. Dropped before the response's end, it cuts the response off.
#[derive(Debug)]
pub struct Writer {
    /// There until it is dropped.
    parts: Option<Sender<ResponseEvent>>,
    reactor: Arc<dyn ReadyListener>,
    shared: Arc<Shared>,
}

impl Writer {
    /// Set once nobody wants the response any more.
    #[must_use]
    pub fn cancelled(&self) -> &AtomicBool {
        self.shared.notices.cancelled()
    }

    /// Hands a part over. Never waits.
    ///
    /// # Errors
    /// There is no space for it, or nobody who takes it.
    pub fn send(&self, part: ResponseEvent) -> Result<(), SendError> {
        let Some(parts) = &self.parts else { return Err(SendError::Left) };
        parts.try_send(part).map_err(|refused| match refused {
            TrySendError::Disconnected(_) => SendError::Left,
            TrySendError::Full(part) => SendError::Full(part),
        })?;
        self.announce();
        Ok(())
    }

    /// Requests a notice once there is space, or nobody takes the parts any more. `false`: that is so already, and no
    /// notice will come.
    #[must_use]
    pub fn wait_for_space(&self) -> bool {
        self.shared.notices.request_space(|| self.parts.as_ref().is_none_or(|parts| has_space(parts.len())))
    }

    /// Notifies the reactor, unless it has not read the last message yet.
    fn announce(&self) {
        if self.shared.notices.announce() {
            self.reactor.notify(ReadyNotice(Arc::clone(&self.shared)));
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Closed before the notice, so that the reactor observes the close.
        self.parts = None;
        self.announce();
    }
}

/// Notice to a reactor that a channel has events, or that it was closed.
#[derive(Debug)]
pub struct ReadyNotice(Arc<Shared>);

impl ReadyNotice {
    /// Accepts the notice, and returns the connection. Read the channel afterwards: later parts are notified again.
    #[must_use]
    pub fn accept(self) -> Token {
        self.0.notices.accept();
        self.0.token
    }
}

/// The result of reading from a channel.
#[derive(Debug)]
pub enum Taken {
    /// The next part.
    Event(ResponseEvent),
    /// None yet. A [`ReadyNotice`] will follow.
    Nothing,
    /// None, and none will come.
    Ended,
}

/// The reactor's end. Dropped, it cancels the making of the response.
#[derive(Debug)]
pub struct Reader {
    parts: Receiver<ResponseEvent>,
    space: (u64, Sender<u64>),
    is_live: bool,
    shared: Arc<Shared>,
}

impl Reader {
    /// The same, of a response that goes on for as long as its client reads.
    #[must_use]
    pub fn of_stream(mut self) -> Self {
        self.is_live = true;
        self
    }

    /// Returns true if the response goes on for as long as its client reads.
    #[must_use]
    pub const fn is_live(&self) -> bool {
        self.is_live
    }

    /// The next part, if there is one. Never waits.
    #[must_use]
    pub fn take(&self) -> Taken {
        match self.parts.try_recv() {
            Ok(part) => {
                if has_space(self.parts.len()) && self.shared.notices.must_notify_space() {
                    self.notify_space();
                }
                Taken::Event(part)
            }
            Err(TryRecvError::Empty) => Taken::Nothing,
            Err(TryRecvError::Disconnected) => Taken::Ended,
        }
    }

    /// Notifies the pool, as the thread waits for space.
    fn notify_space(&self) {
        let (number, spaces) = &self.space;
        // There is a place for each open response. Without threads nobody waits.
        let _ = spaces.try_send(*number);
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if self.shared.notices.cancel() {
            self.notify_space();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::ShardMessage;
    use std::thread;
    use wake::{Doorbell, mailbox};

    fn token() -> Token {
        Token::new(0, 0)
    }

    struct Ends {
        writer: Writer,
        reader: Reader,
        messages: mailbox::Receiver<ShardMessage>,
        spaces: Receiver<u64>,
    }

    fn open(place: Permit) -> Ends {
        let (mailbox, messages) = mailbox::mailbox(2, Arc::new(Doorbell::new().unwrap()));
        let (space, spaces) = bounded(1);
        let (writer, reader) = pipe(token(), Arc::new(mailbox), place, (7, space));
        Ends { writer, reader, messages, spaces }
    }

    fn numbered(number: usize) -> ResponseEvent {
        let mut piece = Piece::new();
        piece.fill(&number.to_le_bytes());
        ResponseEvent::Piece(piece)
    }

    fn number_of(part: &ResponseEvent) -> usize {
        let ResponseEvent::Piece(piece) = part else { panic!("not a piece: {part:?}") };
        usize::from_le_bytes(piece.content().try_into().unwrap())
    }

    #[test]
    fn many_parts_are_one_message_until_it_was_read() {
        let Ends { writer, reader, messages, .. } = open(Open::up_to(limits::QUERIES_OPEN_MAX).admit().unwrap());
        (0..3).for_each(|number| writer.send(numbered(number)).unwrap());
        let Some(ShardMessage::ResponseReady(notice)) = messages.take() else { panic!("not notified") };
        assert!(messages.is_empty(), "notified twice");
        writer.send(numbered(3)).unwrap();
        assert!(messages.is_empty(), "notified again before the first notice was accepted");
        assert_eq!(notice.accept(), token());
        for number in 0..4 {
            let Taken::Event(part) = reader.take() else { panic!("part {number} is missing") };
            assert_eq!(number_of(&part), number);
        }
        assert!(matches!(reader.take(), Taken::Nothing));
        drop(writer);
        assert!(matches!(messages.take(), Some(ShardMessage::ResponseReady(_))), "not notified of the end");
        assert!(matches!(reader.take(), Taken::Ended));
    }

    /// A reader that looks only when it is notified, or has just found something, finds everything; and so does a
    /// writer that goes on only when it gets the notice of space.
    #[test]
    fn no_part_is_missed_by_who_waits_for_word() {
        const PARTS: usize = 4_000;
        let Ends { writer, reader, messages, spaces } = open(Open::up_to(limits::QUERIES_OPEN_MAX).admit().unwrap());
        let producer = thread::spawn(move || {
            for number in 0..PARTS {
                let mut part = numbered(number);
                while let Err(unsent) = writer.send(part) {
                    let SendError::Full(back) = unsent else { panic!("it left") };
                    part = back;
                    if writer.wait_for_space() {
                        assert_eq!(spaces.recv(), Ok(7));
                    }
                }
            }
            assert!(spaces.is_empty(), "a notice that was not requested");
        });
        let mut next = 0;
        'wait: loop {
            let Some(ShardMessage::ResponseReady(notice)) = messages.take() else {
                thread::yield_now();
                continue;
            };
            let _ = notice.accept();
            loop {
                match reader.take() {
                    Taken::Event(part) => {
                        assert_eq!(number_of(&part), next);
                        next += 1;
                    }
                    Taken::Nothing => break,
                    Taken::Ended => break 'wait,
                }
            }
        }
        assert_eq!(next, PARTS);
        producer.join().unwrap();
    }

    #[test]
    fn a_full_queue_gives_the_part_back_and_tells_of_space() {
        let Ends { writer, reader, spaces, .. } = open(Open::up_to(limits::QUERIES_OPEN_MAX).admit().unwrap());
        (0..limits::PIECES_WAITING_MAX).for_each(|number| writer.send(numbered(number)).unwrap());
        let Err(SendError::Full(part)) = writer.send(numbered(99)) else { panic!("taken") };
        assert_eq!(number_of(&part), 99);
        assert!(writer.wait_for_space());
        for taken in 1..=limits::PIECES_WAITING_MAX {
            assert!(matches!(reader.take(), Taken::Event(_)));
            assert_eq!(spaces.try_recv().is_ok(), taken == limits::PIECES_WAITING_MAX / 2, "after {taken}");
        }
        assert!(!writer.wait_for_space(), "there is space already");
        writer.send(numbered(99)).unwrap();
    }

    #[test]
    fn a_writer_that_waits_hears_that_its_reader_is_gone() {
        let Ends { writer, reader, spaces, .. } = open(Open::up_to(limits::QUERIES_OPEN_MAX).admit().unwrap());
        (0..limits::PIECES_WAITING_MAX).for_each(|number| writer.send(numbered(number)).unwrap());
        assert!(writer.wait_for_space());
        drop(reader);
        assert_eq!(spaces.try_recv(), Ok(7));
        assert!(matches!(writer.send(numbered(99)), Err(SendError::Left)));
        assert!(writer.cancelled().load(Ordering::Relaxed) && !writer.wait_for_space());
    }

    #[test]
    fn a_place_is_free_again_once_both_ends_and_the_message_are_gone() {
        let all = Open::up_to(limits::QUERIES_OPEN_MAX);
        let mut places: Vec<Permit> = (0..limits::QUERIES_OPEN_MAX).map(|_| all.admit().unwrap()).collect();
        assert!(all.admit().is_none());
        let Ends { writer, reader, messages, .. } = open(places.pop().unwrap());
        writer.send(numbered(0)).unwrap();
        drop((writer, reader));
        assert!(all.admit().is_none(), "its message is still under way");
        drop(messages.take());
        assert!(all.admit().is_some());
    }
}
