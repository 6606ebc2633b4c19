//! A connection: requests that arrive in one piece, in pieces cut at any places, and while earlier responses are in
//! flight get the same responses, and what is counted as held is what is held.
#![no_main]

use fuzz::{
    Choices, connection, end,
    owner::{BODY_BYTES_MAX, Event, Owner},
};
use http1::{
    Disposition,
    limits::{HEAD_BYTES_MAX, INBOX_BYTES_MAX},
};
use libfuzzer_sys::fuzz_target;

/// Pieces into which a stream is cut, at most, less one.
const CUTS: usize = 6;
/// Bytes of an input, mostly: a buffer that earlier ones have left has as many and what comes before them.
const INPUT_BYTES: usize = 4_096;

fuzz_target!(|data: &[u8]| {
    let mut choices = Choices::of(data);
    let whole = run(&[data], false);
    let pieces = choices.pieces(data, CUTS);
    for late in [false, true] {
        let cut = run(&pieces, late);
        assert_eq!(requests(&cut), requests(&whole), "cut into {pieces:?}, late: {late}");
        if whole.after == Disposition::KeepOpen {
            assert_eq!(without_continue(&cut.sent), without_continue(&whole.sent), "cut into {pieces:?}");
        }
        end(cut);
    }
    // With hardly any memory the responses differ, and nothing else may.
    let mut poor = connection();
    let taken = poor.core.free_bytes() - data.len() / 2;
    assert!(poor.core.reserve(taken));
    deliver(&mut poor, &pieces, true);
    poor.core.recount(taken, 0);
    end(poor);
    end(whole);
});

fn run(pieces: &[&[u8]], late: bool) -> Owner {
    let mut owner = connection();
    deliver(&mut owner, pieces, late);
    owner
}

fn deliver(owner: &mut Owner, pieces: &[&[u8]], late: bool) {
    let set_aside = owner.core.held_bytes();
    let longest = pieces.iter().map(|piece| piece.len()).max().unwrap_or(0).max(INPUT_BYTES);
    for piece in pieces {
        if late {
            owner.deliver_late(piece);
        } else {
            owner.deliver(piece);
        }
        let inbox_bytes_max = 2 * (INBOX_BYTES_MAX.max(HEAD_BYTES_MAX) + longest);
        assert!(owner.connection.owned_bytes() <= inbox_bytes_max + BODY_BYTES_MAX);
        assert_eq!(owner.core.held_bytes() - set_aside, owner.connection.owned_bytes());
    }
    owner.finish();
    assert!(owner.sent.is_empty() || owner.sent.starts_with(b"HTTP/1.1 "));
    if owner.after == Disposition::KeepOpen {
        let mut out = Vec::new();
        let _ = owner.connection.timed_out((), &mut owner.service, &mut owner.core, &mut out);
    }
    owner.connection.release(&mut owner.core);
    assert_eq!((owner.connection.owned_bytes(), owner.core.held_bytes()), (0, set_aside));
}

/// Returns the events of the service, without what a timeout at the end refuses.
fn requests(owner: &Owner) -> Vec<&Event> {
    owner
        .service
        .events
        .iter()
        .filter(|event| !matches!(event, Event::Refused { reason, .. } if reason.contains("timeout")))
        .collect()
}

/// The bytes without interim responses: whether one is sent depends on whether the body is there already.
fn without_continue(sent: &[u8]) -> String {
    String::from_utf8_lossy(sent).replace("HTTP/1.1 100 Continue\r\n\r\n", "")
}
