//! JSON documents of agents, read in one pass: members by name in any order, elements one after the other.
//!
//! Other than in a JSON batch, a value of a kind that its field does not have is no reason to refuse the document: it
//! is checked and shown to the caller as [`Scalar::Other`], who rejects the one metric. A member that is repeated
//! counts as the last of them, as with the usual parsers.

use super::template;
use crate::cursor::Cursor;
use crate::error::{Expected, Fault, Found, Problem, Step};
use crate::number::{self, Number};
use crate::text::Text;
use crate::{DecodeError, limits};

impl From<Fault> for DecodeError {
    #[cold]
    fn from(fault: Fault) -> Self {
        let text = match fault.problem {
            Problem::Unexpected { found: Found::End, .. } | Problem::StringUnended => "the JSON is truncated",
            Problem::Unexpected { expected: Expected::Array, .. } => "expected an array",
            Problem::Unexpected { expected: Expected::Object, .. } => "expected an object",
            Problem::Unexpected { expected: Expected::String, .. } => "expected a string",
            Problem::Unexpected { expected: Expected::Number, .. } => "expected a number",
            Problem::Unexpected { expected: Expected::DocumentEnd, .. } => "the JSON is followed by something else",
            Problem::TooDeep => "the JSON is nested too deep",
            Problem::Utf8Invalid | Problem::SurrogateUnpaired => "a string is not valid Unicode",
            Problem::Repeated => "a member is repeated",
            Problem::ValueInfinite => "a number is out of range",
            Problem::Missing => "a required member is missing",
            _ => "the body is not valid JSON",
        };
        Self::Malformed { byte: fault.byte, text }
    }
}

/// A value that is read as a whole.
pub(super) enum Scalar<'a> {
    Null,
    Number(Number<'a>),
    Text(Text<'a>),
    /// A boolean, an object or an array.
    Other,
}

/// Reads a value, whatever it is. `depth` is the number of objects and arrays around it.
#[inline]
pub(super) fn scalar<'a>(cursor: &mut Cursor<'a>, depth: usize) -> Step<Scalar<'a>> {
    match cursor.peek() {
        Some(b'"') => {
            cursor.skip(1);
            Ok(Scalar::Text(cursor.string()?))
        }
        Some(b'-' | b'0'..=b'9') => Ok(Scalar::Number(number::read(cursor)?)),
        _ if cursor.eat_all(b"null") => Ok(Scalar::Null),
        _ => {
            cursor.skip_value(depth)?;
            Ok(Scalar::Other)
        }
    }
}

/// Reads a text into `text`, or null as an empty one; `false` if the value is neither. `depth` is as in [`scalar`].
#[inline]
pub(super) fn text<'a>(cursor: &mut Cursor<'a>, depth: usize, text: &mut Text<'a>) -> Result<bool, DecodeError> {
    *text = match scalar(cursor, depth)? {
        Scalar::Text(text) => text,
        Scalar::Null => Text::default(),
        Scalar::Number(_) | Scalar::Other => return Ok(false),
    };
    Ok(true)
}

/// Reads an array and calls `element` with the cursor at each of its elements, which it is to read; `false` if the
/// value is no array. `depth` is the number of objects and arrays around it.
#[inline]
pub(super) fn array<'a>(
    cursor: &mut Cursor<'a>,
    depth: usize,
    mut element: impl FnMut(&mut Cursor<'a>) -> Result<(), DecodeError>,
) -> Result<bool, DecodeError> {
    debug_assert!(depth < limits::JSON_DEPTH_MAX);
    if !cursor.eat(b'[') {
        cursor.skip_value(depth)?;
        return Ok(false);
    }
    cursor.whitespace();
    if cursor.eat(b']') {
        return Ok(true);
    }
    loop {
        element(cursor)?;
        if !cursor.next_element()? {
            return Ok(true);
        }
        cursor.whitespace();
    }
}

/// The members of an object as they stand in the body, in their order. Agents write the objects of an array alike, and
/// most members of one are those of the object before it, to the byte.
#[derive(Debug, Default)]
pub(super) struct Members<'a> {
    members: Vec<Member<'a>>,
    /// The object has a member twice, a name with escapes, or too many members: what it holds is not kept.
    is_odd: bool,
}

/// A member behind the quotation mark before its name.
#[derive(Debug, Clone, Copy)]
struct Member<'a> {
    bytes: &'a [u8],
    /// Length of the name.
    name: usize,
    /// Offset of the value.
    value: usize,
}

impl<'a> Members<'a> {
    pub(super) fn clear(&mut self) {
        self.members.clear();
        self.is_odd = false;
    }

    pub(super) fn recycle<'next>(self) -> Members<'next> {
        Members { members: recycle(self.members), is_odd: false }
    }

    pub(super) fn kept_bytes(&self) -> usize {
        self.members.capacity() * size_of::<Member<'_>>()
    }

    /// The members of the object that was read last, each with its name and its value as it stands there. There is none
    /// if that was no object, or if what it holds is not kept.
    pub(super) fn values(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        self.members.iter().map(|member| (&member.bytes[..member.name], &member.bytes[member.value..]))
    }

    /// Makes `template` that of `object`, in which these members are. `gap` says what kind of gap a value is, if it is
    /// one. `None` if it has no members that are kept, or gets too long.
    pub(super) fn template(
        &self,
        object: &[u8],
        template: &mut Vec<u8>,
        mut gap: impl FnMut(&[u8], &[u8]) -> Option<u8>,
    ) -> Option<()> {
        template.clear();
        if self.members.is_empty() {
            return None;
        }
        let mut at = 0;
        for (name, value) in self.values() {
            let Some(gap) = gap(name, value) else { continue };
            let start = (value.as_ptr() as usize).checked_sub(object.as_ptr() as usize)?;
            template::push_part(template, object.get(at..start)?, gap)?;
            at = start + value.len();
        }
        template::push_end(template, object.get(at..)?)
    }

    #[cold]
    fn note(&mut self, name: &Text<'a>, member: Member<'a>) {
        let is_repeated = self.members.iter().any(|known| known.bytes[..known.name] == *name.raw());
        self.is_odd |= is_repeated || name.has_escapes() || self.members.len() == limits::JSON_MEMBERS_KEPT_MAX;
        if self.is_odd {
            self.members.clear();
        } else {
            self.members.push(member);
        }
    }

    /// Reads an object that has these members in this order, and calls `read` for each whose bytes are not the same, as
    /// [`object`] does; they are its members then. Returns false if it is another one: then it is to be read again from
    /// its beginning, and what `read` has done counts for nothing.
    #[inline]
    pub(super) fn read_next(
        &mut self,
        cursor: &mut Cursor<'a>,
        mut read: impl FnMut(&mut Cursor<'a>, &[u8]) -> Result<(), DecodeError>,
    ) -> Result<bool, DecodeError> {
        if self.members.is_empty() || !cursor.eat(b'{') {
            return Ok(false);
        }
        let mut more = cursor.first_member()?;
        for known in &mut self.members {
            if !more {
                return Ok(false);
            }
            let rest = cursor.rest();
            // Without what follows it a number might go on.
            let is_same = rest.starts_with(known.bytes) && matches!(rest.get(known.bytes.len()), Some(b',' | b'}'));
            if is_same {
                // The same bytes, as a part of this object.
                known.bytes = &rest[..known.bytes.len()];
                cursor.skip(known.bytes.len());
            } else if rest.starts_with(&known.bytes[..known.value]) {
                cursor.skip(known.value);
                // There may be more of it than there was before.
                cursor.whitespace();
                known.value = rest.len() - cursor.rest().len();
                read(cursor, &known.bytes[..known.name])?;
                known.bytes = &rest[..rest.len() - cursor.rest().len()];
            } else {
                return Ok(false);
            }
            more = cursor.next_member()?;
        }
        Ok(!more)
    }

    /// Reads an object as [`object`] does, and keeps its members.
    pub(super) fn read_first(
        &mut self,
        cursor: &mut Cursor<'a>,
        depth: usize,
        read: impl FnMut(&mut Cursor<'a>, &[u8]) -> Result<(), DecodeError>,
    ) -> Result<bool, DecodeError> {
        self.clear();
        object_noting(cursor, depth, read, |name, member| self.note(name, member))
    }
}

/// Bytes of the longest member that a protocol knows, with space to spare.
const MEMBER_BYTES_MAX: usize = 32;

/// Reads an object and calls `member` with each name and the cursor at its value, which it is to read; `false` if the
/// value is no object. `depth` is the number of objects and arrays around it.
#[inline]
pub(super) fn object<'a>(
    cursor: &mut Cursor<'a>,
    depth: usize,
    member: impl FnMut(&mut Cursor<'a>, &[u8]) -> Result<(), DecodeError>,
) -> Result<bool, DecodeError> {
    object_noting(cursor, depth, member, |_, _| ())
}

/// Reads as [`object`] does, and calls `note` with each member that was read.
#[inline]
fn object_noting<'a>(
    cursor: &mut Cursor<'a>,
    depth: usize,
    mut member: impl FnMut(&mut Cursor<'a>, &[u8]) -> Result<(), DecodeError>,
    mut note: impl FnMut(&Text<'a>, Member<'a>),
) -> Result<bool, DecodeError> {
    debug_assert!(depth < limits::JSON_DEPTH_MAX);
    if !cursor.eat(b'{') {
        cursor.skip_value(depth)?;
        return Ok(false);
    }
    let mut more = cursor.first_member()?;
    while more {
        let rest = cursor.rest();
        let name = cursor.string()?;
        cursor.colon()?;
        let value = rest.len() - cursor.rest().len();
        if name.has_escapes() {
            let mut decoded = [0; MEMBER_BYTES_MAX];
            member(cursor, decoded_name(&name, &mut decoded))?;
        } else {
            member(cursor, name.raw())?;
        }
        let bytes = &rest[..rest.len() - cursor.rest().len()];
        note(&name, Member { bytes, name: name.raw().len(), value });
        more = cursor.next_member()?;
    }
    Ok(true)
}

/// The meaning of a name with escapes; that of one which is longer than every known name is empty.
#[cold]
fn decoded_name<'n>(name: &Text<'_>, decoded: &'n mut [u8; MEMBER_BYTES_MAX]) -> &'n [u8] {
    let mut bytes = 0;
    for byte in name.decoded() {
        let Some(place) = decoded.get_mut(bytes) else { return &[] };
        *place = byte;
        bytes += 1;
    }
    &decoded[..bytes]
}

/// Checks that the document ends here.
pub(super) fn end(mut cursor: Cursor<'_>) -> Result<(), DecodeError> {
    cursor.whitespace();
    if cursor.rest().is_empty() { Ok(()) } else { Err(cursor.unexpected(Expected::DocumentEnd).into()) }
}

/// The text that `text` means, in `decoded` if it has escapes.
#[inline]
pub(super) fn plain<'t>(text: &Text<'t>, decoded: &'t mut Vec<u8>) -> &'t [u8] {
    if !text.has_escapes() {
        return text.raw();
    }
    decoded.clear();
    text.decoded().for_each(|byte| decoded.push(byte));
    decoded
}

/// The memory of `list`, emptied, for elements that borrow from another body. (Collecting from a vector's own iterator
/// keeps its allocation; `tests/agent_json_allocations.rs` makes sure.)
pub(super) fn recycle<T, U>(mut list: Vec<T>) -> Vec<U> {
    list.clear();
    list.into_iter().filter_map(|_| None).collect()
}
