//! The parameters of a query string, encoded as those of HTML forms are
//! (<https://url.spec.whatwg.org/#urlencoded-parsing>): cut at `&` and `=`, `%41` is a byte and `+` a space. Allocates
//! nothing: a name or a value is decoded as it is compared.

/// A name or a value, as it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoded<'a>(&'a str);

impl<'a> Encoded<'a> {
    /// The bytes that it means; `None` in the place of a `%` without two hexadecimal digits.
    fn bytes(self) -> impl Iterator<Item = Option<u8>> + use<'a> {
        let mut rest = self.0.bytes();
        std::iter::from_fn(move || {
            Some(match rest.next()? {
                b'+' => Some(b' '),
                b'%' => {
                    let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
                    let byte = digit().and_then(|high| Some(high << 4 | digit()?));
                    byte.and_then(|byte| u8::try_from(byte).ok())
                }
                byte => Some(byte),
            })
        })
    }

    /// Returns whether it means `text`.
    #[inline]
    #[must_use]
    pub fn means(self, text: &str) -> bool {
        self.bytes().eq(text.bytes().map(Some))
    }

    /// Decodes it into `buffer`; `None` if it does not fit, is encoded wrongly, or is not UTF-8.
    pub fn decode(self, buffer: &mut [u8]) -> Option<&str> {
        let mut length = 0;
        for byte in self.bytes() {
            *buffer.get_mut(length)? = byte?;
            length += 1;
        }
        std::str::from_utf8(&buffer[..length]).ok()
    }
}

/// The parameters of a query string: each one's name, and its value if it has a `=`. Empty ones (`a=1&&b=2`, a trailing
/// `&`) are left out.
pub fn parameters(query: Option<&str>) -> impl Iterator<Item = (Encoded<'_>, Option<Encoded<'_>>)> {
    let pieces = query.unwrap_or_default().split('&').filter(|piece| !piece.is_empty());
    pieces.map(|piece| match piece.split_once('=') {
        Some((name, value)) => (Encoded(name), Some(Encoded(value))),
        None => (Encoded(piece), None),
    })
}

/// The beginning of a name, as it was sent, for the refusal that names it. It is copied, as the request it came in is
/// gone by then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Quoted {
    bytes: [u8; Self::BYTES_MAX],
    length: u8,
    is_cut: bool,
}

impl Quoted {
    const BYTES_MAX: usize = 30;
}

impl From<Encoded<'_>> for Quoted {
    fn from(Encoded(text): Encoded<'_>) -> Self {
        // A target has no control character and no space in it (`head`), but may have other characters than ASCII.
        let length = text.floor_char_boundary(Self::BYTES_MAX);
        let mut bytes = [0; Self::BYTES_MAX];
        bytes[..length].copy_from_slice(&text.as_bytes()[..length]);
        Self { bytes, length: u8::try_from(length).unwrap_or(0), is_cut: length < text.len() }
    }
}

impl std::fmt::Display for Quoted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = std::str::from_utf8(&self.bytes[..usize::from(self.length)]).unwrap_or_default();
        text.chars().try_for_each(|character| match character {
            ' '..='~' => write!(f, "{character}"),
            _ => write!(f, "{}", character.escape_default()),
        })?;
        f.write_str(if self.is_cut { "..." } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(query: &str) -> Vec<(String, Option<String>)> {
        let text = |encoded: Encoded<'_>| encoded.decode(&mut [0; 64]).unwrap_or("(wrong)").to_owned();
        parameters(Some(query)).map(|(name, value)| (text(name), value.map(text))).collect()
    }

    #[test]
    fn names_and_values_are_decoded() {
        for (query, name, value) in [
            ("ack=fsync", "ack", Some("fsync")),
            ("&ack=%66sync&", "ack", Some("fsync")),
            ("%61%63k=fsync", "ack", Some("fsync")),
            ("ack", "ack", None),
            ("ack=", "ack", Some("")),
            ("=x", "", Some("x")),
            ("a+b=c%20d=e", "a b", Some("c d=e")),
            ("%c3%BC=%e2%82%ac", "ü", Some("€")),
            ("a=%", "a", Some("(wrong)")),
            ("a=%4", "a", Some("(wrong)")),
            ("a=%+1", "a", Some("(wrong)")),
            ("a=%ff", "a", Some("(wrong)")),
        ] {
            assert_eq!(decoded(query), [(name.to_owned(), value.map(str::to_owned))], "{query}");
        }
        assert!(decoded("").is_empty() && parameters(None).next().is_none());
        let (name, value) = parameters(Some("%61ck=abc")).next().unwrap();
        assert!(name.means("ack") && !name.means("ac") && !name.means("acks"));
        assert_eq!(value.unwrap().decode(&mut [0; 2]), None, "it is too long");
    }

    #[test]
    fn a_quoted_name_is_short_and_printable() {
        let quoted = |text: &str| Quoted::from(Encoded(text)).to_string();
        assert_eq!(quoted("akc"), "akc");
        assert_eq!(quoted(""), "");
        assert_eq!(quoted("a\u{9b}\u{202e}"), "a\\u{9b}\\u{202e}");
        assert_eq!(quoted(&"x".repeat(31)), format!("{}...", "x".repeat(30)));
        assert_eq!(quoted(&"ü".repeat(16)), format!("{}...", "\\u{fc}".repeat(15)));
        assert_eq!(quoted(&format!("{}€", "x".repeat(29))), format!("{}...", "x".repeat(29)));
    }
}
