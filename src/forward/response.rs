//! A response of a receiver: the status and the fields that a forward goes by, the beginning of its text, and whether
//! its connection can take another request. No socket is named here; bytes may be cut anywhere.

use crate::limits;
use http1::{Chunked, parse_date};
use std::time::Duration;

/// A response.
#[derive(Debug, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub code: u16,
    /// The wait that the receiver requests.
    pub retry_after: Option<Duration>,
    /// Samples that were written, by the fields of version 2.0; `None`: there are none of these fields.
    pub written: Option<usize>,
    /// The beginning of the body.
    pub text: String,
    /// True if the connection can take another request.
    pub is_kept: bool,
}

impl Response {
    /// The response with what came of its body.
    pub fn with(self, body: &Body) -> Self {
        let text = String::from_utf8_lossy(&body.text).trim().escape_debug().to_string();
        Self { text, is_kept: self.is_kept && body.is_whole, ..self }
    }
}

/// The head of a response.
#[derive(Debug)]
pub struct Head {
    /// The response without its text.
    pub response: Response,
    /// The end of the body.
    pub framing: Framing,
    /// Bytes of the head.
    pub bytes: usize,
}

/// The means by which the end of a body is known (RFC 9112, 6.3).
#[derive(Debug)]
pub enum Framing {
    /// The number of its bytes that are to come.
    Length(usize),
    /// The last of its chunks.
    Chunked(Chunked),
    /// The end of the connection.
    Close,
}

/// The body of a response, as it arrives.
#[derive(Debug)]
pub struct Body {
    framing: Framing,
    /// The beginning of its data.
    text: Vec<u8>,
    /// Bytes that were taken.
    bytes: usize,
    /// True once it has ended where nothing follows it.
    is_whole: bool,
}

impl Body {
    /// A body of which nothing has arrived.
    pub const fn new(framing: Framing) -> Self {
        Self { framing, text: Vec::new(), bytes: 0, is_whole: false }
    }

    /// Takes what has arrived. Returns true if there is more to come, and it is to be read.
    pub fn take(&mut self, bytes: &[u8]) -> bool {
        let Self { framing, text, .. } = self;
        let keep = |data: &[u8]| {
            let space = limits::FORWARD_TEXT_BYTES_MAX - text.len();
            text.extend_from_slice(&data[..data.len().min(space)]);
        };
        let end = match framing {
            Framing::Length(left) => take_of(left, bytes, keep),
            Framing::Chunked(decoder) => match decoder.decode(bytes, keep) {
                Ok((end, is_complete)) => is_complete.then_some(end),
                Err(_) => return false,
            },
            // More than is read.
            Framing::Close => take_of(&mut { usize::MAX }, bytes, keep),
        };
        self.bytes += bytes.len();
        self.is_whole = end == Some(bytes.len());
        end.is_none() && self.bytes < limits::FORWARD_RESPONSE_BYTES_MAX
    }
}

/// Takes bytes of a body of which `left` are left. Returns the offset of its end if that is reached.
fn take_of(left: &mut usize, bytes: &[u8], mut keep: impl FnMut(&[u8])) -> Option<usize> {
    let own = bytes.len().min(*left);
    keep(&bytes[..own]);
    *left -= own;
    (*left == 0).then_some(own)
}

impl Head {
    /// Reads a head. `None`: it is not yet whole.
    ///
    /// # Errors
    /// Bytes that are no response of HTTP/1.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, String> {
        let mut headers = [httparse::EMPTY_HEADER; limits::FORWARD_RESPONSE_HEADERS_MAX];
        let mut head = httparse::Response::new(&mut headers);
        let bytes = match head.parse(bytes).map_err(|error| format!("the response is not HTTP: {error}"))? {
            httparse::Status::Partial => return Ok(None),
            httparse::Status::Complete(bytes) => bytes,
        };
        let field = |name: &str| {
            let found = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
            Some(String::from_utf8_lossy(found.value).trim().to_owned())
        };
        let code = head.code.unwrap_or(0);
        let of_kind = |kind: &str| field(&format!("x-prometheus-remote-write-{kind}-written"));
        // Where one of them is there, one that is not is zero, by the specification.
        let written = match of_kind("samples") {
            None => of_kind("histograms").or_else(|| of_kind("exemplars")).map(|_| 0),
            Some(samples) => Some(samples.parse().unwrap_or(0)),
        };
        let closes = field("connection").is_some_and(|value| is_in_list(&value, "close"));
        let response = Response {
            code,
            retry_after: field("retry-after").and_then(|value| wait(&value, field("date").as_deref())),
            written,
            text: String::new(),
            is_kept: !closes && head.version == Some(1),
        };
        Ok(Some(Self { response, framing: framing(code, field)?, bytes }))
    }

    /// True for a response that is followed by the one that counts.
    pub const fn is_informational(&self) -> bool {
        matches!(self.response.code, 100..200)
    }
}

fn framing(code: u16, field: impl Fn(&str) -> Option<String>) -> Result<Framing, String> {
    if matches!(code, 100..200 | 204 | 304) {
        return Ok(Framing::Length(0));
    }
    match (field("transfer-encoding"), field("content-length")) {
        (Some(codings), None) if codings.eq_ignore_ascii_case("chunked") => {
            Ok(Framing::Chunked(Chunked::new(limits::FORWARD_RESPONSE_BYTES_MAX)))
        }
        // With a length too it is not known which of them a proxy went by.
        (Some(_), _) | (None, None) => Ok(Framing::Close),
        (None, Some(text)) => {
            let length = text.parse().map_err(|_| format!("the response has a Content-Length of {text:?}"))?;
            Ok(Framing::Length(length))
        }
    }
}

fn is_in_list(list: &str, member: &str) -> bool {
    list.split(',').any(|part| part.trim().eq_ignore_ascii_case(member))
}

/// The wait of `Retry-After`: seconds, or a date, which is compared with the one of the response.
fn wait(value: &str, date: Option<&str>) -> Option<Duration> {
    let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = if is_number {
        value.parse().unwrap_or(u64::MAX)
    } else {
        parse_date(value.as_bytes())?.saturating_sub(parse_date(date?.as_bytes())?)
    };
    Some(Duration::from_secs(seconds).min(limits::FORWARD_RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Head {
        let head = Head::parse(text.as_bytes()).unwrap().unwrap();
        assert_eq!(head.bytes, text.len());
        head
    }

    /// The text of a body, and whether the connection is kept behind it, with the body cut into pieces.
    fn read(head: &str, body: &[u8], piece_bytes: usize) -> (String, bool) {
        let Head { response, framing, .. } = parsed(head);
        let (mut taken, mut pieces) = (Body::new(framing), body.chunks(piece_bytes));
        while taken.take(pieces.next().unwrap_or_default()) && pieces.len() > 0 {}
        let response = response.with(&taken);
        (response.text, response.is_kept && pieces.len() == 0)
    }

    #[test]
    fn what_was_written_is_in_any_of_three_fields() {
        let written = |field: &str| parsed(&format!("HTTP/1.1 200 OK\r\n{field}\r\n")).response.written;
        for (field, expected) in [
            ("", None),
            ("X-Prometheus-Remote-Write-Samples-Written: 17\r\n", Some(17)),
            ("x-prometheus-remote-write-histograms-written: 3\r\n", Some(0)),
            ("X-PROMETHEUS-REMOTE-WRITE-EXEMPLARS-WRITTEN: 0\r\n", Some(0)),
            ("X-Prometheus-Remote-Write-Samples-Written: many\r\n", Some(0)),
        ] {
            assert_eq!(written(field), expected, "{field}");
        }
    }

    #[test]
    fn a_wait_that_a_receiver_asks_for_is_bounded() {
        let date = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
        let wait = |fields: &str| {
            let head = parsed(&format!("HTTP/1.1 429 X\r\n{fields}\r\n"));
            head.response.retry_after.map(|wait| wait.as_secs())
        };
        let bound = Some(limits::FORWARD_RETRY_AFTER_MAX.as_secs());
        for (value, expected) in [
            ("7", Some(7)),
            ("999999999", bound),
            ("99999999999999999999", bound),
            ("-1", None),
            ("", None),
            ("1.5", None),
            ("soon", None),
            ("Sun, 06 Nov 1994 08:50:00 GMT", Some(23)),
            ("Sun, 06 Nov 1994 08:49:00 GMT", Some(0)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", bound),
            ("Mon, 06 Nov 1994 08:50:00 GMT", None),
        ] {
            assert_eq!(wait(&format!("{date}Retry-After: {value}\r\n")), expected, "{value}");
        }
        assert_eq!(wait("Retry-After: Sun, 06 Nov 1994 08:50:00 GMT\r\n"), None, "later than what?");
    }

    #[test]
    fn a_body_has_its_end_in_any_framing_and_pieces() {
        for (head, body, text, is_kept) in [
            ("204 X\r\nContent-Length: 5\r\n", &b""[..], "", true),
            ("200 X\r\nContent-Length: 5\r\n", b"hello", "hello", true),
            ("200 X\r\nContent-Length: 5\r\n", b"hel", "hel", false),
            ("200 X\r\nContent-Length: 3\r\n", b"helHTTP/1.1 408 X\r\n\r\n", "hel", false),
            ("200 X\r\nTransfer-Encoding: Chunked\r\n", b"3\r\nhel\r\n2;a=b\r\nlo\r\n0\r\nA: b\r\n\r\n", "hello", true),
            ("200 X\r\nTransfer-Encoding: chunked\r\n", b"3\r\nhel\r\n2\r\nl", "hell", false),
            ("200 X\r\nTransfer-Encoding: chunked\r\n", b"3\r\nhel\r\nx", "hel", false),
            ("200 X\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\nx", "", false),
            ("200 X\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n", b"0\r\n\r\n", "0", false),
            ("200 X\r\nTransfer-Encoding: gzip\r\n", b"\x1f\x8b", "\\u{1f}\u{fffd}", false),
            ("200 X\r\n", b"hello", "hello", false),
            ("200 X\r\nContent-Length: 5\r\nConnection: te, Close\r\n", b"hello", "hello", false),
        ] {
            for piece_bytes in [1, 2, 3, 100] {
                let found = read(&format!("HTTP/1.1 {head}\r\n"), body, piece_bytes);
                assert_eq!(found, (text.to_owned(), is_kept), "{head} {body:?} in {piece_bytes}");
            }
        }
        assert!(!read("HTTP/1.0 200 X\r\nContent-Length: 1\r\n\r\n", b"x", 1).1);
    }

    #[test]
    fn of_a_long_body_the_beginning_is_read() {
        let length = 10 * limits::FORWARD_RESPONSE_BYTES_MAX;
        for (field, body) in [
            (format!("Content-Length: {length}\r\n"), vec![b'x'; length]),
            (String::new(), vec![b'x'; length]),
            ("Transfer-Encoding: chunked\r\n".to_owned(), b"1\r\nx\r\n".repeat(length / 6)),
        ] {
            let mut taken = Body::new(parsed(&format!("HTTP/1.1 500 X\r\n{field}\r\n")).framing);
            let pieces = body.chunks(4096).take_while(|piece| taken.take(piece)).count();
            assert!(pieces < 3 * limits::FORWARD_RESPONSE_BYTES_MAX / 4096, "{field}: {pieces}");
            assert_eq!((taken.text.len(), taken.is_whole), (limits::FORWARD_TEXT_BYTES_MAX, false), "{field}");
        }
    }

    #[test]
    fn what_is_no_response_is_an_error() {
        for text in ["SSH-2.0-OpenSSH\r\n", "HTTP/1.1 200 X\r\nContent-Length: -1\r\n\r\n", "\0\0\0\0"] {
            assert!(Head::parse(text.as_bytes()).is_err(), "{text:?}");
        }
    }
}
