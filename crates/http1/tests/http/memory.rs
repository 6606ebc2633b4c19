//! The budget of memory held for peers: the requested amounts, the refusals without any, and that the sums hold.

use super::owner::{BODY_BYTES_MAX, Owner, chunked, disposition, post};
use http1::Disposition;

const GET: &[u8] = b"GET /m HTTP/1.1\r\nHost: a\r\n\r\n";

/// An owner with `bytes` of memory left.
fn with_memory(bytes: usize) -> Owner {
    let mut owner = Owner::new();
    assert!(owner.core.reserve(owner.core.free_bytes() - bytes));
    owner
}

#[test]
fn a_whole_request_needs_no_memory() {
    let mut owner = with_memory(0);
    for _ in 0..3 {
        owner.deliver(&post("/m", "", b"12345"));
    }
    assert_eq!(owner.statuses(), [200, 200, 200]);
    assert_eq!(owner.core.free_bytes(), 0);
}

#[test]
fn half_a_head_without_memory_is_refused() {
    let mut owner = with_memory(9);
    owner.deliver(&GET[..9]);
    assert_eq!((owner.statuses(), owner.core.free_bytes()), (vec![], 0), "there is just enough");
    owner.deliver(&GET[9..12]);
    assert_eq!((owner.statuses(), owner.after, owner.reasons()), (vec![503], Disposition::Linger, vec!["bodies_full"]));
    assert_eq!((owner.connection.owned_bytes(), owner.core.free_bytes()), (0, 9), "all of it is back");
}

#[test]
fn half_a_body_without_memory_is_refused() {
    let length = post("/m", "", &[b'x'; 5_000]);
    let pieces = chunked("/m", "", b"1000\r\n");
    for (head, body) in
        [(&length[..length.len() - 5_000], &length[length.len() - 5_000..]), (&pieces[..], &[b'x'; 4_096])]
    {
        let mut owner = with_memory(1_000);
        owner.deliver(head);
        owner.deliver(&body[..900]);
        assert_eq!(owner.statuses(), [] as [u16; 0]);
        owner.deliver(&body[900..1_100]);
        assert_eq!(
            (owner.statuses(), owner.after, owner.reasons()),
            (vec![503], Disposition::Linger, vec!["bodies_full"])
        );
        assert_eq!(owner.core.free_bytes(), 1_000);
    }
}

#[test]
fn what_came_before_the_gap_is_responseed_and_then_503() {
    let mut owner = with_memory(100);
    let (_, out) = owner.receive(GET);
    owner.sent = out;
    assert!(!owner.connection.buffer(GET, &mut owner.core), "it fits");
    assert!(owner.connection.buffer(&[b'x'; 100], &mut owner.core), "receiving is to pause");
    assert!(owner.connection.buffer(GET, &mut owner.core), "and what follows is of no use");
    assert!(owner.connection.has_buffered());
    owner.deliver(b"");
    assert_eq!((owner.statuses(), owner.after), (vec![200, 200, 503], Disposition::Linger));
    assert_eq!((owner.connection.owned_bytes(), owner.connection.has_buffered()), (0, false));
}

#[test]
fn a_gap_behind_a_deferred_request_waits_for_its_response() {
    let mut owner = with_memory(0);
    let (progress, _) = owner.receive(&post("/deferred", "", b"x"));
    assert!(progress.next == http1::Next::RespondDeferred);
    assert!(owner.connection.buffer(GET, &mut owner.core));
    let mut out = Vec::new();
    let later = |respond: http1::Responder<'_>| respond.body(http1::Status::Ok, "text/plain", b"later");
    let progress = owner.connection.respond_deferred(&owner.core, &mut out, later);
    assert!(progress.more && progress.pause, "{progress:?}");
    owner.sent = out;
    owner.deliver(b"");
    assert_eq!((owner.statuses(), owner.after), (vec![200, 503], Disposition::Linger));
}

#[test]
fn a_burst_without_memory_ends_with_a_response() {
    let mut owner = with_memory(0);
    let (progress, out) = owner.receive(&GET.repeat(5));
    assert!(progress.responses >= 1 && progress.responses < 5, "{progress:?}");
    assert!(out.capacity() <= 2 * http1::limits::RESPONSE_BYTES, "{}", out.capacity());
}

#[test]
fn who_is_given_up_in_a_request_reads_why() {
    let evict = |owner: &mut Owner| {
        let mut out = Vec::new();
        let error = http1::HttpError::BodiesFull;
        let progress = owner.connection.evict(error, (), &mut owner.service, &mut owner.core, &mut out);
        owner.after = disposition(&progress);
        owner.sent.extend_from_slice(&out);
        (owner.after, owner.connection.owned_bytes())
    };
    let mut idle = Owner::new();
    idle.deliver(GET);
    assert!(!idle.connection.is_in_request());
    assert_eq!(
        (evict(&mut idle), idle.statuses()),
        ((Disposition::Close, 0), vec![200]),
        "nothing is said between requests"
    );
    let mut head = Owner::new();
    head.deliver(&GET[..10]);
    assert!(head.connection.is_in_request());
    assert_eq!((evict(&mut head), head.statuses()), ((Disposition::Linger, 0), vec![503]));
    let mut body = Owner::new();
    body.deliver(&post("/m", "", b"12345")[..50]);
    assert!(body.connection.is_in_request());
    assert_eq!((evict(&mut body), body.statuses()), ((Disposition::Linger, 0), vec![503]));
}

#[test]
fn growth_is_never_more_than_was_announced() {
    let body = post("/m", "", &vec![b'x'; BODY_BYTES_MAX]);
    let requests = [GET.repeat(40), body, GET[..20].to_vec()].concat();
    for step in [1, 7, 100, 1_000, 9_999] {
        let mut owner = Owner::new();
        let decoder = owner.core.kept_bytes();
        for piece in requests.chunks(step) {
            let before = owner.core.held_bytes();
            // A kept buffer may be larger than what is needed; it is lent only where it fits.
            let pooled = owner.core.kept_bytes() - decoder;
            let announced = owner.connection.growth_max(piece.len()) + pooled;
            owner.deliver(piece);
            assert!(owner.core.held_bytes() <= before + announced, "{step}");
            assert_eq!(owner.core.held_bytes(), owner.connection.owned_bytes(), "{step}");
        }
    }
}
