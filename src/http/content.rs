//! Decompression of bodies: gzip (RFC 1952) and zstd (RFC 8878), any number of members or frames up to a bound.
//!
//! One decoder a core, its state and its output used again for every body. The output never grows past the bound of a
//! body plus the one byte that shows it to be over, whatever the input promises.

use flate2::{Crc, Decompress, FlushDecompress, Status};
use zstd::zstd_safe::zstd_sys::ZSTD_ErrorCode;
use zstd::zstd_safe::{self, DCtx, DParameter, InBuffer, OutBuffer, ResetDirective};

use super::HttpError;
use super::fields::Coding;
use crate::limits::{CONTENT_MEMBERS_MAX, DECODED_KEPT_BYTES_MAX, KIB, ZSTD_WINDOW_LOG_MAX};

/// Least capacity of the output: most batches fit.
const DECODED_BYTES_MIN: usize = 16 * KIB;

/// gzip flags (RFC 1952, 2.3.1).
const FLAG_HEADER_CRC: u8 = 1 << 1;
const FLAG_EXTRA: u8 = 1 << 2;
const FLAG_NAME: u8 = 1 << 3;
const FLAG_COMMENT: u8 = 1 << 4;
const FLAGS_RESERVED: u8 = 0b1110_0000;

/// Decompresses one body at a time.
pub(super) struct ContentDecoder {
    /// Raw deflate: resetting a decoder that reads the gzip header by itself would allocate its state anew.
    inflate: Decompress,
    zstd: DCtx<'static>,
    decoded: Vec<u8>,
}

impl ContentDecoder {
    /// # Panics
    /// When there is no memory for the decoders: at start-up.
    pub(super) fn new() -> Self {
        let mut zstd = DCtx::create();
        let bounded = zstd.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX));
        assert!(bounded.is_ok(), "zstd refuses a window bound it documents");
        Self { inflate: Decompress::new(false), zstd, decoded: Vec::new() }
    }

    /// The content of `body`, at most `bytes_max` long.
    ///
    /// # Errors
    /// `ContentTooLarge` over the bound; `ContentCorrupt` when it is corrupt, truncated or followed by anything else;
    /// `ContentMembers`, `ContentWindow`.
    pub(super) fn decode<'a>(
        &'a mut self,
        coding: Coding,
        body: &'a [u8],
        bytes_max: usize,
    ) -> Result<&'a [u8], HttpError> {
        self.decoded.clear();
        match coding {
            Coding::Identity => return Ok(body),
            Coding::Gzip => self.gunzip(body, bytes_max)?,
            Coding::Zstd => self.unzstd(body, bytes_max)?,
        }
        Ok(&self.decoded)
    }

    /// Frees the output if a large body made it grow.
    pub(super) fn trim(&mut self) {
        if self.decoded.capacity() > DECODED_KEPT_BYTES_MAX {
            self.decoded = Vec::new();
        }
    }

    /// Capacity held between bodies, and by zstd for its window.
    pub(super) fn kept_bytes(&self) -> usize {
        self.decoded.capacity() + self.zstd.sizeof()
    }

    fn gunzip(&mut self, body: &[u8], bytes_max: usize) -> Result<(), HttpError> {
        let mut input = body;
        for _ in 0..CONTENT_MEMBERS_MAX {
            input = after_gzip_header(input).ok_or(HttpError::ContentCorrupt)?;
            let content_start = self.decoded.len();
            input = self.inflate_member(input, bytes_max)?;
            let content = &self.decoded[content_start..];
            let mut crc = Crc::new();
            crc.update(content);
            // Both checks are modulo 2^32; a member here is far shorter.
            let trailer = [crc.sum().to_le_bytes(), crc.amount().to_le_bytes()];
            input = input.strip_prefix(trailer.as_flattened()).ok_or(HttpError::ContentCorrupt)?;
            // Zeros up to the end are padding, as of a tape's block: gzip(1) takes them so. Anything else has to be a member.
            if input.iter().all(|byte| *byte == 0) {
                return Ok(());
            }
        }
        Err(HttpError::ContentMembers)
    }

    /// Inflates one deflate stream and returns what follows it.
    fn inflate_member<'a>(&mut self, mut input: &'a [u8], bytes_max: usize) -> Result<&'a [u8], HttpError> {
        self.inflate.reset(false);
        loop {
            make_room(&mut self.decoded, bytes_max);
            let before = self.inflate.total_in();
            let status = self
                .inflate
                .decompress_vec(input, &mut self.decoded, FlushDecompress::None)
                .map_err(|_| HttpError::ContentCorrupt)?;
            let taken = usize::try_from(self.inflate.total_in() - before).unwrap_or(input.len());
            input = &input[taken..];
            if self.decoded.len() > bytes_max {
                return Err(HttpError::ContentTooLarge);
            }
            match status {
                Status::StreamEnd => return Ok(input),
                // It stopped with room left, so it stopped for want of input.
                Status::Ok | Status::BufError if self.decoded.len() < self.decoded.capacity() => {
                    return Err(HttpError::ContentCorrupt);
                }
                Status::Ok | Status::BufError => {}
            }
        }
    }

    fn unzstd(&mut self, body: &[u8], bytes_max: usize) -> Result<(), HttpError> {
        // Resetting the session alone cannot fail.
        let _ = self.zstd.reset(ResetDirective::SessionOnly);
        let mut input = InBuffer::around(body);
        let mut frames = 0;
        loop {
            make_room(&mut self.decoded, bytes_max);
            let filled = self.decoded.len();
            let mut output = OutBuffer::around_pos(&mut self.decoded, filled);
            let hint = self.zstd.decompress_stream(&mut output, &mut input).map_err(zstd_fault)?;
            if self.decoded.len() > bytes_max {
                return Err(HttpError::ContentTooLarge);
            }
            let exhausted = input.pos() == body.len();
            if hint == 0 {
                if exhausted {
                    return Ok(());
                }
                frames += 1;
                if frames == CONTENT_MEMBERS_MAX {
                    return Err(HttpError::ContentMembers);
                }
            } else if exhausted && self.decoded.len() < self.decoded.capacity() {
                return Err(HttpError::ContentCorrupt);
            }
        }
    }
}

/// Makes `decoded` longer by doubling when it is full, up to one byte over the bound.
fn make_room(decoded: &mut Vec<u8>, bytes_max: usize) {
    if decoded.len() == decoded.capacity() {
        let capacity = (decoded.capacity() * 2).max(DECODED_BYTES_MIN).min(bytes_max + 1);
        decoded.reserve_exact(capacity.saturating_sub(decoded.len()));
    }
}

fn zstd_fault(code: zstd_safe::ErrorCode) -> HttpError {
    if zstd_safe::is_error_kind(code, ZSTD_ErrorCode::ZSTD_error_frameParameter_windowTooLarge) {
        HttpError::ContentWindow
    } else {
        HttpError::ContentCorrupt
    }
}

/// What follows the header of a gzip member.
fn after_gzip_header(member: &[u8]) -> Option<&[u8]> {
    let [0x1f, 0x8b, 8, flags, _, _, _, _, _, _, rest @ ..] = member else { return None };
    if flags & FLAGS_RESERVED != 0 {
        return None;
    }
    let mut rest = rest;
    if flags & FLAG_EXTRA != 0 {
        let (length, after) = rest.split_first_chunk::<2>()?;
        rest = after.get(usize::from(u16::from_le_bytes(*length))..)?;
    }
    for flag in [FLAG_NAME, FLAG_COMMENT] {
        if flags & flag != 0 {
            rest = &rest[memchr::memchr(0, rest)? + 1..];
        }
    }
    if flags & FLAG_HEADER_CRC != 0 {
        let mut crc = Crc::new();
        crc.update(&member[..member.len() - rest.len()]);
        let [low, high, _, _] = crc.sum().to_le_bytes();
        rest = rest.strip_prefix(&[low, high])?;
    }
    Some(rest)
}
