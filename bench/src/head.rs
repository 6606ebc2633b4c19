//! Heads of HTTP/1.x messages, as far as both ends of a benchmark need them: where a head ends, how long the body
//! behind it is, and whether the connection goes on. One pass over the lines; every other header is skipped unread.

/// Bytes of a head. A response's head is some 200 bytes, a request's with long credentials some 4 KiB.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Fields of a head that concern the message's length and the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head<'a> {
    /// The request line or the status line, without its line end.
    pub first_line: &'a [u8],
    /// Bytes of the head, the empty line included: the body begins there.
    pub bytes: usize,
    /// `Content-Length`, if there is one.
    pub content_length: Option<u64>,
    /// True if `Transfer-Encoding` names `chunked`.
    pub chunked: bool,
    /// True if `Connection` names `close`.
    pub close: bool,
    /// True if `Connection` names `keep-alive`.
    pub keep_alive: bool,
}

/// The head breaks a rule that its framing depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// Reads the head at the start of `bytes`; `None` when its end has not arrived yet.
///
/// # Errors
/// A header line without a colon, a length that is not a number, or two lengths that differ.
pub fn scan(bytes: &[u8]) -> Result<Option<Head<'_>>, Malformed> {
    let Some(first_end) = memchr::memchr(b'\n', bytes) else { return Ok(None) };
    let mut head = Head {
        first_line: without_cr(&bytes[..first_end]),
        bytes: first_end + 1,
        content_length: None,
        chunked: false,
        close: false,
        keep_alive: false,
    };
    loop {
        let rest = &bytes[head.bytes..];
        let Some(end) = memchr::memchr(b'\n', rest) else { return Ok(None) };
        head.bytes += end + 1;
        let line = without_cr(&rest[..end]);
        if line.is_empty() {
            return Ok(Some(head));
        }
        header(line, &mut head)?;
    }
}

fn header(line: &[u8], head: &mut Head) -> Result<(), Malformed> {
    // The three names that matter begin with these letters: most lines are done after one look.
    if !matches!(line[0] | 0x20, b'c' | b't') {
        return Ok(());
    }
    let colon = memchr::memchr(b':', line).ok_or(Malformed)?;
    let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
    if name.eq_ignore_ascii_case(b"content-length") {
        let length = decimal(value).ok_or(Malformed)?;
        if head.content_length.is_some_and(|earlier| earlier != length) {
            return Err(Malformed);
        }
        head.content_length = Some(length);
    } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
        head.chunked |= names(value, b"chunked");
    } else if name.eq_ignore_ascii_case(b"connection") {
        head.close |= names(value, b"close");
        head.keep_alive |= names(value, b"keep-alive");
    }
    Ok(())
}

fn names(list: &[u8], token: &[u8]) -> bool {
    list.split(|&byte| byte == b',').any(|item| item.trim_ascii().eq_ignore_ascii_case(token))
}

fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |sum, &byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    })
}

fn without_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_whole_or_not_there() {
        let request = b"POST /metrics HTTP/1.1\r\nHost: a\r\nCONTENT-length:  12 \r\nConnection: x, Close\r\n\r\n";
        for cut in 0..request.len() {
            assert_eq!(scan(&request[..cut]), Ok(None), "cut at {cut}");
        }
        let mut followed = request.to_vec();
        followed.extend_from_slice(b"{}\r\n\r\n");
        let head = scan(&followed).unwrap().unwrap();
        assert_eq!(head.bytes, request.len());
        assert_eq!(head.first_line, b"POST /metrics HTTP/1.1");
        assert_eq!((head.content_length, head.chunked, head.close), (Some(12), false, true));
    }

    #[test]
    fn lengths_that_cannot_be_trusted_are_malformed() {
        for lines in ["Content-Length: -1", "Content-Length:", "Content-Length: 1\r\nContent-Length: 2", "Colonless"] {
            assert_eq!(scan(format!("x\r\n{lines}\r\n\r\n").as_bytes()), Err(Malformed), "{lines}");
        }
        let too_long = format!("x\r\nContent-Length: {}0\r\n\r\n", u64::MAX);
        assert_eq!(scan(too_long.as_bytes()), Err(Malformed));
        let repeated = scan(b"x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n").unwrap().unwrap();
        assert_eq!(repeated.content_length, Some(1));
    }
}
