//! A connection's owner, with a service that records its calls and responds by path.

use http1::{
    Bounds, Burst, Codings, Connection, Deadline, Disposition, ErrorBody, Head, HttpContext, HttpError, Method, Next,
    Piece, Progress, Responder, Rules, Served, Service, Status, format_date,
};

pub const BODY_BYTES_MAX: usize = 100_000;

/// Calls of the service, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Head(String),
    Body(Vec<u8>),
    Refused { reason: &'static str, had_ticket: bool },
}

/// A service that responds by path. `/limited`, `/missing`, `/full`, `/locked`, `/options`: refused by the head.
/// `/held`, `/deferred`, `/invalid`: as named. `/streamed`: deferred, and then sent piece by piece. All others: 200 for
/// as many metrics as the body has bytes.
#[derive(Debug, Default)]
pub struct Recorder {
    pub events: Vec<Event>,
    /// The path of the last request that was deferred.
    pub deferred: String,
    /// The most that a request was to be charged.
    pub charged_max: u64,
}

/// Routes whose errors have another form.
pub const FORMS: [(&str, ErrorBody); 5] = [
    ("/code", ErrorBody::CodeMessage),
    ("/list", ErrorBody::ErrorList),
    ("/text", ErrorBody::Text),
    ("/rpc-json", ErrorBody::RpcJson),
    ("/rpc-protobuf", ErrorBody::RpcProtobuf),
];

/// Bytes that a request to `/poor` may cost.
pub const POOR_BYTES: u64 = 20_000;

impl Service for Recorder {
    type AdmittedRequest = String;
    type Caller = ();
    type BurstResult = bool;

    fn admit(&mut self, head: &Head<'_>, rules: &mut Rules, _: &mut Burst<Self>) -> Result<String, HttpError> {
        let method = match head.method {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
            Method::Other(other) => other,
        };
        let text = |field: Option<&[u8]>| field.map(|value| String::from_utf8_lossy(value).into_owned());
        self.events.push(Event::Head(format!(
            "{method} {} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?}",
            head.path,
            head.query,
            head.version,
            text(head.authorization),
            text(head.accept),
            text(head.traceparent),
            text(head.tracestate[0]),
            head.content_length,
            text(head.fields.get("content-LENGTH")),
            text(head.fields.get("traceparent")).or_else(|| text(head.fields.get("x"))),
        )));
        let is_usual = head.path == "/usual";
        rules.codings = Codings {
            gzip: head.path != "/no-gzip",
            deflate: !is_usual,
            snappy: !is_usual,
            assumes_snappy: head.path == "/assumes-snappy",
        };
        rules.body_bytes = (head.path == "/small").then_some(10);
        let form = FORMS.iter().find(|(path, _)| head.path.starts_with(path));
        if let Some(&(_, errors)) = form {
            (rules.errors, rules.error_fields) = (errors, b"\r\nX-Written: 0");
            if head.path.ends_with("/refused") {
                return Err(HttpError::Throttled { retry_after_s: 2 });
            }
        }
        match head.path {
            "/limited" => Err(HttpError::RateLimited { retry_after_s: 2 }),
            "/missing" => Err(HttpError::NotFound),
            "/full" => Err(HttpError::Unavailable { text: "the ring is full", retry_after_s: 1 }),
            "/locked" => Err(HttpError::Unauthorized),
            "/options" => Err(HttpError::MethodNotAllowed { allow: "GET, POST" }),
            "/ack" => Err(HttpError::BadRequest("unknown ack level")),
            path => Ok(path.to_owned()),
        }
    }

    fn charge(&mut self, request: &mut String, bytes: u64) -> Result<(), HttpError> {
        self.charged_max = self.charged_max.max(bytes);
        match request.as_str() {
            "/poor" if bytes > POOR_BYTES => Err(HttpError::BytesRateLimited { retry_after_s: 3 }),
            _ => Ok(()),
        }
    }

    fn serve(&mut self, request: String, body: &[u8], respond: Responder<'_>, burst: &mut Burst<Self>) -> Served {
        assert!(body.len() <= BODY_BYTES_MAX, "a body over the bound reached the service");
        self.events.push(Event::Body(body.to_vec()));
        match request.as_str() {
            "/held" => {
                burst.result = true;
                respond.accepted(body.len())
            }
            "/deferred" | "/streamed" => {
                self.deferred = request;
                respond.defer()
            }
            "/invalid" => respond.refuse_content(&format_args!("metrics[{}]: \"value\" is missing", body.len())),
            "/none" => respond.no_content(b"\r\nX-Version: 1"),
            "/part" => respond.refuse_part(&"2 of 3 are stored", b"\r\nX-Written: 2"),
            "/accepted" => respond.body_with(Status::Accepted, "text/plain", b"\r\nX-Written: 3", b"ok"),
            _ => respond.accepted(body.len()),
        }
    }

    fn refused(&mut self, request: Option<String>, error: HttpError, _: &mut Burst<Self>) {
        self.events.push(Event::Refused { reason: error.reason(), had_ticket: request.is_some() });
    }
}

/// Owns one connection as a shard does.
pub struct Owner {
    pub connection: Connection<String>,
    pub service: Recorder,
    pub core: HttpContext,
    /// Everything sent so far.
    pub sent: Vec<u8>,
    pub after: Disposition,
    pub deadline: Option<Deadline>,
    /// Responses in flight, when sending is not instant.
    outstanding: Vec<u8>,
}

impl Owner {
    pub fn new() -> Self {
        Self::with(HttpContext::new(Bounds { body_bytes: BODY_BYTES_MAX }))
    }

    /// With a core that may have served other connections.
    pub fn with(mut core: HttpContext) -> Self {
        core.date = format_date(784_111_777);
        Owner {
            connection: Connection::new(),
            service: Recorder::default(),
            core,
            sent: Vec::new(),
            after: Disposition::KeepOpen,
            deadline: None,
            outstanding: Vec::new(),
        }
    }

    /// One call of `receive`, and nothing else.
    pub fn receive(&mut self, bytes: &[u8]) -> (Progress<bool>, Vec<u8>) {
        let mut out = Vec::new();
        let progress = self.connection.receive(bytes, (), &mut self.service, &mut self.core, &mut out);
        self.note(&progress);
        (progress, out)
    }

    fn note<R>(&mut self, progress: &Progress<R>) {
        self.deadline = progress.deadline.or(self.deadline);
        self.after = disposition(progress);
    }

    /// Delivers bytes; every response is sent at once, and a deferred one is completed at once.
    pub fn deliver(&mut self, bytes: &[u8]) {
        if self.after != Disposition::KeepOpen {
            let _ = self.connection.drain(bytes);
            return;
        }
        let (progress, out) = self.receive(bytes);
        self.outstanding.extend_from_slice(&out);
        self.settle(progress);
    }

    /// Delivers bytes while the responses to the bytes before them are still in flight.
    pub fn deliver_late(&mut self, bytes: &[u8]) {
        if self.outstanding.is_empty() {
            if self.after == Disposition::KeepOpen {
                let (progress, out) = self.receive(bytes);
                self.outstanding = out;
                if self.outstanding.is_empty() || progress.next == Next::RespondDeferred {
                    self.settle(progress);
                }
            }
            return;
        }
        let _ = self.connection.buffer(bytes, &mut self.core);
        self.sent.append(&mut self.outstanding);
        if self.after == Disposition::KeepOpen {
            let (progress, out) = self.receive(b"");
            self.outstanding = out;
            if progress.next == Next::RespondDeferred {
                self.settle(progress);
            }
        }
    }

    /// Sends until nothing is left to be done.
    fn settle(&mut self, mut progress: Progress<bool>) {
        loop {
            self.sent.append(&mut self.outstanding);
            if progress.next == Next::RespondDeferred {
                assert_eq!(disposition(&progress), Disposition::KeepOpen);
                let streamed = self.service.deferred == "/streamed";
                let late =
                    self.connection.respond_deferred(&self.core, &mut self.outstanding, |respond| match streamed {
                        true => respond.stream("text/plain"),
                        false => respond.body(Status::Ok, "text/plain", b"later"),
                    });
                progress = late.with(false);
                self.note(&progress);
            } else if progress.next == Next::Stream {
                for content in STREAMED_PIECES {
                    self.sent.extend_from_slice(&self.connection.piece(piece(content)));
                }
                let (bytes, last) = self.connection.last_piece(piece(STREAMED_LAST));
                self.sent.extend_from_slice(&bytes);
                self.note(&last);
                progress = last.with(false);
            } else if progress.more {
                assert_eq!(disposition(&progress), Disposition::KeepOpen);
                let (next, out) = self.receive(b"");
                assert!(
                    next.responses > 0 || next.next == Next::RespondDeferred || !next.more,
                    "no progress, and more to do"
                );
                self.outstanding = out;
                progress = next;
            } else {
                return;
            }
        }
    }

    /// Sends what is in flight, and goes on until nothing is left.
    pub fn finish(&mut self) {
        self.sent.append(&mut self.outstanding);
        if self.after == Disposition::KeepOpen {
            self.deliver(b"");
        }
    }

    /// Returns the text that was sent, without interim responses.
    pub fn text(&self) -> String {
        String::from_utf8(self.sent.clone()).unwrap().replace("HTTP/1.1 100 Continue\r\n\r\n", "")
    }

    /// The statuses sent, interim ones included.
    pub fn statuses(&self) -> Vec<u16> {
        let text = String::from_utf8_lossy(&self.sent);
        text.match_indices("HTTP/1.1 ").filter_map(|(at, _)| text.get(at + 9..at + 12)?.parse().ok()).collect()
    }

    pub fn bodies(&self) -> Vec<Vec<u8>> {
        let body = |event: &Event| if let Event::Body(body) = event { Some(body.clone()) } else { None };
        self.service.events.iter().filter_map(body).collect()
    }

    pub fn reasons(&self) -> Vec<&'static str> {
        let reason = |event: &Event| if let Event::Refused { reason, .. } = event { Some(*reason) } else { None };
        self.service.events.iter().filter_map(reason).collect()
    }
}

/// Returns the disposition that follows the sending of what a call has appended.
pub fn disposition<R>(progress: &Progress<R>) -> Disposition {
    match progress.next {
        Next::Send(after) => after,
        Next::Close => Disposition::Close,
        Next::AwaitInput | Next::Resume | Next::RespondDeferred | Next::Stream => Disposition::KeepOpen,
    }
}

/// Pieces of the response to `/streamed`.
pub const STREAMED_PIECES: [&[u8]; 2] = [b"one, ", b"two, "];
/// And its end.
pub const STREAMED_LAST: &[u8] = b"three";

/// A piece with this content.
pub fn piece(content: &[u8]) -> Piece {
    let mut piece = Piece::new();
    assert!(piece.fill(content).is_empty());
    piece
}

/// An owner that got `bytes` in one piece.
pub fn whole(bytes: &[u8]) -> Owner {
    let mut owner = Owner::new();
    owner.deliver(bytes);
    owner
}

pub fn gzip(content: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

pub fn zstd(content: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(content, 3).unwrap()
}

/// A stream of zlib, which `deflate` names.
pub fn deflate(content: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// A block of snappy.
pub fn snappy(content: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(content).unwrap()
}

/// A POST with a Content-Length. `fields` are whole lines.
pub fn post(path: &str, fields: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes =
        format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n{fields}\r\n", body.len()).into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// A POST with a chunked body, as given.
pub fn chunked(path: &str, fields: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n{fields}\r\n");
    [head.as_bytes(), body].concat()
}
