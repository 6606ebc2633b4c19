//! Streams and jobs by their channels, without a reactor.

use super::*;
use crate::{query_pool::response_channel::Taken, shard::ShardMessage, ui::MarkRequest};
use std::time::{Duration, Instant};
use wake::{Doorbell, mailbox};

struct Ends {
    live: Live,
    opener: StreamOpener,
    updates: Sender<Update>,
    status: Arc<StreamStatus>,
    /// Mailbox of the messages that the reactor is notified of.
    messages: mailbox::Receiver<ShardMessage>,
}

fn start() -> Ends {
    let (updates, received) = bounded(limits::UPDATES_WAITING_MAX);
    let status = Arc::<StreamStatus>::default();
    let hello = json!({ "type": "hello", "now_ms": 0 });
    let clock = Clock::start();
    let examined = AtomicU64::new(0);
    let examiner = Examiner::new(move || format!("{{\"report\":{}}}", examined.fetch_add(1, Relaxed)));
    let setup = LiveSetup { reactors: 1, hello, examiner, updates: received, status: Arc::clone(&status), clock };
    let live = Live::start(setup).unwrap();
    let (mailbox, messages) = mailbox::mailbox(1_024, Arc::new(Doorbell::new().unwrap()));
    let opener = live.opener(Arc::new(mailbox));
    Ends { live, opener, updates, status, messages }
}

/// A client that is proven.
fn sharer(number: u32) -> Sharer {
    static KEYS: std::sync::LazyLock<rate::ClientKeys> = std::sync::LazyLock::new(rate::ClientKeys::new);
    Sharer::proven(KEYS.authorization(&number.to_le_bytes()))
}

fn point(number: u64) -> Update {
    Update::Point { span: PointSpan::Second, json: number.to_string().into_bytes().into() }
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Reads parts until `enough` lines are there, or the stream ends.
fn lines(reader: &Reader, enough: usize) -> Vec<Value> {
    let mut text = Vec::new();
    until("the lines", || {
        loop {
            match reader.take() {
                Taken::Event(ResponseEvent::Piece(piece) | ResponseEvent::Last(piece)) => {
                    text.extend_from_slice(piece.content());
                }
                Taken::Event(_) => {}
                Taken::Nothing => return text.iter().filter(|&&byte| byte == b'\n').count() >= enough,
                Taken::Ended => return true,
            }
        }
    });
    let lines = text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
}

#[test]
fn a_late_stream_begins_with_the_history() {
    let Ends { live, opener, updates, status, messages } = start();
    (0..50).for_each(|number| updates.send(point(number)).unwrap());
    until("the points are taken", || status.points.load(Relaxed) == 50);
    let reader = opener.open(Token::new(0, 0), false, sharer(0)).unwrap();
    let first = lines(&reader, 5);
    let types: Vec<_> = first.iter().map(|line| line["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["hello", "history", "history", "history", "history"]);
    assert_eq!((&first[1]["step_s"], &first[1]["points"]), (&json!(60), &json!([])), "minutes first");
    let points: Vec<u64> = first[2..]
        .iter()
        .flat_map(|line| line["points"].as_array().unwrap().iter().map(|point| point.as_u64().unwrap()))
        .collect();
    assert_eq!(points, (0..50).collect::<Vec<_>>());
    updates.send(point(50)).unwrap();
    assert_eq!(lines(&reader, 1), [json!({ "type": "point", "step_s": 1, "point": 50 })]);
    drop((reader, opener, messages));
    assert!(live.stop());
}

#[test]
fn a_stream_that_is_not_read_is_ended_and_counted() {
    let Ends { live, opener, updates, status, messages: _messages } = start();
    let unread = opener.open(Token::new(0, 0), false, sharer(0)).unwrap();
    let read = opener.open(Token::new(1, 0), false, sharer(0)).unwrap();
    lines(&read, 3);
    let sent = (limits::STREAM_LINES_WAITING_MAX + limits::PIECES_WAITING_MAX + 3) as u64;
    for number in 0..sent {
        updates.send(point(number)).unwrap();
        assert_eq!(lines(&read, 1).len(), 1, "a reader that does not read holds nobody up");
    }
    until("it is ended", || status.ended(StreamEnd::Unread) == 1);
    assert_eq!((status.active(), status.ended(StreamEnd::Left)), (1, 0));
    // What was in its channel is still there, and then its end.
    assert!(lines(&unread, usize::MAX).len() < limits::PIECES_WAITING_MAX);
    drop((unread, read, opener));
    assert!(live.stop());
}

#[test]
fn streams_have_a_bound_and_are_free_when_they_end() {
    let Ends { live, opener, status, updates, messages } = start();
    let open = |slot: u32, client| opener.open(Token::new(slot, 0), false, sharer(client));
    let mut readers: Vec<Reader> = (0..32).map(|slot| open(slot, 0).unwrap()).collect();
    // Half of the streams are one client's share.
    assert!(matches!(open(99, 0), Err((HttpError::RateLimited { retry_after_s: 1.. }, _))));
    readers.extend((32..64).map(|slot| open(slot, 1).unwrap()));
    assert!(matches!(open(99, 2), Err((HttpError::Unavailable { retry_after_s: 1.., .. }, _))));
    assert_eq!((status.opened(), status.refused()), (64, 2));
    readers.pop();
    until("its place is free", || {
        updates.send(point(0)).unwrap();
        // A notice of the channel holds its place, too.
        while messages.take().is_some() {}
        open(99, 2).is_ok()
    });
    drop((readers, opener));
    assert!(live.stop());
}

#[test]
fn a_drain_ends_each_stream_behind_a_whole_line() {
    let Ends { live, opener, status, updates, messages: _messages } = start();
    let readers: Vec<Reader> = (0..3).map(|slot| opener.open(Token::new(slot, 0), false, sharer(0)).unwrap()).collect();
    updates.send(point(1)).unwrap();
    opener.drain();
    for reader in &readers {
        let lines = lines(reader, usize::MAX);
        assert!(lines.len() <= 4, "{lines:?}");
    }
    until("they are counted", || status.ended(StreamEnd::Drained) == 3);
    drop((readers, opener));
    assert!(live.stop());
}

/// The body of a response that is ended.
fn body(reader: &Reader) -> Value {
    lines(reader, usize::MAX).pop().unwrap()
}

#[test]
fn doctor_makes_one_report_for_all_who_wait() {
    let Ends { live, opener, messages: _messages, .. } = start();
    let readers: Vec<Reader> =
        (0..5).map(|slot| opener.start(Token::new(slot, 0), Job::Doctor(sharer(slot))).unwrap()).collect();
    let reports: Vec<Value> = readers.iter().map(body).collect();
    assert!(reports.iter().all(|report| *report == json!({ "report": 0 })), "{reports:?}");
    drop((readers, opener));
    assert!(live.stop());
}

#[test]
fn marks_are_in_each_stream() {
    let Ends { live, opener, messages: _messages, .. } = start();
    let early = opener.open(Token::new(0, 0), false, sharer(0)).unwrap();
    assert_eq!(lines(&early, 3).len(), 3, "no marks, no line");
    let mark = |request| body(&opener.start(Token::new(1, 0), Job::Mark(request)).unwrap());
    let begun = mark(MarkRequest::Begin("run".into()));
    assert_eq!((&begun["mark"], &begun["to_ms"]), (&1.into(), &Value::Null));
    let ended = mark(MarkRequest::End(1));
    assert_eq!(
        lines(&early, 2),
        [json!({ "type": "marks", "marks": [begun] }), json!({ "type": "marks", "marks": [ended] })]
    );
    let late = opener.open(Token::new(2, 0), false, sharer(0)).unwrap();
    assert_eq!(lines(&late, 4)[3]["marks"][0], ended);
    drop((early, late, opener));
    assert!(live.stop());
}

#[test]
fn head_of_a_stream_has_no_lines() {
    let Ends { live, opener, status, messages: _messages, .. } = start();
    let reader = opener.open(Token::new(0, 0), true, sharer(0)).unwrap();
    assert!(lines(&reader, usize::MAX).is_empty());
    until("it has ended", || status.active() == 0);
    drop((reader, opener));
    assert!(live.stop());
}
