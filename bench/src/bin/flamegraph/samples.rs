//! The text of `perf script`, one event at a time (perf-script(1)): a header line, the frames from the innermost
//! outwards, an empty line.
//!
//! ```text
//! reactor-0 30157  5808.840006: cpu-clock:
//!         ffffffff82010ddb tcp_sendmsg+0x2b ([kernel.kallsyms])
//!                   101829 syscall+0x19 (/usr/lib/x86_64-linux-gnu/libc.so.6)
//! ```

use std::io::{self, BufRead};

/// One entry of a stack, as perf names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Frame {
    /// Address in the kernel, or offset in the object's file.
    pub address: u64,
    /// The function without its offset; `[unknown]` where perf has no name.
    pub symbol: String,
    /// The file of the code, or a name in brackets.
    pub object: String,
}

impl Frame {
    /// perf found a name for it.
    pub fn has_symbol(&self) -> bool {
        !self.symbol.is_empty() && self.symbol != "[unknown]"
    }

    /// The kernel has the upper half of the addresses, on x86-64 as on arm64.
    pub fn is_kernel(&self) -> bool {
        self.address >> 63 == 1
    }
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Name of the thread.
    pub thread: String,
    /// Thread id.
    pub tid: u32,
    /// On perf's clock.
    pub time_ns: u64,
    /// Such as `cpu-clock` or `sched:sched_switch`.
    pub event: String,
    /// Text of a tracepoint, else empty.
    pub trace: String,
    /// Innermost first; empty when no stack could be taken.
    pub stack: Vec<Frame>,
}

/// Hands each event of `input` to `each`. A line that is neither a header nor a frame is passed over.
///
/// # Errors
/// Those of the reader.
pub fn read(input: impl BufRead, mut each: impl FnMut(Sample)) -> io::Result<()> {
    let mut open: Option<Sample> = None;
    for line in input.split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        if line.starts_with('#') {
            continue;
        }
        // A header may be indented too, with spaces: its name is padded when the event has no stack.
        if line.starts_with('\t') {
            if let (Some(sample), Some(frame)) = (&mut open, frame(&line)) {
                sample.stack.push(frame);
            }
            continue;
        }
        if let Some(sample) = open.take() {
            each(sample);
        }
        open = header(&line);
    }
    open.into_iter().for_each(each);
    Ok(())
}

/// `NAME TID [CPU] SECONDS: [PERIOD] EVENT: TRACE`; a name may have spaces, and TID may be PID/TID.
fn header(line: &str) -> Option<Sample> {
    let (mut tid, mut name_end) = (None, 0);
    let mut rest = line;
    let time_ns = loop {
        let word = rest.split_ascii_whitespace().next()?;
        let at = line.len() - rest.len() + rest.find(word)?;
        rest = &line[at + word.len()..];
        if let (Some(_), Some(time_ns)) = (tid, time(word)) {
            break time_ns;
        }
        let is_core = word.starts_with('[') && word.ends_with(']');
        if !(is_core && tid.is_some()) {
            tid = word.rsplit('/').next().and_then(|digits| digits.parse().ok());
            name_end = at;
        }
    };
    let mut rest = rest.trim_start();
    if let Some((period, after)) = rest.split_once(' ')
        && period.bytes().all(|byte| byte.is_ascii_digit())
    {
        rest = after.trim_start();
    }
    let (event, trace) = match rest.split_once(": ") {
        Some(both) => both,
        None => (rest.trim_end().strip_suffix(':')?, ""),
    };
    Some(Sample {
        thread: line[..name_end].trim().to_owned(),
        tid: tid?,
        time_ns,
        event: event.to_owned(),
        trace: trace.trim().to_owned(),
        stack: Vec::new(),
    })
}

/// `5808.840006:`, with six digits or nine.
fn time(word: &str) -> Option<u64> {
    let (seconds, fraction) = word.strip_suffix(':')?.split_once('.')?;
    let digits = u32::try_from(fraction.len()).ok().filter(|digits| *digits <= 9)?;
    let fraction: u64 = fraction.parse().ok()?;
    seconds.parse::<u64>().ok()?.checked_mul(1_000_000_000)?.checked_add(fraction * 10_u64.pow(9 - digits))
}

/// Suffix that perf appends to the name of a file that was deleted or replaced, as in proc_pid_maps(5).
const DELETED: &str = " (deleted)";

/// `ADDRESS SYMBOL+0xOFFSET (OBJECT)`; the symbol may have spaces, and the object [`DELETED`] behind it.
fn frame(line: &str) -> Option<Frame> {
    let line = line.trim();
    let (address, rest) = line.split_at(line.find(' ')?);
    let rest = rest.strip_suffix(')')?;
    let (file, deleted) = rest.strip_suffix(DELETED).map_or((rest, ""), |file| (file, DELETED));
    let (symbol, object) = file.rsplit_once(" (")?;
    let symbol = symbol.trim();
    let symbol = match symbol.rsplit_once("+0x") {
        Some((name, offset)) if offset.bytes().all(|byte| byte.is_ascii_hexdigit()) => name,
        _ => symbol,
    };
    Some(Frame {
        address: u64::from_str_radix(address, 16).ok()?,
        symbol: symbol.to_owned(),
        object: format!("{object}{deleted}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_every_shape() {
        for (line, thread, tid, time_ns, event, trace) in [
            (
                "reactor-0 30157  5808.840006:    1001001 cpu-clock: ",
                "reactor-0",
                30157,
                5_808_840_006_000,
                "cpu-clock",
                "",
            ),
            ("reactor-0 30157  5808.840006: cpu-clock:u:", "reactor-0", 30157, 5_808_840_006_000, "cpu-clock:u", ""),
            ("            perf 9 1.0: x:y: pid=9", "perf", 9, 1_000_000_000, "x:y", "pid=9"),
            ("a b 7 12/345 [001] 1.000000001: cycles:", "a b 7", 345, 1_000_000_001, "cycles", ""),
            (
                "writer 9 1.5: sched:sched_switch: prev_comm=a: b prev_pid=9",
                "writer",
                9,
                1_500_000_000,
                "sched:sched_switch",
                "prev_comm=a: b prev_pid=9",
            ),
        ] {
            let sample = header(line).unwrap_or_else(|| panic!("{line}"));
            assert_eq!((sample.thread.as_str(), sample.tid, sample.time_ns), (thread, tid, time_ns), "{line}");
            assert_eq!((sample.event.as_str(), sample.trace.as_str()), (event, trace), "{line}");
        }
        for line in
            ["", "x", "reactor-0 30157", "reactor-0 5808.840006: cpu-clock:", "reactor-0 1 99999999999999999999.1: x:"]
        {
            assert_eq!(header(line), None, "{line}");
        }
    }

    #[test]
    fn frames_with_spaces_and_without_names() {
        let symbols = [
            ("\t  f6328 <a::B as c::D>::turn+0x2618 (/x/server)", "<a::B as c::D>::turn", "/x/server"),
            ("\t  f6328 [unknown] (/x/server)", "[unknown]", "/x/server"),
            ("\t  f6328 (/x/server)", "", "/x/server"),
            ("\t  f6328 [unknown] (/x/server (deleted))", "[unknown]", "/x/server (deleted)"),
            ("\t ffffffff82010ddb tcp_sendmsg+0x2b ([kernel.kallsyms])", "tcp_sendmsg", "[kernel.kallsyms]"),
        ];
        for (line, symbol, object) in symbols {
            let frame = frame(line).unwrap();
            assert_eq!((frame.symbol.as_str(), frame.object.as_str()), (symbol, object));
            assert_eq!(frame.is_kernel(), object.starts_with('['));
        }
        assert_eq!(frame("\tnot a frame"), None);
    }
}
