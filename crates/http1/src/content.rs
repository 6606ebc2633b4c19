//! Decompression of bodies: gzip (RFC 1952) and zstd (RFC 8878), any number of members or frames up to a bound; zlib
//! (RFC 1950), which is what `deflate` names (some clients send raw deflate under that name, which is refused as
//! corrupt); and one block of snappy (its `format_description.txt`, not the framing format).
//!
//! One decoder a core, its state and its output used again for every body. The output never grows past the bound of a
//! body plus the one byte that shows it to be over, whatever the input promises. A block of snappy states its length:
//! it is checked, and paid for, before memory is reserved.

use flate2::{Crc, Decompress, FlushDecompress, Status};
use zstd::zstd_safe::zstd_sys::ZSTD_ErrorCode;
use zstd::zstd_safe::{self, DCtx, DParameter, InBuffer, OutBuffer, ResetDirective};

use super::HttpError;
use super::fields::Coding;
use crate::limits::{CONTENT_MEMBERS_MAX, DECODED_KEPT_BYTES_MAX, KIB, ZSTD_WINDOW_LOG_MAX};

/// Least memory of the output: most batches fit.
const DECODED_BYTES_MIN: usize = 16 * KIB;
/// Bytes that are decompressed between two looks at the client's budget.
const STEP_BYTES: usize = 64 * KIB;
/// Bytes that the beginning of a member or a frame counts as: one costs time even when it is empty.
const MEMBER_COST_BYTES: usize = KIB;

/// Bytes that one byte of a block of snappy decompresses to, at most: a copy of 64 bytes takes 3. A block that states
/// more is corrupt, and shown to be so before memory is reserved for it.
const SNAPPY_RATIO_MAX: usize = 64_usize.div_ceil(3);

/// gzip flags (RFC 1952, 2.3.1).
const FLAG_HEADER_CRC: u8 = 1 << 1;
const FLAG_EXTRA: u8 = 1 << 2;
const FLAG_NAME: u8 = 1 << 3;
const FLAG_COMMENT: u8 = 1 << 4;
const FLAGS_RESERVED: u8 = 0b1110_0000;

/// Decompresses one body at a time.
pub(super) struct ContentDecoder {
    /// Raw deflate, and zlib: resetting a decoder that reads the gzip header by itself would allocate its state anew.
    inflate: Decompress,
    zstd: DCtx<'static>,
    output: Output,
    /// A body was decompressed since the last [`ContentDecoder::trim_idle`].
    used: bool,
}

/// A context of zstd with the bound of its window.
fn zstd_context() -> DCtx<'static> {
    let mut zstd = DCtx::create();
    let bounded = zstd.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX));
    assert!(bounded.is_ok(), "zstd refuses a window bound it documents");
    zstd
}

/// Decompressed body, and its cost.
#[derive(Default)]
struct Output {
    /// Memory, of which the first `filled` bytes are content: never shortened between bodies, so never cleared again.
    memory: Vec<u8>,
    filled: usize,
    members: usize,
    bytes_max: usize,
}

impl Output {
    fn begin(&mut self, bytes_max: usize) {
        (self.filled, self.members, self.bytes_max) = (0, 0, bytes_max);
    }

    /// Space for the next step, of at least a byte: it ends one byte over the bound at most.
    fn space(&mut self) -> &mut [u8] {
        if self.filled == self.memory.len() {
            let bytes = (self.memory.len() * 2).max(DECODED_BYTES_MIN).min(self.bytes_max + 1);
            self.memory.reserve_exact(bytes - self.filled);
            self.memory.resize(bytes, 0);
        }
        let end = self.memory.len().min(self.filled + STEP_BYTES).min(self.bytes_max + 1);
        &mut self.memory[self.filled..end]
    }

    /// Space for all of the content, which is `bytes` long.
    fn whole(&mut self, bytes: usize) -> &mut [u8] {
        if self.memory.len() < bytes {
            self.memory.reserve_exact(bytes - self.memory.len());
            self.memory.resize(bytes, 0);
        }
        &mut self.memory[..bytes]
    }

    /// Takes in `bytes` of the space, and has them paid for.
    fn fill(&mut self, bytes: usize, charge: Charge<'_>) -> Result<(), HttpError> {
        self.filled += bytes;
        if self.filled > self.bytes_max {
            return Err(HttpError::ContentTooLarge);
        }
        charge(self.cost_bytes().min(self.bytes_max))
    }

    /// Another member or frame begins.
    fn begin_member(&mut self) -> Result<(), HttpError> {
        self.members += 1;
        if self.members > CONTENT_MEMBERS_MAX { Err(HttpError::ContentMembers) } else { Ok(()) }
    }

    fn cost_bytes(&self) -> usize {
        self.filled + self.members * MEMBER_COST_BYTES
    }
}

/// Checks after each step whether the body may cost so many bytes all in all.
pub(super) type Charge<'a> = &'a mut dyn FnMut(usize) -> Result<(), HttpError>;

impl ContentDecoder {
    /// # Panics
    /// When there is no memory for the decoders: at start-up.
    pub(super) fn new() -> Self {
        Self { inflate: Decompress::new(false), zstd: zstd_context(), output: Output::default(), used: false }
    }

    /// The content of `body`, at most `bytes_max` long. `charge` is called for each step of it; its refusal ends the
    /// work.
    ///
    /// # Errors
    /// `ContentTooLarge` over the bound; `ContentCorrupt` when it is corrupt, truncated or followed by anything but,
    /// for gzip, zeros; `ContentMembers`, `ContentWindow`; what `charge` refuses with.
    pub(super) fn decode<'a>(
        &'a mut self,
        coding: Coding,
        body: &'a [u8],
        bytes_max: usize,
        charge: Charge<'_>,
    ) -> Result<&'a [u8], HttpError> {
        self.output.begin(bytes_max);
        self.used |= coding != Coding::Identity;
        match coding {
            Coding::Identity => return Ok(body),
            Coding::Gzip => self.gunzip(body, charge)?,
            Coding::Zstd => self.unzstd(body, charge)?,
            Coding::Deflate => self.unzlib(body, charge)?,
            Coding::Snappy => self.unsnappy(body, charge)?,
        }
        Ok(&self.output.memory[..self.output.filled])
    }

    /// Returns the cost of the last body, as bytes of content.
    pub(super) fn cost_bytes(&self) -> usize {
        self.output.cost_bytes()
    }

    /// Frees the output if a large body made it grow.
    pub(super) fn trim(&mut self) {
        if self.output.memory.len() > DECODED_KEPT_BYTES_MAX {
            self.output = Output::default();
        }
    }

    /// Frees the output and zstd's window if no body has needed them since the last call.
    pub(super) fn trim_idle(&mut self) {
        if !std::mem::take(&mut self.used) {
            self.output = Output::default();
            if self.zstd.sizeof() > DECODED_KEPT_BYTES_MAX {
                self.zstd = zstd_context();
            }
        }
    }

    /// Capacity held between bodies, and by zstd for its window.
    pub(super) fn kept_bytes(&self) -> usize {
        self.output.memory.capacity() + self.zstd.sizeof()
    }

    /// As gzip(1) reads it: members one behind the other, and zeros behind the last (tape drives and block devices pad
    /// so).
    fn gunzip(&mut self, body: &[u8], charge: Charge<'_>) -> Result<(), HttpError> {
        let mut input = body;
        loop {
            self.output.begin_member()?;
            input = after_gzip_header(input).ok_or(HttpError::ContentCorrupt)?;
            let content_start = self.output.filled;
            input = self.inflate_stream(input, false, charge)?;
            let content = &self.output.memory[content_start..self.output.filled];
            let mut crc = Crc::new();
            crc.update(content);
            // Both checks are modulo 2^32; a member here is far shorter.
            let trailer = [crc.sum().to_le_bytes(), crc.amount().to_le_bytes()];
            input = input.strip_prefix(trailer.as_flattened()).ok_or(HttpError::ContentCorrupt)?;
            match input {
                [] => return Ok(()),
                [0, padding @ ..] if padding.iter().all(|byte| *byte == 0) => return Ok(()),
                _ => {}
            }
        }
    }

    /// One stream of zlib, with nothing behind it. The inflater checks its checksum.
    fn unzlib(&mut self, body: &[u8], charge: Charge<'_>) -> Result<(), HttpError> {
        self.output.begin_member()?;
        let behind = self.inflate_stream(body, true, charge)?;
        if behind.is_empty() { Ok(()) } else { Err(HttpError::ContentCorrupt) }
    }

    fn unsnappy(&mut self, body: &[u8], charge: Charge<'_>) -> Result<(), HttpError> {
        self.output.begin_member()?;
        let bytes = match snap::raw::decompress_len(body) {
            Ok(bytes) => bytes,
            Err(snap::Error::TooBig { .. }) => return Err(HttpError::ContentTooLarge),
            Err(_) => return Err(HttpError::ContentCorrupt),
        };
        if bytes > self.output.bytes_max {
            return Err(HttpError::ContentTooLarge);
        }
        if bytes.div_ceil(SNAPPY_RATIO_MAX) > body.len() {
            return Err(HttpError::ContentCorrupt);
        }
        // Before the work, which cannot be interrupted: the length is known. A block that turns out to be corrupt has
        // cost as much.
        charge((bytes + self.output.cost_bytes()).min(self.output.bytes_max))?;
        self.output.filled = bytes;
        let made = snap::raw::Decoder::new().decompress(body, self.output.whole(bytes));
        if made == Ok(bytes) { Ok(()) } else { Err(HttpError::ContentCorrupt) }
    }

    /// Inflates one deflate stream, in a frame of zlib or raw, and returns what follows it.
    fn inflate_stream<'a>(
        &mut self,
        mut input: &'a [u8],
        is_zlib: bool,
        charge: Charge<'_>,
    ) -> Result<&'a [u8], HttpError> {
        self.inflate.reset(is_zlib);
        loop {
            let space = self.output.space();
            let (taken_before, made_before) = (self.inflate.total_in(), self.inflate.total_out());
            let status =
                self.inflate.decompress(input, space, FlushDecompress::None).map_err(|_| HttpError::ContentCorrupt)?;
            let taken = usize::try_from(self.inflate.total_in() - taken_before).unwrap_or(input.len());
            let made = usize::try_from(self.inflate.total_out() - made_before).unwrap_or(space.len());
            let stopped_early = made < space.len();
            input = &input[taken..];
            self.output.fill(made, charge)?;
            match status {
                Status::StreamEnd => return Ok(input),
                // It stopped with space left, so what it lacks is input.
                Status::Ok | Status::BufError if stopped_early => return Err(HttpError::ContentCorrupt),
                Status::Ok | Status::BufError => {}
            }
        }
    }

    fn unzstd(&mut self, body: &[u8], charge: Charge<'_>) -> Result<(), HttpError> {
        // Resetting the session alone cannot fail.
        let _ = self.zstd.reset(ResetDirective::SessionOnly);
        let mut input = InBuffer::around(body);
        self.output.begin_member()?;
        loop {
            let space = self.output.space();
            let space_bytes = space.len();
            let mut output = OutBuffer::around(space);
            let hint = self.zstd.decompress_stream(&mut output, &mut input).map_err(zstd_fault)?;
            let made = output.pos();
            self.output.fill(made, charge)?;
            let exhausted = input.pos() == body.len();
            if hint == 0 {
                if exhausted {
                    return Ok(());
                }
                self.output.begin_member()?;
            } else if exhausted && made < space_bytes {
                return Err(HttpError::ContentCorrupt);
            }
        }
    }
}

fn zstd_fault(code: zstd_safe::ErrorCode) -> HttpError {
    if zstd_safe::is_error_kind(code, ZSTD_ErrorCode::ZSTD_error_frameParameter_windowTooLarge) {
        HttpError::ContentWindow
    } else {
        HttpError::ContentCorrupt
    }
}

/// Returns the bytes that follow the header of a gzip member.
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
