//! Parser of responses as they come off a connection: cut anywhere, several in one piece, with a length, chunked, or
//! ended by the end of the connection. It keeps nothing of a body; it only finds the end of the response and its
//! status.

use crate::head::{self, HEAD_BYTES_MAX};

/// One complete response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response {
    /// 200 to 999.
    pub status: u16,
    /// The peer ends the connection after this response.
    pub close: bool,
}

/// Error: the bytes are not HTTP/1.x.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Garbage;

/// Heads up to this length are compared with the last one before they are read; longer ones are rare, and differ.
const KNOWN_BYTES_MAX: usize = 512;

/// Finds the responses on one connection. Allocates only for a head that comes in pieces, and for the last one, once.
#[derive(Debug, Default)]
pub struct ResponseParser {
    state: State,
    head: Vec<u8>,
    /// The last head that came in one piece, and the state behind it. Most servers repeat their heads to the byte, and
    /// to compare one costs a tenth of reading it.
    known: Vec<u8>,
    behind_known: State,
    /// The response with that head and the bytes of both together, if it has a length.
    known_response: Option<Response>,
    known_whole_bytes: usize,
    /// The requests are HEAD: a response ends with its head, whatever length that gives (RFC 9110, 9.3.2).
    heads_only: bool,
}

#[derive(Debug, Default, Clone, Copy)]
enum State {
    #[default]
    Head,
    Fixed {
        response: Response,
        left: u64,
    },
    Chunked {
        response: Response,
        chunk: Chunk,
    },
    UntilEof {
        response: Response,
    },
}

/// Position in a chunked body (RFC 9112, 7.1).
#[derive(Debug, Clone, Copy)]
enum Chunk {
    /// In the size; `digits` of it were read.
    Size {
        size: u64,
        digits: u8,
    },
    /// Behind the size, before the line's end.
    Extension {
        size: u64,
    },
    Data {
        left: u64,
    },
    /// Before the line end that follows the data.
    DataEnd,
    /// In the trailer section, with `line_bytes` of its current line read.
    Trailer {
        line_bytes: u64,
    },
}

impl ResponseParser {
    /// A parser of the responses to requests of this method.
    #[must_use]
    pub fn responses_to(method: &str) -> Self {
        Self { heads_only: method == "HEAD", ..Self::default() }
    }

    /// Forgets what it has read: a new connection begins.
    pub fn reset(&mut self) {
        self.state = State::Head;
        self.head.clear();
    }

    /// Returns true if part of a response was read, and its end was not.
    #[must_use]
    pub fn is_within(&self) -> bool {
        !matches!(self.state, State::Head) || !self.head.is_empty()
    }

    /// Reads on, to the end of one response at most. Gives the number of bytes it used, which is all of them unless a
    /// response ended before.
    ///
    /// # Errors
    /// The bytes are not a response. The parser is then of no use until [`reset`](Self::reset).
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(usize, Option<Response>), Garbage> {
        let is_whole = self.known_response.is_some() && !self.is_within() && bytes.len() >= self.known_whole_bytes;
        if is_whole && bytes.starts_with(&self.known) {
            return Ok((self.known_whole_bytes, self.known_response));
        }
        let mut used = 0;
        while used < bytes.len() {
            let rest = &bytes[used..];
            let (taken, response) = match self.state {
                State::Head => self.feed_head(rest)?,
                State::Fixed { response, left } => {
                    let taken = take(left, rest);
                    let left = left - taken as u64;
                    self.state = State::Fixed { response, left };
                    (taken, (left == 0).then_some(response))
                }
                State::Chunked { response, chunk } => {
                    let (taken, next) = feed_chunk(chunk, rest)?;
                    if let Some(chunk) = next {
                        self.state = State::Chunked { response, chunk };
                    }
                    (taken, next.is_none().then_some(response))
                }
                State::UntilEof { .. } => (rest.len(), None),
            };
            used += taken;
            if response.is_some() {
                self.state = State::Head;
                return Ok((used, response));
            }
        }
        Ok((used, None))
    }

    /// The connection has ended: the response that this completes, if it is one without a length.
    pub fn finish(&mut self) -> Option<Response> {
        let State::UntilEof { response } = self.state else { return None };
        self.state = State::Head;
        Some(response)
    }

    fn feed_head(&mut self, bytes: &[u8]) -> Result<(usize, Option<Response>), Garbage> {
        if self.head.is_empty() {
            // A head has no meaning beyond its bytes, its end among them.
            if !self.known.is_empty() && bytes.starts_with(&self.known) {
                return Ok((self.known.len(), self.enter(self.behind_known)));
            }
            if let Some((state, taken)) = begin(bytes)? {
                self.known.clear();
                self.known_response = None;
                if taken <= KNOWN_BYTES_MAX {
                    self.known.extend_from_slice(&bytes[..taken]);
                    self.behind_known = state;
                    (self.known_whole_bytes, self.known_response) = self.whole(taken, state);
                }
                return Ok((taken, self.enter(state)));
            }
        }
        let earlier = self.head.len();
        let capacity = HEAD_BYTES_MAX - earlier;
        self.head.extend_from_slice(&bytes[..bytes.len().min(capacity)]);
        match begin(&self.head)? {
            Some((state, head_bytes)) => {
                self.head.clear();
                Ok((head_bytes - earlier, self.enter(state)))
            }
            None if bytes.len() >= capacity => Err(Garbage),
            None => Ok((bytes.len(), None)),
        }
    }

    /// The response with a head of `head_bytes` and `state` behind it, and the bytes of both, if it has a length.
    fn whole(&self, head_bytes: usize, state: State) -> (usize, Option<Response>) {
        match state {
            State::Fixed { response, left } if !self.heads_only => {
                let whole = usize::try_from(left).ok().and_then(|body_bytes| head_bytes.checked_add(body_bytes));
                (whole.unwrap_or(usize::MAX), Some(response))
            }
            _ => (0, None),
        }
    }

    /// Goes on behind a head; a response without a body is complete at once.
    fn enter(&mut self, state: State) -> Option<Response> {
        self.state = state;
        match state {
            State::Fixed { response, left: 0 } => Some(response),
            State::Fixed { response, .. } | State::Chunked { response, .. } | State::UntilEof { response }
                if self.heads_only =>
            {
                Some(response)
            }
            _ => None,
        }
    }
}

/// Parses the head at the start of `bytes`: returns the state that follows it and the head's length; `None` while it is
/// incomplete.
fn begin(bytes: &[u8]) -> Result<Option<(State, usize)>, Garbage> {
    // Decided on the first bytes, so that a peer that talks something else is not waited for.
    let prefix = b"HTTP/1.";
    let seen = bytes.len().min(prefix.len());
    if bytes[..seen] != prefix[..seen] {
        return Err(Garbage);
    }
    let Some(head) = head::scan(bytes).map_err(|_| Garbage)? else { return Ok(None) };
    let &[_, _, _, _, _, _, _, minor, b' ', hundreds, tens, ones, ref reason @ ..] = head.first_line else {
        return Err(Garbage);
    };
    let digits = [hundreds, tens, ones];
    if !digits.iter().all(u8::is_ascii_digit) || !matches!(reason, [] | [b' ', ..]) {
        return Err(Garbage);
    }
    let status = digits.iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    let state = match status {
        // An interim response (RFC 9110, 15.2): the real one follows. Nothing here requests an upgrade.
        100 | 102..200 => State::Head,
        0..200 => return Err(Garbage),
        _ => {
            let close = head.close || (minor == b'0' && !head.keep_alive);
            match (status, head.chunked, head.content_length) {
                (204 | 304, ..) => State::Fixed { response: Response { status, close }, left: 0 },
                (_, true, _) => {
                    State::Chunked { response: Response { status, close }, chunk: Chunk::Size { size: 0, digits: 0 } }
                }
                (_, false, Some(left)) => State::Fixed { response: Response { status, close }, left },
                (_, false, None) => State::UntilEof { response: Response { status, close: true } },
            }
        }
    };
    Ok(Some((state, head.bytes)))
}

/// One step through a chunked body: how many bytes it used, and where the next one falls; `None` behind the last.
fn feed_chunk(chunk: Chunk, bytes: &[u8]) -> Result<(usize, Option<Chunk>), Garbage> {
    let byte = bytes[0];
    let next = match chunk {
        Chunk::Data { left } => {
            let taken = take(left, bytes);
            let left = left - taken as u64;
            return Ok((taken, Some(if left == 0 { Chunk::DataEnd } else { Chunk::Data { left } })));
        }
        Chunk::Size { size, digits } => match (char::from(byte).to_digit(16), byte) {
            // Fifteen digits: the size stays far below 2^64.
            (Some(digit), _) if digits < 15 => Chunk::Size { size: size * 16 + u64::from(digit), digits: digits + 1 },
            (None, b'\n') if digits > 0 => behind_size(size),
            (None, b'\r' | b';' | b' ' | b'\t') if digits > 0 => Chunk::Extension { size },
            _ => return Err(Garbage),
        },
        Chunk::Extension { size } if byte == b'\n' => behind_size(size),
        Chunk::Extension { size } => Chunk::Extension { size },
        Chunk::DataEnd => match byte {
            b'\r' => Chunk::DataEnd,
            b'\n' => Chunk::Size { size: 0, digits: 0 },
            _ => return Err(Garbage),
        },
        Chunk::Trailer { line_bytes: 0 } if byte == b'\n' => return Ok((1, None)),
        Chunk::Trailer { line_bytes } => match byte {
            b'\n' => Chunk::Trailer { line_bytes: 0 },
            b'\r' => Chunk::Trailer { line_bytes },
            _ => Chunk::Trailer { line_bytes: line_bytes + 1 },
        },
    };
    Ok((1, Some(next)))
}

fn behind_size(size: u64) -> Chunk {
    if size == 0 { Chunk::Trailer { line_bytes: 0 } } else { Chunk::Data { left: size } }
}

/// Returns how many of `bytes` belong to the `left` bytes that are due.
fn take(left: u64, bytes: &[u8]) -> usize {
    usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OK: Response = Response { status: 200, close: false };

    /// All responses in `pieces`, which follow each other on one connection, and the one that its end completes.
    fn parse<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Response>, Garbage> {
        let (mut parser, mut responses) = (ResponseParser::default(), Vec::new());
        for mut piece in pieces {
            while !piece.is_empty() {
                let (used, response) = parser.feed(piece)?;
                assert!(used == piece.len() || response.is_some());
                responses.extend(response);
                piece = &piece[used..];
            }
        }
        responses.extend(parser.finish());
        Ok(responses)
    }

    #[test]
    fn any_cut_gives_the_same_responses() {
        let stream = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello\
            HTTP/1.1 100 Continue\r\n\r\n\
            HTTP/1.1 429 Too Many\r\ncontent-length:0\r\nRetry-After: 1\r\n\r\n\
            HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;ext=1\r\nabc\r\n0a\r\n0123456789\r\n0\r\nT: v\r\n\r\n\
            HTTP/1.1 204\r\n\r\n\
            HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n\
            HTTP/1.0 503 Busy\r\n\r\nno length";
        let whole = parse([&stream[..]]).unwrap();
        assert_eq!(whole.iter().map(|response| response.status).collect::<Vec<_>>(), [200, 429, 200, 204, 200, 503]);
        assert_eq!(
            whole.iter().map(|response| response.close).collect::<Vec<_>>(),
            [false, false, false, false, false, true]
        );
        for first in 0..stream.len() {
            for second in first..stream.len() {
                let pieces = [&stream[..first], &stream[first..second], &stream[second..]];
                assert_eq!(parse(pieces).as_ref(), Ok(&whole), "cut at {first} and {second}");
            }
        }
        assert_eq!(parse(stream.chunks(1)), Ok(whole));
    }

    #[test]
    fn a_head_that_is_known_is_read_as_if_it_were_not() {
        let heads = [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHTTP/",
            "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n01234567890123456789012345678901234567890123456789",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 \r\n\r\n",
            "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n",
        ];
        let long = format!("HTTP/1.1 200 OK\r\nX: {}\r\nContent-Length: 0\r\n\r\n", "x".repeat(KNOWN_BYTES_MAX));
        for first in heads.into_iter().chain([long.as_str()]) {
            for second in heads {
                let expected = [first, first, second, first].map(|one| parse([one.as_bytes()]).unwrap()).concat();
                let stream = [first, first, second, first].concat().into_bytes();
                for cut in 0..stream.len() {
                    let pieces = [&stream[..cut], &stream[cut..]];
                    assert_eq!(parse(pieces).as_ref(), Ok(&expected), "{first:?} and {second:?}, cut at {cut}");
                }
            }
        }
        let mut parser = ResponseParser::default();
        let (_, known) = parser.feed(heads[0].as_bytes()).unwrap();
        parser.reset();
        assert_eq!(parser.feed(heads[0].as_bytes()).unwrap(), (heads[0].len(), known), "on the next connection, too");
        assert_eq!(parser.feed(b"HTTP/1.1 2x"), Ok((11, None)), "the begin of another head waits for its end");
        assert_eq!(parser.feed(b"0 OK\r\n\r\n"), Err(Garbage));
    }

    #[test]
    fn a_response_cut_off_by_the_end_is_none() {
        let stream = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
        for cut in 0..stream.len() {
            assert_eq!(parse([&stream[..cut]]), Ok(vec![]), "cut at {cut}");
        }
        assert_eq!(parse([&stream[..]]), Ok(vec![OK]));
    }

    #[test]
    fn what_is_not_a_response_is_garbage_from_its_first_wrong_byte() {
        for garbage in [
            "hello",
            "HTTP/2 200\r\n\r\n",
            "HTTP/1.1 2xx OK\r\n\r\n",
            "HTTP/1.1 2000 OK\r\n\r\n",
            "HTTP/1.1 101 Switching\r\n\r\n",
            "HTTP/1.1 099 Low\r\n\r\n",
            "HTTP/1.1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
        ] {
            assert_eq!(parse([garbage.as_bytes()]), Err(Garbage), "{garbage:?}");
            assert_eq!(parse(garbage.as_bytes().chunks(1)), Err(Garbage), "{garbage:?} byte by byte");
        }
    }

    #[test]
    fn a_head_without_end_is_garbage_at_its_bound() {
        let mut stream = b"HTTP/1.1 200 OK\r\nX: ".to_vec();
        stream.resize(HEAD_BYTES_MAX - 1, b'x');
        assert_eq!(parse(stream.chunks(1000)), Ok(vec![]));
        stream.push(b'x');
        assert_eq!(parse(stream.chunks(1000)), Err(Garbage));
        assert_eq!(parse([&stream[..]]), Err(Garbage));
    }

    #[test]
    fn a_response_to_head_has_no_body() {
        let stream =
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let mut parser = ResponseParser::responses_to("HEAD");
        let (used, first) = parser.feed(stream).unwrap();
        assert_eq!((used, first), (38, Some(OK)));
        assert_eq!(parser.feed(&stream[used..]).unwrap(), (stream.len() - used, Some(OK)));
    }

    #[test]
    fn an_old_server_keeps_the_connection_only_when_it_says_so() {
        let close = |stream: &str| parse([stream.as_bytes()]).unwrap()[0].close;
        assert!(close("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"));
        assert!(!close("HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n"));
        assert!(close("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"));
    }
}
