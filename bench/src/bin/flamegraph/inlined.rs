//! Functions that the compiler inlined, put back into the stacks.
//!
//! An optimised server is few functions: a whole reactor turn, parser and encoder within it, is one frame to perf. The
//! debug information still knows what each address was. perf can look it up too (`--inline`), with a process or a wait
//! for each address; here each object is looked up once, with all its addresses, by addr2line(1) from binutils, which
//! the linker brings along. What cannot be looked up stays as perf named it.

use crate::samples::Frame;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs::File,
    io::{self, Read, Write},
    process::{Command, Stdio},
    thread,
};

/// The head of an ELF file that is read: its program headers follow the file header (elf(5)).
const HEAD_BYTES: u64 = 64 * 1024;

/// For addresses of objects, the functions they were in, innermost first.
#[derive(Debug, Default)]
pub struct Inlined {
    functions: HashMap<(String, u64), Vec<String>>,
}

impl Inlined {
    /// The functions of a frame at `depth`, innermost first; never an empty slice.
    pub fn functions(&self, depth: usize, frame: &Frame) -> Option<&[String]> {
        if frame.is_kernel() {
            return None;
        }
        self.functions.get(&(frame.object.clone(), position(depth, frame))).map(Vec::as_slice)
    }
}

/// A caller's frame holds the address to return to, which may already be another line's: the call is just before it.
fn position(depth: usize, frame: &Frame) -> u64 {
    if depth == 0 { frame.address } else { frame.address.saturating_sub(1) }
}

/// Looks all frames up, each with its depth. Says on standard error what could not be looked up, and goes on without
/// it.
pub fn look_up<'a>(frames: impl Iterator<Item = (usize, &'a Frame)>) -> Inlined {
    let mut objects = BTreeMap::<&str, BTreeSet<u64>>::new();
    for (depth, frame) in frames.filter(|(_, frame)| !frame.is_kernel() && frame.object.starts_with('/')) {
        objects.entry(&frame.object).or_default().insert(position(depth, frame));
    }
    let mut inlined = Inlined::default();
    for (object, positions) in objects {
        match functions_of(object, &positions) {
            Ok(found) => {
                let found = found.into_iter().map(|(position, functions)| ((object.to_owned(), position), functions));
                inlined.functions.extend(found);
            }
            Err(error) => {
                metricstream_bench::complain!("flamegraph: inlined functions of {object} are not shown: {error}")
            }
        }
    }
    inlined
}

fn functions_of(object: &str, positions: &BTreeSet<u64>) -> io::Result<HashMap<u64, Vec<String>>> {
    let mut head = Vec::new();
    File::open(object)?.take(HEAD_BYTES).read_to_end(&mut head)?;
    let segments = segments(&head).ok_or_else(|| io::Error::other("it is not a 64-bit little-endian ELF file"))?;
    let by_address: BTreeMap<u64, u64> =
        positions.iter().filter_map(|position| Some((address(&segments, *position)?, *position))).collect();
    let mut addresses = String::new();
    for address in by_address.keys() {
        addresses.push_str(&format!("{address:x}\n"));
    }
    let output = addr2line(object, addresses)?;
    let named = parse(&output).into_iter();
    Ok(named.filter_map(|(address, functions)| Some((*by_address.get(&address)?, functions))).collect())
}

/// A piece of a file that is mapped as it is (elf(5), `PT_LOAD`).
#[derive(Debug, PartialEq, Eq)]
struct Segment {
    offset: u64,
    address: u64,
    bytes: u64,
}

/// The segments of the ELF file that begins with `head`.
fn segments(head: &[u8]) -> Option<Vec<Segment>> {
    const PT_LOAD: u64 = 1;
    // Magic, then ELFCLASS64 and ELFDATA2LSB.
    if !head.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let number = |at: usize, bytes: usize| -> Option<u64> {
        let bytes = head.get(at..at.checked_add(bytes)?)?;
        Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    };
    let (table, entry_bytes, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    let mut segments = Vec::new();
    for index in 0..count {
        let at = usize::try_from(table.checked_add(index * entry_bytes)?).ok()?;
        if number(at, 4)? == PT_LOAD {
            let (offset, address, bytes) = (number(at + 8, 8)?, number(at + 16, 8)?, number(at + 32, 8)?);
            segments.push(Segment { offset, address, bytes });
        }
    }
    Some(segments)
}

/// The address that the linker gave to a position in the file.
fn address(segments: &[Segment], position: u64) -> Option<u64> {
    let within = |segment: &&Segment| position.checked_sub(segment.offset).is_some_and(|at| at < segment.bytes);
    segments.iter().find(within).map(|segment| position - segment.offset + segment.address)
}

/// Runs addr2line(1) on `addresses`, one address per line, and returns its output.
fn addr2line(object: &str, addresses: String) -> io::Result<String> {
    let mut process = Command::new("addr2line")
        .args(["--addresses", "--functions", "--inlines", "--demangle", "--exe", object])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| io::Error::other(format!("addr2line (Debian package binutils): {error}")))?;
    let stdin = process.stdin.take();
    // Written from a thread of its own: addr2line writes results before it has read all, and both pipes could be full.
    let writer = thread::spawn(move || stdin.map_or(Ok(()), |mut stdin| stdin.write_all(addresses.as_bytes())));
    let output = process.wait_with_output()?;
    // A broken pipe says no more than the exit status does.
    let _ = writer.join();
    if !output.status.success() {
        return Err(io::Error::other(format!("addr2line: {}", output.status)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// An address, then pairs of lines, function and file, innermost first. Functions of the standard library that were
/// inlined are left out: a loop over an iterator is the work of who wrote the loop.
fn parse(output: &str) -> Vec<(u64, Vec<String>)> {
    let mut all = Vec::<(u64, Vec<(&str, &str)>)>::new();
    let mut lines = output.lines();
    while let Some(line) = lines.next() {
        if let Some(address) = line.strip_prefix("0x").and_then(|digits| u64::from_str_radix(digits, 16).ok()) {
            all.push((address, Vec::new()));
        } else if let (Some((_, functions)), Some(file)) = (all.last_mut(), lines.next()) {
            functions.push((line, file));
        }
    }
    let named = all.into_iter().filter_map(|(address, mut functions)| {
        let (outermost, _) = functions.pop().filter(|(name, _)| *name != "??")?;
        let inlined = functions.into_iter().filter(|(_, file)| !is_standard_library(file)).map(|(name, _)| name);
        let mut names: Vec<String> = inlined.chain([outermost]).map(str::to_owned).collect();
        // The aliases of one function in the C library.
        names.dedup();
        Some((address, names))
    });
    named.collect()
}

/// Returns true if `file` belongs to the standard library: its path is that of the machine that built the toolchain, or
/// that of the component rust-src.
fn is_standard_library(file: &str) -> bool {
    file.starts_with("/rustc/") || file.contains("/rustlib/src/rust/library/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inlined_functions_come_innermost_first_without_the_standard_library() {
        let output = "0x0000000000001000\n\
            <u64>::wrapping_add\n/rustc/5980/library/core/src/num/mod.rs:1\n\
            metric::cursor::eat\n/build/src/metric/cursor.rs:9\n\
            server::run\n/build/src/server.rs:3 (discriminator 2)\n\
            0x0000000000002000\n\
            std::thread::start\n/rustc/5980/library/std/src/thread.rs:1\n\
            0x0000000000003000\n??\n??:0\n";
        assert_eq!(
            parse(output),
            [
                (0x1000, vec!["metric::cursor::eat".to_owned(), "server::run".to_owned()]),
                (0x2000, vec!["std::thread::start".to_owned()]),
            ]
        );
        assert_eq!(parse("nonsense\n"), []);
    }

    #[test]
    fn this_program_is_an_elf_file_with_segments() {
        let mut head = Vec::new();
        File::open(std::env::current_exe().unwrap()).unwrap().take(HEAD_BYTES).read_to_end(&mut head).unwrap();
        let found = segments(&head).unwrap();
        let code = found.last().unwrap();
        assert_eq!(address(&found, code.offset), Some(code.address));
        assert_eq!(address(&found, u64::MAX), None);
        for cut in 0..200 {
            // Any prefix is refused or understood, and nothing panics.
            let _ = segments(&head[..cut]);
        }
        assert_eq!(segments(b"#!/bin/sh\n"), None);
    }
}
