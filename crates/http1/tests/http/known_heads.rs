//! Heads that are remembered make no difference: to the service, and to the client.

use proptest::prelude::*;

use super::corpus;
use super::owner::{Event, Owner, gzip};
use http1::{Bounds, Burst, Connection, Head, HeadId, HttpContext, HttpError, Responder, Rules, Served, Service};

/// An owner whose core parses every head.
fn forgetful() -> Owner {
    let mut owner = Owner::new();
    owner.core.forget_heads();
    owner
}

/// Delivers the same pieces to an owner that remembers heads and to one that does not.
fn compare(pieces: &[&[u8]]) -> Owner {
    let (mut remembering, mut forgetful) = (Owner::new(), forgetful());
    for piece in pieces {
        remembering.deliver(piece);
        forgetful.deliver(piece);
        assert_eq!(remembering.service.events, forgetful.service.events, "{}", piece.escape_ascii());
        assert_eq!(remembering.text(), forgetful.text(), "{}", piece.escape_ascii());
        assert_eq!(remembering.after, forgetful.after, "{}", piece.escape_ascii());
        assert_eq!(remembering.deadline, forgetful.deadline, "{}", piece.escape_ascii());
    }
    remembering
}

/// Heads of requests as clients write them, with a mark where a length and a trace go.
const TEMPLATES: &[&str] = &[
    "POST /m HTTP/1.1\r\nHost: a\r\nContent-Length: LENGTH\r\n\r\n",
    "POST /m?ack=write HTTP/1.1\r\nhost: a:80\r\ntraceparent: TRACE\r\ncontent-length:LENGTH \r\nX: y\r\n\r\n",
    "POST /m HTTP/1.1\r\nHost: a\r\nContent-Length: LENGTH\r\nTraceParent: TRACE\r\nAuthorization: key k\r\n\r\n",
    "POST http://h?q HTTP/1.1\r\nHost: a\r\nContent-Length: LENGTH\r\n\r\n",
    "POST /held HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: LENGTH\r\n\r\n",
    "POST /m HTTP/1.0\r\nContent-Length: LENGTH\r\n\r\n",
    "POST /usual HTTP/1.1\r\nHost: a\r\nContent-Encoding: snappy\r\nContent-Length: LENGTH\r\n\r\n",
    "POST /small HTTP/1.1\r\nHost: a\r\nContent-Length: LENGTH\r\n\r\n",
    "POST /limited HTTP/1.1\r\nHost: a\r\nContent-Length: LENGTH\r\n\r\n",
    "POST /m HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: LENGTH\r\n\r\n",
    "POST /m HTTP/1.1\r\nHost: a\r\ntracestate: v=1\r\nContent-Length: LENGTH\r\n\r\n",
    "POST /m HTTP/1.1\r\nHost: a\r\ntraceparent: TRACE\r\ntraceparent: TRACE\r\nContent-Length: LENGTH\r\n\r\n",
    "POST /m HTTP/1.1\r\nHost: a\r\ntraceparent:\r\nContent-Length: LENGTH\r\n\r\n",
    "POST /m HTTP/1.1\r\nHost: a\r\nAccept: x\r\nContent-Type: y\r\nOrigin: z\r\nContent-Length: LENGTH\r\n\r\n",
    "PUT /m HTTP/1.1\r\nHost: a\r\nContent-Length: LENGTH\r\n\r\n",
    "GET /m HTTP/1.1\r\nHost: a\r\nContent-Length: LENGTH\r\n\r\n",
    "POST /m HTTP/1.1\r\nHost: a\r\n\r\n",
];
const LENGTHS: &[&str] = &[
    "0",
    "5",
    "10",
    "00010",
    "",
    "x",
    "5x",
    "-1",
    "0000000000000000005",
    "00000000000000000005",
    "99999999999999999999",
    "1 1",
];
const TRACES: &[&str] = &[
    "00-4bf92f35-00f067aa-01",
    "00-4bf92f35-00f067ab-00",
    "00-4bf92f35-00f067aa-0",
    " 0-4bf92f35-00f067aa-0\t",
    "00-\u{7f}bf92f35-00f067aa-01",
    "00-4bf92f35-00f067aa-01, x",
];

fn request(template: &str, length: &str, trace: &str) -> Vec<u8> {
    let head = template.replace("LENGTH", length).replace("TRACE", trace);
    let body_bytes = if template.contains("LENGTH") { length.parse().unwrap_or(0_usize).min(100) } else { 0 };
    [head.as_bytes(), &b"0123456789".repeat(10)[..body_bytes]].concat()
}

#[test]
fn a_known_head_is_used_for_other_lengths_and_traces() {
    let mut pieces = Vec::new();
    for template in &TEMPLATES[..5] {
        for (length, trace) in [("5", TRACES[0]), ("10", TRACES[1]), ("0", TRACES[0]), ("00010", TRACES[0])] {
            pieces.push(request(template, length, trace));
        }
    }
    let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
    let owner = compare(&pieces);
    let heads = owner.service.events.iter().filter(|event| matches!(event, Event::Head(_))).count();
    assert_eq!(heads, 20);
}

#[test]
fn a_known_head_differs_by_no_other_byte() {
    for template in &TEMPLATES[..4] {
        let good = request(template, "5", TRACES[0]);
        for at in 0..good.len() - 5 {
            for byte in *b"\r\n\t :,0z\x00\xff" {
                let mut other = good.clone();
                other[at] = byte;
                compare(&[&good, &other, &good]);
            }
        }
    }
}

#[test]
fn pipelined_and_cut_heads_are_the_same_as_parsed() {
    let pipelined: Vec<u8> = (0..100_usize)
        .flat_map(|index| request(TEMPLATES[index % 3], ["5", "10", "0"][index % 7 % 3], TRACES[index % 2]))
        .collect();
    compare(&[&pipelined, &pipelined]);
    let twice = [request(TEMPLATES[1], "5", TRACES[0]), request(TEMPLATES[1], "10", TRACES[1])].concat();
    for cut in 0..twice.len() {
        compare(&[&twice, &twice[..cut], &twice[cut..]]);
    }
}

#[test]
fn what_is_decided_for_each_request_is_requested_again() {
    let good = request(TEMPLATES[0], "5", "");
    let mut owner = Owner::new();
    owner.deliver(&good);
    owner.deliver(&good);
    // From here on every response ends its connection.
    owner.core.draining = true;
    owner.deliver(&good);
    assert_eq!(owner.after, http1::Disposition::Close);
    assert_eq!(owner.text().matches("Connection: close").count(), 1);
    assert_eq!(owner.service.events.iter().filter(|event| matches!(event, Event::Head(_))).count(), 3);
}

/// A service that judges a head once, and then by its number.
#[derive(Debug, Default)]
struct ByNumber {
    judged: Vec<(HeadId, String)>,
    judged_again: usize,
    /// Path, stated length and body of each request that was served.
    served: Vec<(String, Option<u64>, Vec<u8>)>,
    refused: usize,
}

/// The verdict on a path.
fn verdict(path: &str, length: Option<u64>) -> Result<(String, Option<u64>), HttpError> {
    if path == "/limited" { Err(HttpError::NotFound) } else { Ok((path.to_owned(), length)) }
}

impl Service for ByNumber {
    type AdmittedRequest = (String, Option<u64>);
    type Caller = ();
    type BurstResult = ();

    fn admit(
        &mut self,
        head: &Head<'_>,
        _: &mut Rules,
        _: &mut Burst<Self>,
    ) -> Result<Self::AdmittedRequest, HttpError> {
        self.judged.extend(head.id.map(|id| (id, head.path.to_owned())));
        verdict(head.path, head.content_length)
    }

    fn admit_again(
        &mut self,
        id: HeadId,
        length: Option<u64>,
        _: &mut Burst<Self>,
    ) -> Option<Result<Self::AdmittedRequest, HttpError>> {
        let (_, path) = self.judged.iter().find(|(judged, _)| *judged == id)?;
        self.judged_again += 1;
        Some(verdict(path, length))
    }

    fn charge(&mut self, _: &mut Self::AdmittedRequest, _: u64) -> Result<(), HttpError> {
        Ok(())
    }

    fn serve(
        &mut self,
        (path, length): Self::AdmittedRequest,
        body: &[u8],
        respond: Responder<'_>,
        _: &mut Burst<Self>,
    ) -> Served {
        self.served.push((path, length, body.to_vec()));
        respond.accepted(body.len())
    }

    fn refused(&mut self, _: Option<Self::AdmittedRequest>, _: HttpError, _: &mut Burst<Self>) {
        self.refused += 1;
    }
}

#[test]
fn a_head_that_is_judged_by_its_number_is_served_the_same() {
    let pieces: Vec<Vec<u8>> = (0..TEMPLATES.len() * LENGTHS.len() * 3)
        .map(|index| {
            let length = LENGTHS[index / TEMPLATES.len() % LENGTHS.len()];
            request(TEMPLATES[index % TEMPLATES.len()], length, TRACES[0]).repeat(1 + index % 3)
        })
        .collect();
    let mut judged_again = 0;
    for (index, piece) in pieces.iter().enumerate() {
        let serve = |forgets: bool| {
            let (mut service, mut core) = (ByNumber::default(), HttpContext::new(Bounds { body_bytes: 1_000 }));
            if forgets {
                core.forget_heads();
            }
            let (mut connection, mut out) = (Connection::new(), Vec::new());
            // Three connections of one core, as some of the requests end theirs.
            for bytes in [piece, &pieces[index % TEMPLATES.len()], piece] {
                let _ = connection.receive(bytes, (), &mut service, &mut core, &mut out);
                connection.release(&mut core);
                connection = Connection::new();
            }
            (service, out)
        };
        let ((by_number, responses), (parsed, expected)) = (serve(false), serve(true));
        assert_eq!(by_number.served, parsed.served, "{}", piece.escape_ascii());
        assert_eq!(by_number.refused, parsed.refused, "{}", piece.escape_ascii());
        assert_eq!(responses, expected, "{}", piece.escape_ascii());
        assert_eq!(parsed.judged_again, 0);
        judged_again += by_number.judged_again;
    }
    assert!(judged_again > pieces.len() / 4, "{judged_again}");
}

#[test]
fn more_heads_than_are_remembered_make_no_difference() {
    let heads: Vec<Vec<u8>> = (0..200)
        .map(|index| {
            let fields = "X: y\r\n".repeat(index % 20);
            request(&format!("POST /{index} HTTP/1.1\r\nHost: a\r\n{fields}Content-Length: LENGTH\r\n\r\n"), "5", "")
        })
        .collect();
    let pieces: Vec<&[u8]> = heads.iter().chain(&heads).flat_map(|head| [head.as_slice(); 2]).collect();
    compare(&pieces);
    let long = format!("POST /m HTTP/1.1\r\nHost: a\r\nX: {}\r\nContent-Length: 0\r\n\r\n", "y".repeat(600));
    compare(&[long.as_bytes(); 3]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sequences_of_requests_are_the_same_as_parsed(
        requests in prop::collection::vec((0..TEMPLATES.len(), any::<u8>(), any::<u8>()), 1..12),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..12_u8), 0..3),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        // The lists begin with what is usual.
        let pick = |list: &[&'static str], byte: u8| {
            let index = usize::from(byte);
            list[if byte < 220 { index % 2 } else { index % list.len() }]
        };
        let mut bytes: Vec<u8> = requests
            .iter()
            .flat_map(|&(template, length, trace)| {
                request(TEMPLATES[template], pick(LENGTHS, length), pick(TRACES, trace)).repeat(2)
            })
            .collect();
        for (at, byte, kind) in damage {
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes[at] ^= 1 << (byte % 8),
                2 => bytes.insert(at, byte),
                _ => {}
            }
        }
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        let mut pieces = Vec::new();
        let mut at = 0;
        for cut in cuts.into_iter().chain([bytes.len()]) {
            pieces.push(&bytes[at..cut]);
            at = cut;
        }
        compare(&pieces);
    }
}

#[test]
fn the_corpus_twice_over_is_the_same_as_parsed() {
    for case in corpus::all() {
        compare(&[&case.bytes, &case.bytes]);
    }
    let body = gzip(b"hi");
    let head =
        format!("POST /m HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n", body.len());
    compare(&[&[head.as_bytes(), &body].concat().repeat(3)]);
}
