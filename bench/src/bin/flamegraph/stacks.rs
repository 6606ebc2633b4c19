//! Stacks with their weights, and their folded form: `thread;outermost;…;innermost weight`, one line a stack, sorted.

use crate::{inlined::Inlined, samples::Frame};
use std::{
    collections::{BTreeMap, HashMap},
    io::{self, Write},
};

/// Ends the names of the kernel's functions, as in other tools.
pub const KERNEL_SUFFIX: &str = "_[k]";
/// Frame in which a thread's own code begins: std calls it through this function so that backtraces can be cut there.
const THREAD_START: &str = "std::sys::backtrace::__rust_begin_short_backtrace";

/// A sum for each different stack.
#[derive(Debug, Default)]
pub struct Stacks {
    weights: HashMap<Stack, u64>,
}

/// Number of stacks that have frames without a name.
#[derive(Debug, PartialEq)]
pub struct Unnamed {
    /// Their share, by weight, of all stacks with frames of a program.
    pub percent: f64,
    /// The program in which most of them are.
    pub object: String,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Stack {
    thread: String,
    frames: Vec<Frame>,
    /// A frame of our own at the inner end, or nothing.
    leaf: &'static str,
}

impl Stacks {
    /// Adds `weight` to the stack of `frames`, innermost first; `leaf` is one more frame inside them, or empty.
    pub fn add(&mut self, thread: &str, frames: &[Frame], leaf: &'static str, weight: u64) {
        let stack = Stack { thread: thread.to_owned(), frames: frames.to_vec(), leaf };
        *self.weights.entry(stack).or_default() += weight;
    }

    /// Every frame with its depth, 0 for the innermost.
    pub fn frames(&self) -> impl Iterator<Item = (usize, &Frame)> {
        self.weights.keys().flat_map(|stack| stack.frames.iter().enumerate())
    }

    /// The share of stacks with frames of a program that nothing has a name for; `None` without any. Libraries do not
    /// count: they are often stripped, and their callers are named.
    pub fn unnamed(&self, inlined: &Inlined) -> Option<Unnamed> {
        let (mut all, mut unnamed) = (0_u64, 0_u64);
        let mut objects = BTreeMap::<&str, u64>::new();
        for (stack, weight) in &self.weights {
            let program = |frame: &Frame| frame.object.starts_with('/') && !frame.object.contains(".so");
            let frames = || stack.frames.iter().enumerate().filter(|(_, frame)| !frame.is_kernel() && program(frame));
            all += if frames().next().is_some() { *weight } else { 0 };
            let has_no_name =
                |(depth, frame): &(usize, &Frame)| !frame.has_symbol() && inlined.functions(*depth, frame).is_none();
            if let Some((_, frame)) = frames().find(has_no_name) {
                unnamed += weight;
                *objects.entry(&frame.object).or_default() += weight;
            }
        }
        let (object, _) = objects.into_iter().max_by_key(|(_, weight)| *weight)?;
        #[expect(clippy::cast_precision_loss, reason = "a share, to be read by a person")]
        Some(Unnamed { percent: unnamed as f64 * 100.0 / all.max(1) as f64, object: object.to_owned() })
    }

    /// Writes the folded lines. Stacks that differ in an address alone become one.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write(&self, inlined: &Inlined, output: &mut impl Write) -> io::Result<()> {
        let mut lines = BTreeMap::<String, u64>::new();
        for (stack, weight) in &self.weights {
            *lines.entry(line(stack, inlined)).or_default() += weight;
        }
        lines
            .into_iter()
            .filter(|(_, weight)| *weight > 0)
            .try_for_each(|(line, weight)| writeln!(output, "{line} {weight}"))
    }
}

fn line(stack: &Stack, inlined: &Inlined) -> String {
    // Whoever calls user code is user code: what lies beyond was read from where the copy of the stack ends.
    let is_cut_off = |frames: &[Frame]| matches!(frames, [.., last] if last.is_kernel() && frames.iter().any(|frame| !frame.is_kernel()));
    let mut frames = stack.frames.as_slice();
    while is_cut_off(frames) {
        frames = &frames[..frames.len() - 1];
    }
    let mut names = Vec::with_capacity(frames.len() * 2);
    for (depth, frame) in frames.iter().enumerate() {
        match inlined.functions(depth, frame) {
            Some(functions) => names.extend(functions.iter().map(|function| tidy(function))),
            None => names.push(name(frame)),
        }
    }
    if let Some(start) = names.iter().rposition(|name| name.starts_with(THREAD_START)) {
        names.truncate(start);
    }
    let mut line = tidy(&stack.thread);
    for name in names.iter().rev().map(String::as_str).chain((!stack.leaf.is_empty()).then_some(stack.leaf)) {
        line.push(';');
        line.push_str(name);
    }
    line
}

/// The name that perf gave, or that of the object in brackets.
fn name(frame: &Frame) -> String {
    let mut name = if frame.has_symbol() {
        tidy(&frame.symbol)
    } else {
        let file = frame.object.rsplit('/').next().unwrap_or_default();
        format!("[{}]", file.trim_matches(['[', ']']))
    };
    if frame.is_kernel() {
        name.push_str(KERNEL_SUFFIX);
    }
    name
}

/// Without the arguments of generics (`::<…>`), which say little and are long, and without what folding gives a
/// meaning.
fn tidy(name: &str) -> String {
    let mut short = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(at) = rest.find("::<") {
        // `::<impl T>::f` names a function by its type, which has to stay.
        let end = if rest[at + 3..].starts_with("impl ") { None } else { closing(&rest[at + 2..]) };
        let Some(end) = end else {
            short.push_str(&rest[..at + 3]);
            rest = &rest[at + 3..];
            continue;
        };
        short.push_str(&rest[..at]);
        rest = &rest[at + 2 + end..];
    }
    short.push_str(rest);
    short.replace(';', ":").replace(['\n', '\r'], " ")
}

/// Bytes up to and with the bracket that closes the one `text` begins with; the `>` of `->` closes none.
fn closing(text: &str) -> Option<usize> {
    let (mut depth, mut previous) = (0_usize, b' ');
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            b'<' => depth += 1,
            b'>' if previous != b'-' => depth = depth.checked_sub(1)?,
            _ => {}
        }
        if depth == 0 {
            return Some(index + 1);
        }
        previous = byte;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_the_arguments_of_generics_alone() {
        for (long, short) in [
            ("a::turn::<b::C<d::E>>", "a::turn"),
            ("<a::B as c::D>::turn::<e::F>::{closure#0}", "<a::B as c::D>::turn::{closure#0}"),
            ("a::<impl b::C>::go::<fn(u8) -> u8>", "a::<impl b::C>::go"),
            ("a::Connection<T>::begin", "a::Connection<T>::begin"),
            ("a::cut::<b::", "a::cut::<b::"),
            ("[u8; 4]", "[u8: 4]"),
        ] {
            assert_eq!(tidy(long), short);
        }
    }
}
