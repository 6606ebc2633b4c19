//! Rules over several requests or several calls: order, fairness, holding, deferring, interim responses, clocks.

use super::owner::{BODY_BYTES_MAX, Event, Owner, chunked, disposition, gzip, piece, post, whole};
use http1::limits::{CONTENT_BYTES_PER_TURN_MAX, INBOX_BYTES_MAX, LINGER_BYTES_MAX, REQUESTS_PER_TURN_MAX};
use http1::{Connection, Deadline, Disposition, Next, Status};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

#[test]
fn what_the_service_sees_of_a_head() {
    let owner = whole(
        b"POST http://h/m?ack=fsync HTTP/1.1\r\nhost: a\r\nAUTHORIZATION:  key one \r\nAccept: application/json\r\n\
          Accept: x\r\ntraceparent: 00-ab-cd-01\r\ntracestate: v=1\r\nContent-Length: 2\r\n\r\nhi",
    );
    let seen = "POST /m Some(\"ack=fsync\") Http11 Some(\"key one\") Some(\"application/json\") Some(\"00-ab-cd-01\") \
                Some(\"v=1\") Some(2) Some(\"2\") Some(\"00-ab-cd-01\")";
    assert_eq!(owner.service.events, [Event::Head(seen.to_owned()), Event::Body(b"hi".to_vec())]);
}

#[test]
fn pipelined_responses_come_in_the_order_of_the_requests() {
    let bytes: Vec<u8> = (0..20).flat_map(|length| post("/m", "", &vec![b'x'; length])).collect();
    let text = whole(&bytes).text();
    let counts: Vec<usize> = text
        .match_indices("metrics_processed\":")
        .map(|(at, mark)| text[at + mark.len()..].split('}').next().unwrap().parse().unwrap())
        .collect();
    assert_eq!(counts, (0..20).collect::<Vec<_>>());
}

#[test]
fn a_turn_serves_a_bounded_number_of_requests() {
    let mut owner = Owner::new();
    let (mut progress, _) = owner.receive(&GET.repeat(2 * REQUESTS_PER_TURN_MAX + 5));
    for _ in 0..2 {
        assert_eq!(progress.responses, REQUESTS_PER_TURN_MAX);
        assert!(progress.more);
        (progress, _) = owner.receive(b"");
    }
    assert_eq!(progress.responses, 5);
    assert!(!progress.more);
    assert_eq!(owner.connection.owned_bytes(), 0);
}

#[test]
fn a_turn_serves_a_bounded_number_of_content_bytes() {
    let mut owner = Owner::new();
    let bomb = post("/m", "Content-Encoding: gzip\r\n", &gzip(&vec![b' '; BODY_BYTES_MAX]));
    let (mut progress, _) = owner.receive(&bomb.repeat(20));
    assert_eq!(progress.responses, CONTENT_BYTES_PER_TURN_MAX.div_ceil(BODY_BYTES_MAX));
    let mut responses = progress.responses;
    while progress.more {
        (progress, _) = owner.receive(b"");
        responses += progress.responses;
    }
    assert_eq!(responses, 20);
}

#[test]
fn refusals_count_towards_the_bound_of_a_turn() {
    let mut owner = Owner::new();
    let (progress, _) = owner.receive(&b"GET /limited HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1000));
    assert_eq!(progress.responses, REQUESTS_PER_TURN_MAX);
    assert!(progress.more);
}

#[test]
fn one_held_response_holds_its_burst_and_does_not_end_it() {
    let mut owner = Owner::new();
    let (progress, out) = owner.receive(&[GET, &post("/held", "", b"x"), GET].concat());
    assert_eq!((progress.responses, progress.result), (3, true));
    assert_eq!(String::from_utf8(out).unwrap().matches("200 OK").count(), 3);
    let (progress, _) = owner.receive(GET);
    assert!(!progress.result);
}

#[test]
fn nothing_is_parsed_behind_a_deferred_request() {
    let mut owner = Owner::new();
    let (progress, out) = owner.receive(&[GET, &post("/deferred", "", b"x"), GET].concat());
    assert_eq!((progress.responses, progress.next, progress.more), (1, Next::RespondDeferred, true));
    assert_eq!(progress.deadline, None);
    assert_eq!(String::from_utf8(out).unwrap().matches("200 OK").count(), 1);
    let (progress, out) = owner.receive(GET);
    assert!(progress.next == Next::RespondDeferred && out.is_empty());
    assert!(!owner.connection.buffer(GET, &mut owner.core));

    let mut out = Vec::new();
    let progress = owner
        .connection
        .respond_deferred(&owner.core, &mut out, |respond| respond.body(Status::Ok, "text/plain", b"later"));
    assert_eq!((progress.responses, progress.next, progress.more), (1, Next::Send(Disposition::KeepOpen), true));
    assert!(out.ends_with(b"later"));
    let (progress, _) = owner.receive(b"");
    assert_eq!((progress.responses, progress.more), (3, false));
}

#[test]
#[should_panic(expected = "no request of this connection is deferred")]
fn responding_to_what_was_not_deferred_is_the_owners_fault() {
    let mut owner = Owner::new();
    let _ = owner.connection.respond_deferred(&owner.core, &mut Vec::new(), |respond| respond.accepted(1));
}

/// The head of the response to `/streamed`, and what follows it.
fn streamed(request: &str) -> (String, String, Disposition) {
    let owner = whole(request.as_bytes());
    let (head, body) =
        owner.text().split_once("\r\n\r\n").map(|(head, body)| (head.to_owned(), body.to_owned())).unwrap();
    (head, body, owner.after)
}

#[test]
fn a_response_of_unknown_length_is_chunked() {
    let (head, body, after) = streamed("GET /streamed HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(head.ends_with("\r\nTransfer-Encoding: chunked") && !head.contains("Content-Length"), "{head}");
    assert_eq!(body, "0005\r\none, \r\n0005\r\ntwo, \r\n0005\r\nthree\r\n0\r\n\r\n");
    assert_eq!(after, Disposition::KeepOpen);
    let (head, _, after) = streamed("GET /streamed HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert!(head.contains("\r\nTransfer-Encoding: chunked") && head.ends_with("\r\nConnection: close"), "{head}");
    assert_eq!(after, Disposition::Close);
}

#[test]
fn a_streamed_response_to_http_1_0_ends_with_the_connection() {
    for fields in ["", "Connection: keep-alive\r\n"] {
        let (head, body, after) = streamed(&format!("GET /streamed HTTP/1.0\r\n{fields}\r\n"));
        assert!(head.ends_with("\r\nConnection: close"), "{head}");
        assert!(!head.contains("Transfer-Encoding") && !head.contains("Content-Length"), "{head}");
        assert_eq!((body.as_str(), after), ("one, two, three", Disposition::Close));
    }
}

#[test]
fn head_of_a_response_of_unknown_length_is_all_there_is() {
    for (version, after) in [
        ("1.1", Disposition::KeepOpen),
        ("1.0\r\nConnection: keep-alive", Disposition::KeepOpen),
        ("1.0", Disposition::Close),
    ] {
        let (head, body, actual) = streamed(&format!("HEAD /streamed HTTP/{version}\r\nHost: a\r\n\r\n"));
        assert!(!head.contains("Content-Length") && !head.contains("Transfer-Encoding"), "{head}");
        assert_eq!((body.as_str(), actual), ("", after));
    }
}

#[test]
fn nothing_is_parsed_behind_a_response_that_has_only_begun() {
    let mut owner = Owner::new();
    let (progress, _) = owner.receive(&[&post("/streamed", "", b"x"), GET].concat());
    assert!(progress.next == Next::RespondDeferred && progress.more);
    let mut out = Vec::new();
    let progress = owner.connection.respond_deferred(&owner.core, &mut out, |respond| respond.stream("text/plain"));
    assert_eq!((progress.responses, progress.next, progress.more), (1, Next::Stream, false));
    assert_eq!(progress.deadline, None);
    let (progress, more_out) = owner.receive(GET);
    assert!(progress.next == Next::Stream && progress.more && more_out.is_empty());
    assert!(!owner.connection.buffer(GET, &mut owner.core));
    assert_eq!(owner.connection.piece(piece(b"x")), b"0001\r\nx\r\n");
    let (bytes, progress) = owner.connection.last_piece(piece(b""));
    assert_eq!(bytes, b"0\r\n\r\n");
    assert_eq!((progress.responses, progress.next, progress.more), (0, Next::Send(Disposition::KeepOpen), true));
    assert_eq!(progress.deadline, Some(Deadline::Head));
    let (progress, _) = owner.receive(b"");
    assert_eq!((progress.responses, progress.more), (3, false));
}

#[test]
fn a_response_that_has_begun_gives_its_memory_back() {
    let mut owner = Owner::new();
    let _ = owner.receive(&post("/streamed", "", b"x"));
    let _ = owner.connection.respond_deferred(&owner.core, &mut Vec::new(), |respond| respond.stream("text/plain"));
    let _ = owner.connection.buffer(GET, &mut owner.core);
    let mut out = Vec::new();
    assert_eq!(
        disposition(&owner.connection.timed_out((), &mut owner.service, &mut owner.core, &mut out)),
        Disposition::Close
    );
    assert!(out.is_empty() && owner.service.events.len() == 2, "{:?}", owner.service.events);
    assert_eq!(owner.connection.owned_bytes(), 0);
}

#[test]
fn draining_ends_a_connection_before_its_head_not_after_it() {
    for (before, after) in [(true, Disposition::Close), (false, Disposition::KeepOpen)] {
        let mut owner = Owner::new();
        let _ = owner.receive(&post("/streamed", "", b"x"));
        owner.core.draining = before;
        let mut out = Vec::new();
        let _ = owner.connection.respond_deferred(&owner.core, &mut out, |respond| respond.stream("text/plain"));
        owner.core.draining = true;
        let (_, progress) = owner.connection.last_piece(piece(b"x"));
        assert_eq!(disposition(&progress), after);
        assert_eq!(String::from_utf8(out).unwrap().contains("\r\nConnection: close\r\n"), before);
    }
}

#[test]
#[should_panic(expected = "no response of this connection has begun")]
fn a_piece_of_a_response_that_has_not_begun_is_the_owners_fault() {
    let mut owner = Owner::new();
    let _ = owner.receive(&post("/streamed", "", b"x"));
    let _ = owner.connection.piece(piece(b"x"));
}

#[test]
fn continue_is_sent_when_the_body_has_not_begun() {
    let bytes = post("/m", "Expect: 100-continue\r\n", b"hello");
    let (head, body) = bytes.split_at(bytes.len() - 5);
    let mut owner = Owner::new();
    let (progress, out) = owner.receive(head);
    assert_eq!(out, CONTINUE);
    assert_eq!((progress.responses, progress.result, progress.deadline), (0, false, Some(Deadline::Body)));
    owner.deliver(body);
    assert_eq!(owner.bodies(), [b"hello"]);
    assert_eq!(owner.statuses(), [200]);

    for sent_at_once in [&bytes[..], &bytes[..head.len() + 1]] {
        let mut owner = Owner::new();
        let (_, out) = owner.receive(sent_at_once);
        assert!(!out.starts_with(CONTINUE));
    }
}

#[test]
fn continue_comes_after_the_responses_before_it() {
    let head = b"POST /m HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n";
    let mut owner = Owner::new();
    owner.deliver(&[GET, &post("/deferred", "", b"x"), head].concat());
    assert_eq!(owner.statuses(), [200, 200, 100]);
    owner.deliver(b"1\r\nx\r\n0\r\n\r\n");
    assert_eq!(owner.statuses(), [200, 200, 100, 200]);
}

#[test]
fn continue_is_not_sent_without_a_body_nor_in_http_1_0_nor_with_a_refusal() {
    for (bytes, statuses) in [
        (&b"POST /m HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n"[..], &[200][..]),
        (b"POST /m HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nExpect: 100-continue\r\n\r\n", &[200]),
        (b"POST /m HTTP/1.0\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n", &[]),
        (b"POST /limited HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n", &[429]),
        (b"POST /m HTTP/1.1\r\nHost: a\r\nContent-Length: 999999\r\nExpect: 100-continue\r\n\r\n", &[413]),
    ] {
        assert_eq!(whole(bytes).statuses(), statuses, "{}", String::from_utf8_lossy(bytes));
    }
}

#[test]
fn a_request_refused_while_it_waits_for_continue_ends_the_connection() {
    let owner = whole(b"POST /limited HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(owner.after, Disposition::Linger);
    assert!(owner.text().contains("\r\nConnection: close\r\n"));
}

#[test]
fn http_1_0_is_told_what_becomes_of_the_connection() {
    let owner = whole(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(owner.after, Disposition::KeepOpen);
    assert!(owner.text().contains("\r\nConnection: keep-alive\r\n"));
    let owner = whole(b"GET / HTTP/1.0\r\n\r\n");
    assert_eq!(owner.after, Disposition::Close);
    assert!(owner.text().contains("\r\nConnection: close\r\n"));
    assert!(!whole(GET).text().contains("Connection:"));
}

#[test]
fn head_has_no_body_even_when_it_is_refused() {
    for head in
        ["HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n", "HEAD /missing HTTP/1.1\r\nHost: a\r\n\r\n", "HEAD / HTTP/1.1\r\n\r\n"]
    {
        let text = whole(head.as_bytes()).text();
        assert!(text.ends_with("\r\n\r\n") && !text.contains("Content-Length: 0"), "{text}");
    }
}

#[test]
fn draining_ends_each_connection_with_its_next_response() {
    for request in
        [GET.to_vec(), post("/limited", "", b"x"), post("/deferred", "", b"x"), chunked("/m", "", b"0\r\n\r\n")]
    {
        let mut owner = Owner::new();
        owner.deliver(GET);
        owner.core.draining = true;
        owner.deliver(&request);
        assert_ne!(owner.after, Disposition::KeepOpen);
        assert_eq!(owner.text().matches("\r\nConnection: close\r\n").count(), 1);
    }
}

#[test]
fn draining_that_begins_while_a_request_is_deferred_ends_the_connection_too() {
    let mut owner = Owner::new();
    let _ = owner.receive(&post("/deferred", "", b"x"));
    owner.core.draining = true;
    let mut out = Vec::new();
    let progress = owner.connection.respond_deferred(&owner.core, &mut out, |respond| respond.accepted(1));
    assert_eq!(disposition(&progress), Disposition::Close);
    assert!(String::from_utf8(out).unwrap().contains("\r\nConnection: close\r\n"));
}

#[test]
fn the_end_lingers_only_when_input_may_follow() {
    let close = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    assert_eq!(whole(close).after, Disposition::Close);
    let mut owner = whole(&[&close[..], GET].concat());
    assert_eq!(owner.after, Disposition::Linger);
    assert_eq!(owner.statuses(), [200]);
    assert!(!owner.connection.drain(&vec![0; LINGER_BYTES_MAX - GET.len() - 1]));
    assert!(owner.connection.buffer(b"x", &mut owner.core));
    assert_eq!(owner.connection.owned_bytes(), 0);
}

#[test]
fn clocks_start_afresh_with_each_phase_and_each_request() {
    let mut owner = Owner::new();
    let mut deadline = |bytes: &[u8]| owner.receive(bytes).0.deadline;
    assert_eq!(deadline(b""), Some(Deadline::Idle));
    assert_eq!(deadline(b""), None);
    assert_eq!(deadline(b"POST / HT"), Some(Deadline::Head));
    assert_eq!(deadline(b"TP/1.1\r\nHost: a\r\n"), None);
    assert_eq!(deadline(b"Content-Length: 4\r\n\r\n"), Some(Deadline::Body));
    assert_eq!(deadline(b"ab"), None);
    assert_eq!(deadline(b"cd"), Some(Deadline::Idle));
    assert_eq!(deadline(GET), Some(Deadline::Idle));
    assert_eq!(deadline(&[GET, b"G"].concat()), Some(Deadline::Head));
    assert_eq!(deadline(b"ET / HTTP/1.1\r\nHost: a\r\n\r\nG"), Some(Deadline::Head));
    assert_eq!(deadline(b"E"), None);
}

#[test]
fn a_discarded_body_has_a_clock_of_its_own() {
    let mut owner = Owner::new();
    let head = b"POST /limited HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n";
    assert_eq!(owner.receive(head).0.deadline, Some(Deadline::Body));
    let next = b"abcdPOST /m HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n";
    assert_eq!(owner.receive(next).0.deadline, Some(Deadline::Body));
}

#[test]
fn timeouts_in_every_phase() {
    type Case<'a> = (&'a [u8], &'a [u16], Disposition, &'a [&'a str]);
    let cases: [Case<'_>; 9] = [
        (b"", &[], Disposition::Close, &[]),
        (GET, &[200], Disposition::Close, &[]),
        (b"G", &[408], Disposition::Linger, &["head_timeout"]),
        (b"\r\n", &[408], Disposition::Linger, &["head_timeout"]),
        (b"\r", &[408], Disposition::Linger, &["head_timeout"]),
        (b"POST /m HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n", &[408], Disposition::Linger, &["body_timeout"]),
        (
            b"POST /m HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nab",
            &[408],
            Disposition::Linger,
            &["body_timeout"],
        ),
        (b"POST /limited HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n", &[429], Disposition::Close, &[]),
        (b"GET / HTTP/1.1\r\n\r\n", &[400], Disposition::Close, &["host_missing"]),
    ];
    for (bytes, statuses, after, reasons) in cases {
        let mut owner = whole(bytes);
        let mut out = Vec::new();
        assert_eq!(
            disposition(&owner.connection.timed_out((), &mut owner.service, &mut owner.core, &mut out)),
            after,
            "{bytes:?}"
        );
        owner.sent.extend_from_slice(&out);
        assert_eq!(owner.statuses(), statuses, "{bytes:?}");
        assert_eq!(owner.reasons(), reasons, "{bytes:?}");
        assert_eq!(owner.connection.owned_bytes(), 0);
    }
}

#[test]
fn bytes_buffered_behind_responses_pause_the_connection() {
    let mut owner = Owner::new();
    let _ = owner.receive(GET);
    let requests = GET.repeat(INBOX_BYTES_MAX / GET.len() + 1);
    let (first, rest) = requests.split_at(INBOX_BYTES_MAX - 1);
    assert!(!owner.connection.buffer(first, &mut owner.core));
    assert!(owner.connection.buffer(rest, &mut owner.core));
    let mut responses = 0;
    let mut paused = true;
    loop {
        let (progress, _) = owner.receive(b"");
        responses += progress.responses;
        assert!(paused || !progress.pause, "a pause taken back must stay so");
        paused = progress.pause;
        if !progress.more {
            break;
        }
    }
    assert_eq!(responses, requests.len() / GET.len());
    assert!(!paused);
}

#[test]
fn an_idle_connection_owns_nothing_and_is_small() {
    let mut owner = Owner::new();
    for request in
        [GET.to_vec(), post("/m", "", &vec![b'x'; BODY_BYTES_MAX]), chunked("/m", "", b"1\r\nx\r\n0\r\n\r\n")]
    {
        for byte in request.chunks(1000) {
            owner.deliver(byte);
        }
        assert_eq!(owner.connection.owned_bytes(), 0);
    }
    assert!(size_of::<Connection<u64>>() <= 200, "{}", size_of::<Connection<u64>>());
}

#[test]
fn a_lying_length_reserves_nothing_ahead() {
    let mut owner = Owner::new();
    owner.deliver(format!("POST /m HTTP/1.1\r\nHost: a\r\nContent-Length: {BODY_BYTES_MAX}\r\n\r\n").as_bytes());
    for arrived in 1..1000 {
        owner.deliver(b"x");
        assert!(owner.connection.owned_bytes() <= 2 * arrived);
    }
}
