//! Chunked bodies (RFC 9112, 7.1), decoded as they arrive and cut anywhere.
//!
//! Strict: a size is 1 to 16 hexadecimal digits and nothing but extensions may follow it on its line; every line and
//! every chunk's data ends in CR LF. Extensions and trailers are checked, bounded and dropped: none of them is ever
//! merged into the head, so a framing field in a trailer has no effect.

use super::HttpError;
use super::fields;
use crate::limits::{CHUNK_EXTENSION_BYTES_MAX, CHUNK_LINE_BYTES_MAX, TRAILER_BYTES_MAX};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In the digits of a size; how many there were.
    Size(u8),
    /// White space after the size: an extension must follow.
    SizeSpace,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// At the start of a trailer line, which is empty at the end.
    TrailerLine,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
}

/// The decoder of one body.
#[derive(Debug, Clone, Copy)]
pub struct Chunked {
    state: State,
    /// Size of the chunk at hand, then the bytes of it still to come.
    remaining: u64,
    /// Data bytes the body may still bring.
    allowance: u64,
    line_bytes: usize,
    extension_bytes: usize,
    trailer_bytes: usize,
}

impl Chunked {
    /// A decoder of a body of at most `data_bytes_max`.
    #[must_use]
    pub fn new(data_bytes_max: usize) -> Self {
        Self {
            state: State::Size(0),
            remaining: 0,
            allowance: data_bytes_max as u64,
            line_bytes: 0,
            extension_bytes: 0,
            trailer_bytes: 0,
        }
    }

    /// Decodes `input`, handing the data to `data` piece by piece. Returns how many bytes of it belong to the body, and
    /// whether the body is complete; until it is, they all do.
    ///
    /// # Errors
    /// A fault of framing, or a body over its bound, as soon as a chunk's size says so. The decoder is then spent.
    pub fn decode(&mut self, input: &[u8], mut data: impl FnMut(&[u8])) -> Result<(usize, bool), HttpError> {
        let mut at = 0;
        while let Some(&byte) = input.get(at) {
            if self.state == State::Data {
                let here = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(input.len() - at);
                data(&input[at..at + here]);
                at += here;
                self.remaining -= here as u64;
                if self.remaining == 0 {
                    self.state = State::DataCr;
                }
                continue;
            }
            at += 1;
            self.state = match (self.state, byte) {
                (State::Size(digits), _) => self.size_byte(digits, byte)?,
                (State::SizeSpace, b' ' | b'\t') => self.line_byte(State::SizeSpace, true)?,
                (State::SizeSpace, b';') => self.line_byte(State::Extension, true)?,
                (State::SizeSpace, _) => return Err(HttpError::ChunkSize),
                (State::Extension, b'\r') => self.line_byte(State::SizeLf, false)?,
                (State::Extension, _) if fields::is_value(byte) => self.line_byte(State::Extension, true)?,
                (State::Extension, _) => return Err(HttpError::ChunkSize),
                (State::SizeLf, b'\n') => self.begin_chunk()?,
                (State::SizeLf, _) => return Err(HttpError::ChunkSize),
                (State::DataCr, b'\r') => State::DataLf,
                (State::DataLf, b'\n') => State::Size(0),
                (State::DataCr | State::DataLf | State::Data, _) => return Err(HttpError::ChunkEnd),
                (State::EndLf, b'\n') => return Ok((at, true)),
                _ => self.trailer_byte(byte)?,
            };
        }
        Ok((at, false))
    }

    fn size_byte(&mut self, digits: u8, byte: u8) -> Result<State, HttpError> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            _ if digits == 0 => return Err(HttpError::ChunkSize),
            b'\r' => return self.line_byte(State::SizeLf, false),
            b';' => return self.line_byte(State::Extension, true),
            b' ' | b'\t' => return self.line_byte(State::SizeSpace, true),
            _ => return Err(HttpError::ChunkSize),
        };
        // Sixteen digits fill 64 bits exactly.
        if digits == 16 {
            return Err(HttpError::ChunkSize);
        }
        self.remaining = self.remaining << 4 | u64::from(digit);
        self.line_byte(State::Size(digits + 1), false)
    }

    fn begin_chunk(&mut self) -> Result<State, HttpError> {
        self.line_bytes = 0;
        if self.remaining == 0 {
            return Ok(State::TrailerLine);
        }
        self.allowance = self.allowance.checked_sub(self.remaining).ok_or(HttpError::BodyTooLarge)?;
        Ok(State::Data)
    }

    fn trailer_byte(&mut self, byte: u8) -> Result<State, HttpError> {
        self.trailer_bytes += 1;
        if self.trailer_bytes > TRAILER_BYTES_MAX {
            return Err(HttpError::TrailerTooLarge);
        }
        match (self.state, byte) {
            (State::TrailerLine, b'\r') => Ok(State::EndLf),
            (State::TrailerName, b':') => Ok(State::TrailerValue),
            (State::TrailerLine | State::TrailerName, _) if fields::is_token(byte) => Ok(State::TrailerName),
            (State::TrailerValue, b'\r') => Ok(State::TrailerLf),
            (State::TrailerValue, _) if fields::is_value(byte) => Ok(State::TrailerValue),
            (State::TrailerLf, b'\n') => Ok(State::TrailerLine),
            _ => Err(HttpError::Trailer),
        }
    }

    /// Counts one byte of a size line.
    fn line_byte(&mut self, next: State, in_extension: bool) -> Result<State, HttpError> {
        self.line_bytes += 1;
        self.extension_bytes += usize::from(in_extension);
        // The LF is still to come.
        if self.line_bytes >= CHUNK_LINE_BYTES_MAX || self.extension_bytes > CHUNK_EXTENSION_BYTES_MAX {
            return Err(HttpError::ChunkLineTooLong);
        }
        Ok(next)
    }
}
