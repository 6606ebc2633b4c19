//! The files whose code this process runs, and what an address in them is called: unwinding by their `.eh_frame`, names
//! by their DWARF line tables where there are any, which know inlined functions, or else by their symbol tables.

use super::record::{REGISTERS_COUNT, Sample};
use crate::limits;
use addr2line::Context;
use framehop::{CacheNative, ExplicitModuleSectionInfo, Module, Unwinder, UnwinderNative};
use gimli::{Dwarf, EndianArcSlice, RunTimeEndian};
use object::{Object, ObjectSection, ObjectSegment, ObjectSymbol};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Read,
    ops::Range,
    path::Path,
    sync::Arc,
};

type Slice = EndianArcSlice<RunTimeEndian>;

/// A file with code, as it is mapped.
struct Mapped {
    /// Addresses of its code in this process.
    range: Range<u64>,
    /// The offset between an address in the file and the same one in this process.
    bias: u64,
    name: String,
    context: Option<Context<Slice>>,
    /// Functions by their start: the end, and the name.
    symbols: BTreeMap<u64, (u64, String)>,
}

/// All of them.
pub struct Modules {
    mapped: Vec<Mapped>,
    unwinder: UnwinderNative<Vec<u8>, framehop::MayAllocateDuringUnwind>,
    cache: CacheNative<framehop::MayAllocateDuringUnwind>,
    /// Kernel functions by their start; empty if the kernel hides them.
    kernel: BTreeMap<u64, String>,
}

impl Modules {
    /// Reads the files that are mapped with code, for unwinding. The names of functions are read by
    /// [`load_names`](Self::load_names), which takes longer.
    pub fn unwinding() -> Self {
        let mut modules = Self {
            mapped: Vec::new(),
            unwinder: UnwinderNative::new(),
            cache: CacheNative::new(),
            kernel: BTreeMap::new(),
        };
        for (path, range, offset) in code_mappings(&fs::read_to_string("/proc/self/maps").unwrap_or_default()) {
            modules.add(&path, range, offset);
        }
        modules
    }

    fn add(&mut self, path: &str, range: Range<u64>, offset: u64) {
        let Some(bytes) = read_file(Path::new(path)) else { return };
        let Ok(file) = object::File::parse(&*bytes) else { return };
        // The page of a mapping's beginning may hold the end of the segment before, which has no code.
        let code = file.segments().find(|segment| {
            let (start, length) = segment.file_range();
            segment.permissions().executable()
                && offset <= start.saturating_add(length)
                && start < offset.saturating_add(range.end - range.start)
        });
        let Some(segment) = code else { return };
        let address = segment.address().wrapping_add(offset.wrapping_sub(segment.file_range().0));
        let bias = range.start.wrapping_sub(address);
        let section = |name: &str| file.section_by_name(name);
        let data = |name: &str| section(name).and_then(|section| section.data().ok()).map(<[u8]>::to_vec);
        let place = |name: &str| section(name).map(|section| section.address()..section.address() + section.size());
        let sections = ExplicitModuleSectionInfo {
            base_svma: 0,
            text_svma: place(".text"),
            text: data(".text"),
            got_svma: place(".got"),
            eh_frame_svma: place(".eh_frame"),
            eh_frame: data(".eh_frame"),
            eh_frame_hdr_svma: place(".eh_frame_hdr"),
            eh_frame_hdr: data(".eh_frame_hdr"),
            ..ExplicitModuleSectionInfo::default()
        };
        self.unwinder.add_module(Module::new(path.to_owned(), range.clone(), bias, sections));
        let name = path.rsplit('/').next().unwrap_or(path).to_owned();
        self.mapped.push(Mapped { range, bias, name, context: None, symbols: BTreeMap::new() });
    }

    /// Appends the addresses of a sample's user stack, the innermost first. Returns true if what was copied of the
    /// stack ended before they did.
    pub fn unwind(&mut self, sample: &Sample<'_>, into: &mut Vec<u64>) -> bool {
        let Some(registers) = sample.registers else { return false };
        let (pc, stack_pointer, registers) = unwind_registers(registers);
        let stack = sample.stack;
        let mut is_cut = false;
        let mut read = |address: u64| {
            let offset = usize::try_from(address.wrapping_sub(stack_pointer)).map_err(|_| ())?;
            let bytes = stack.get(offset..).and_then(|rest| rest.first_chunk::<8>());
            // Without its tables a function is unwound by a register that may hold anything.
            is_cut = bytes.is_none() && offset <= limits::PROFILE_STACK_BYTES_MAX as usize;
            bytes.map(|&bytes| u64::from_ne_bytes(bytes)).ok_or(())
        };
        let mut frames = self.unwinder.iter_frames(pc, registers, &mut self.cache, &mut read);
        while into.len() < limits::PROFILE_FRAMES_MAX
            && let Ok(Some(frame)) = frames.next()
        {
            // Behind a call: the call itself is what is named.
            into.push(frame.address_for_lookup());
        }
        is_cut
    }

    /// Reads what functions are called.
    pub fn load_names(&mut self) {
        for mapped in &mut self.mapped {
            // By the path of the mapping itself it may have been replaced; by this one it is the file that runs.
            let is_own = mapped.range.contains(&(load_names_marker as *const () as u64));
            let path = if is_own { "/proc/self/exe".to_owned() } else { find_path(&mapped.range) };
            let Some(bytes) = read_file(Path::new(&path)) else { continue };
            let Ok(file) = object::File::parse(&*bytes) else { continue };
            mapped.context = context_of(&file);
            for symbol in file.symbols().chain(file.dynamic_symbols()) {
                if let (Ok(name), true) = (symbol.name(), symbol.size() > 0 && symbol.is_definition()) {
                    mapped.symbols.insert(symbol.address(), (symbol.address() + symbol.size(), short(name)));
                }
            }
        }
        self.kernel = kernel_symbols();
    }

    /// Appends the names of the functions at an address of this process, the innermost first: more than one, if they
    /// are inlined there.
    pub fn name(&self, address: u64, into: &mut Vec<String>) {
        let Some(mapped) = self.mapped.iter().find(|mapped| mapped.range.contains(&address)) else {
            into.push("[unknown]".into());
            return;
        };
        let own = address.wrapping_sub(mapped.bias);
        let before = into.len();
        let symbol = mapped.symbols.range(..=own).next_back().filter(|(_, (end, _))| own < *end);
        let symbol = symbol.map(|(_, (_, name))| name.clone());
        if let Some(context) = &mapped.context
            && let Ok(mut frames) = context.find_frames(own).skip_all_loads()
        {
            while let Ok(Some(frame)) = frames.next() {
                let Some(function) = frame.function else { continue };
                let file = frame.location.and_then(|location| location.file);
                into.extend(function.raw_name().ok().map(|name| with_module(&name, file)));
            }
        }
        // The last is the function that the code is in, and its symbol has its whole path.
        if let Some(symbol) = symbol {
            into.truncate(into.len().max(before + 1) - 1);
            into.push(symbol);
        } else if into.len() == before {
            into.push(format!("[{}]", mapped.name));
        }
    }

    /// The name of the function at an address of the kernel.
    pub fn kernel_name(&self, address: u64) -> String {
        let symbol = self.kernel.range(..=address).next_back();
        symbol.map_or_else(|| "[kernel]".into(), |(_, name)| format!("{name}_[k]"))
    }
}

/// A place in this program's own code.
fn load_names_marker() {}

/// The registers as the unwinder takes them, with the instruction and the stack pointer.
#[cfg(target_arch = "x86_64")]
fn unwind_registers(registers: [u64; REGISTERS_COUNT]) -> (u64, u64, framehop::UnwindRegsNative) {
    let [frame_pointer, stack_pointer, pc] = registers;
    (pc, stack_pointer, framehop::UnwindRegsNative::new(pc, stack_pointer, frame_pointer))
}

/// The registers as the unwinder takes them, with the instruction and the stack pointer.
#[cfg(target_arch = "aarch64")]
fn unwind_registers(registers: [u64; REGISTERS_COUNT]) -> (u64, u64, framehop::UnwindRegsNative) {
    let [frame_pointer, link, stack_pointer, pc] = registers;
    (pc, stack_pointer, framehop::UnwindRegsNative::new(link, stack_pointer, frame_pointer))
}

/// The mappings of files with code: path, addresses, and offset in the file (proc_pid_maps(5)).
fn code_mappings(maps: &str) -> Vec<(String, Range<u64>, u64)> {
    let parse = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let mode = fields.next()?;
        let offset = u64::from_str_radix(fields.next()?, 16).ok()?;
        let path = fields.nth(2).filter(|path| path.starts_with('/') && mode.contains('x'))?;
        Some((path.to_owned(), u64::from_str_radix(start, 16).ok()?..u64::from_str_radix(end, 16).ok()?, offset))
    };
    maps.lines().filter_map(parse).take(limits::PROFILE_FILES_MAX).collect()
}

/// The path of the mapping with these addresses.
fn find_path(range: &Range<u64>) -> String {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    code_mappings(&maps).into_iter().find(|(_, at, _)| at == range).map_or_else(String::new, |(path, ..)| path)
}

/// The whole of a file, unless it is too long.
fn read_file(path: &Path) -> Option<Vec<u8>> {
    let file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    if length > limits::PROFILE_FILE_BYTES_MAX {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// The DWARF of a file, if it has line tables.
fn context_of(file: &object::File<'_>) -> Option<Context<Slice>> {
    let endian = if file.is_little_endian() { RunTimeEndian::Little } else { RunTimeEndian::Big };
    let load = |id: gimli::SectionId| {
        let section = file.section_by_name(id.name());
        let data = section.and_then(|section| section.uncompressed_data().ok()).unwrap_or_default();
        Ok::<_, gimli::Error>(EndianArcSlice::new(Arc::from(&*data), endian))
    };
    file.section_by_name(".debug_line")?;
    Context::from_dwarf(Dwarf::load(load).ok()?).ok()
}

/// Kernel functions by their start; none if the kernel hides where they are.
fn kernel_symbols() -> BTreeMap<u64, String> {
    let text = fs::read_to_string("/proc/kallsyms").unwrap_or_default();
    let parse = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let address = u64::from_str_radix(fields.next()?, 16).ok().filter(|&address| address != 0)?;
        let kind = fields.next()?;
        matches!(kind, "t" | "T" | "w" | "W").then_some((address, fields.next()?.to_owned()))
    };
    text.lines().filter_map(parse).collect()
}

/// The name of an inlined function with the path of its module, which line tables have only as that of its `file`. What
/// it is generic over is left out.
fn with_module(name: &str, file: Option<&str>) -> String {
    let short = short(name);
    let bare = short.split('<').next().filter(|bare| !bare.is_empty()).unwrap_or(&short);
    match file.and_then(module_of) {
        Some(module) if !bare.contains("::") => format!("{module}::{bare}"),
        _ => short,
    }
}

/// The path of the module in a source file, by the habits of cargo: `…/metric/src/parser.rs` is `metric::parser`.
fn module_of(file: &str) -> Option<String> {
    let own = concat!(env!("CARGO_MANIFEST_DIR"), "/src/");
    let (directory, module) = match file.strip_prefix(own).or_else(|| file.strip_prefix("src/")) {
        Some(module) => (env!("CARGO_PKG_NAME"), module),
        None => file.rsplit_once("/src/")?,
    };
    let name = directory.rsplit('/').next()?;
    // Of the registry, with a version behind the name.
    let krate = match name.rsplit_once('-') {
        Some((krate, version)) if version.starts_with(|c: char| c.is_ascii_digit()) => krate,
        _ => name,
    };
    let module = module.strip_suffix(".rs")?;
    let module = module.strip_suffix("/mod").unwrap_or(module);
    let path = if matches!(module, "lib" | "main") { krate.to_owned() } else { format!("{krate}/{module}") };
    Some(path.replace('-', "_").replace('/', "::"))
}

/// A name without its hash, on one line: stacks are separated by semicolons, and counts by a space.
fn short(name: &str) -> String {
    format!("{:#}", rustc_demangle::demangle(name)).replace(';', ":").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_found_in_the_maps() {
        let maps = "55d0-55e0 r--p 00000000 08:01 12 /usr/bin/x\n\
                    55e0-55f0 r-xp 00001000 08:01 12 /usr/bin/x\n\
                    7f00-7f10 r-xp 00000000 00:00 0 [vdso]\n\
                    7f20-7f30 rw-p 00000000 00:00 0\n";
        assert_eq!(code_mappings(maps), [("/usr/bin/x".to_owned(), 0x55e0..0x55f0, 0x1000)]);
    }

    #[test]
    fn own_functions_have_their_names() {
        let mut modules = Modules::unwinding();
        modules.load_names();
        let mut names = Vec::new();
        modules.name(load_names_marker as *const () as u64, &mut names);
        assert!(names.last().is_some_and(|name| name.contains("load_names_marker")), "{names:?}");
        modules.name(1, &mut names);
        assert_eq!(names.last().map(String::as_str), Some("[unknown]"));
    }

    #[test]
    fn inlined_functions_have_the_path_of_their_module() {
        for (name, file, expected) in [
            ("step<u8>", Some("/b/crates/metric/src/parser.rs"), "metric::parser::step"),
            ("run", Some("src/shard.rs"), "metricstream::shard::run"),
            ("run", Some(concat!(env!("CARGO_MANIFEST_DIR"), "/src/ui/mod.rs")), "metricstream::ui::run"),
            ("parse", Some("/r/registry/src/index/httparse-1.10.1/src/lib.rs"), "httparse::parse"),
            ("call_once<a::B>", Some("/rustc/1/library/core/src/ops/function.rs"), "core::ops::function::call_once"),
            ("_ZN4core3fmt5write17h0123456789abcdefE", Some("/a/src/b.rs"), "core::fmt::write"),
            ("main", Some("x.c"), "main"),
            ("main", None, "main"),
        ] {
            assert_eq!(with_module(name, file), expected);
        }
    }

    #[test]
    fn names_have_no_hash_and_no_separator() {
        assert_eq!(short("_ZN4core3fmt5write17h0123456789abcdefE"), "core::fmt::write");
        assert_eq!(short("a;b\nc"), "a:b c");
    }
}
