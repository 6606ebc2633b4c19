//! The records that the kernel writes for samples (perf_event_open(2), "MMAP layout"). Code that reads them is total: a
//! record that is shorter than it says is none.

/// PERF_RECORD_LOST and PERF_RECORD_SAMPLE.
const LOST: u32 = 2;
const SAMPLE: u32 = 9;
/// Addresses from here on in a chain are marks, such as "what follows is of the kernel".
const MARKS: u64 = u64::MAX - 4095;

/// The user registers that are sampled, as a mask: frame, stack and instruction pointer (`PERF_REG_X86_*`).
#[cfg(target_arch = "x86_64")]
pub const REGISTERS: u64 = 1 << 6 | 1 << 7 | 1 << 8;
/// The user registers that are sampled, as a mask: x29, lr, sp and pc (`PERF_REG_ARM64_*`).
#[cfg(target_arch = "aarch64")]
pub const REGISTERS: u64 = 1 << 29 | 1 << 30 | 1 << 31 | 1 << 32;
/// Their number.
pub const REGISTERS_COUNT: usize = REGISTERS.count_ones() as usize;

/// The contents of a record of the ring.
#[derive(Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// A sample.
    Sample(Sample<'a>),
    /// So many samples were lost, as the ring was full.
    Lost(u64),
}

/// A thread at one moment.
#[derive(Debug, PartialEq, Eq)]
pub struct Sample<'a> {
    /// The thread: its number in the PID namespace of the one that opened the event.
    pub thread: i32,
    /// Addresses, and marks, of the chain of calls in the kernel.
    chain: &'a [[u8; 8]],
    /// The registers of [`REGISTERS`], in the order of their bits; `None` for a thread of the kernel.
    pub registers: Option<[u64; REGISTERS_COUNT]>,
    /// The user stack from the stack pointer on.
    pub stack: &'a [u8],
}

impl<'a> Sample<'a> {
    /// Addresses in the kernel, the innermost first.
    pub fn kernel(&self) -> impl Iterator<Item = u64> + use<'a> {
        self.chain.iter().map(|&bytes| u64::from_ne_bytes(bytes)).filter(|&address| address < MARKS)
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u64> {
        Some(u64::from_ne_bytes(self.bytes(8)?.try_into().ok()?))
    }
}

/// Parses a record; `None` for one of another kind, or that is malformed.
pub fn parse(kind: u32, content: &[u8]) -> Option<Record<'_>> {
    let mut reader = Reader(content);
    match kind {
        LOST => {
            let _id = reader.number()?;
            Some(Record::Lost(reader.number()?))
        }
        SAMPLE => sample(&mut reader).map(Record::Sample),
        _ => None,
    }
}

fn sample<'a>(reader: &mut Reader<'a>) -> Option<Sample<'a>> {
    let _address = reader.number()?;
    let &[_, _, _, _, a, b, c, d] = reader.bytes(8)? else { return None };
    let thread = i32::from_ne_bytes([a, b, c, d]);
    let frames = usize::try_from(reader.number()?).ok()?;
    let (chain, _) = reader.bytes(frames.checked_mul(8)?)?.as_chunks();
    // The ABI of the registers; 0: there are none.
    let registers = if reader.number()? == 0 {
        None
    } else {
        let mut registers = [0; REGISTERS_COUNT];
        for register in &mut registers {
            *register = reader.number()?;
        }
        Some(registers)
    };
    let length = usize::try_from(reader.number()?).ok()?;
    if length == 0 {
        return Some(Sample { thread, chain, registers, stack: &[] });
    }
    let stack = reader.bytes(length)?;
    let used = usize::try_from(reader.number()?).ok()?;
    Some(Sample { thread, chain, registers, stack: stack.get(..used).unwrap_or(stack) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(parts: &[&[u64]]) -> Vec<u8> {
        parts.iter().flat_map(|part| part.iter().flat_map(|number| number.to_ne_bytes())).collect()
    }

    #[test]
    fn a_sample_is_read_with_its_stack() {
        let registers: Vec<u64> = (1..=REGISTERS_COUNT as u64).collect();
        let chain = [u64::MAX - 127, 0xffff_ffff_8000_0010, 0xffff_ffff_8000_0020];
        let process_and_thread = u64::from_ne_bytes([8, 0, 0, 0, 9, 0, 0, 0]);
        let content = record(&[&[7, process_and_thread, 3], &chain, &[2], &registers, &[32, 1, 2, 3, 4, 16]]);
        let Some(Record::Sample(sample)) = parse(SAMPLE, &content) else { panic!("no sample") };
        assert_eq!(sample.thread, 9);
        assert_eq!(sample.kernel().collect::<Vec<_>>(), [0xffff_ffff_8000_0010, 0xffff_ffff_8000_0020]);
        assert_eq!(sample.registers.map(|registers| registers.to_vec()), Some(registers));
        assert_eq!(sample.stack, record(&[&[1, 2]]));
        assert_eq!(parse(LOST, &record(&[&[9, 5]])), Some(Record::Lost(5)));
        assert_eq!(parse(1, &content), None);
    }

    proptest! {
        #[test]
        fn any_record_is_parsed_or_left(kind in 0..12_u32, content in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse(kind, &content);
        }

        #[test]
        fn a_record_that_is_cut_is_none(frames in 0..4_u64, cut in 0..50_usize) {
            let chain: Vec<u64> = (0..frames).collect();
            let registers = [5; REGISTERS_COUNT];
            let content = record(&[&[7, 8, frames], &chain, &[2], &registers, &[16, 1, 2, 16]]);
            prop_assert!(parse(SAMPLE, &content).is_some());
            prop_assert_eq!(parse(SAMPLE, &content[..content.len() - 1 - cut]), None);
        }
    }
}
