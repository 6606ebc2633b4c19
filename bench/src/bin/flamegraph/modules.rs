//! Modules of the server: which function belongs to which, the colour of each, and a table of their shares.

use crate::stacks::KERNEL_SUFFIX;
use inferno::flamegraph::color::Color;
use std::{
    collections::BTreeMap,
    io::{self, Write},
};

/// A part of the server that has a name and a colour of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Module {
    /// The drivers, and the crates they stand on.
    Reactor,
    /// Requests and responses as bytes.
    Http,
    /// JSON to metrics.
    Parser,
    /// Metrics to lines.
    Encoder,
    /// The limiter.
    Rate,
    /// Rings, writer, group commit.
    Log,
    /// Modules that connect the others: shard, service, start and stop, statistics.
    Service,
    /// The kernel.
    Kernel,
    /// Everything else: the C library, the standard library, threads.
    Other,
}

/// The longest prefix that fits decides.
const PREFIXES: [(&str, Module); 12] = [
    ("reactor::", Module::Reactor),
    ("wake::", Module::Reactor),
    ("io_uring::", Module::Reactor),
    ("mio::", Module::Reactor),
    ("http1::", Module::Http),
    ("httparse::", Module::Http),
    ("metric::", Module::Parser),
    ("metric::encode::", Module::Encoder),
    ("rate::", Module::Rate),
    ("log::", Module::Log),
    ("query::", Module::Service),
    ("metricstream::", Module::Service),
];

impl Module {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Reactor,
        Self::Http,
        Self::Parser,
        Self::Encoder,
        Self::Rate,
        Self::Log,
        Self::Service,
        Self::Kernel,
        Self::Other,
    ];

    /// In tables and legends.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reactor => "reactor",
            Self::Http => "http",
            Self::Parser => "parser",
            Self::Encoder => "encoder",
            Self::Rate => "limiter",
            Self::Log => "log",
            Self::Service => "service",
            Self::Kernel => "kernel",
            Self::Other => "other",
        }
    }

    /// Returns the colour, and the word for it.
    pub fn colour(self) -> (Color, &'static str) {
        let (r, g, b, word) = match self {
            Self::Reactor => (86, 156, 232, "blue"),
            Self::Http => (98, 190, 98, "green"),
            Self::Parser => (232, 96, 80, "red"),
            Self::Encoder => (244, 168, 60, "orange"),
            Self::Rate => (176, 120, 214, "purple"),
            Self::Log => (240, 220, 70, "yellow"),
            Self::Service => (96, 200, 200, "teal"),
            Self::Kernel => (196, 196, 196, "grey"),
            Self::Other => (226, 214, 196, "sand"),
        };
        (Color { r, g, b }, word)
    }
}

/// The module of a frame by its name in the folded form.
pub fn module_of(frame: &str) -> Module {
    if frame.ends_with(KERNEL_SUFFIX) {
        return Module::Kernel;
    }
    let path = frame.trim_start_matches(['<', '&']);
    let fitting = PREFIXES.iter().filter(|(prefix, _)| path.starts_with(prefix));
    fitting.max_by_key(|(prefix, _)| prefix.len()).map_or(Module::Other, |(_, module)| *module)
}

/// The stack and the weight of a folded line.
pub fn split(line: &str) -> io::Result<(&str, u64)> {
    let parts = line.rsplit_once(' ').and_then(|(stack, weight)| Some((stack, weight.parse().ok()?)));
    parts.ok_or_else(|| io::Error::other(format!("not a folded stack: {line}")))
}

/// Writes the share of each module, by thread, largest thread first. A sample is its innermost module's; what a library
/// did is the work of the module that called it, and the kernel's work is split by the module that called the kernel.
///
/// # Errors
/// A line that is not a folded stack, or those of the writer.
pub fn table(folded: &[String], output: &mut impl Write) -> io::Result<()> {
    let mut threads = BTreeMap::<&str, BTreeMap<(Module, bool), u64>>::new();
    for line in folded {
        let (stack, weight) = split(line)?;
        let mut frames = stack.split(';');
        let thread = frames.next().unwrap_or_default();
        let in_kernel = stack.rsplit(';').next().is_some_and(|leaf| module_of(leaf) == Module::Kernel);
        let mut modules = frames.rev().map(module_of);
        let module = modules.find(|module| !matches!(module, Module::Kernel | Module::Other)).unwrap_or(Module::Other);
        *threads.entry(thread).or_default().entry((module, in_kernel)).or_default() += weight;
    }
    let all: u64 = threads.values().flat_map(BTreeMap::values).sum();
    let mut threads: Vec<(&str, u64, Vec<_>)> = threads
        .into_iter()
        .map(|(thread, modules)| (thread, modules.values().sum(), modules.into_iter().collect()))
        .collect();
    threads.sort_by_key(|(_, weight, _)| std::cmp::Reverse(*weight));
    for (thread, weight, mut modules) in threads {
        writeln!(output, "{thread:<32} {weight:>9} {:>6.1} %", percent(weight, all))?;
        modules.sort_by_key(|(_, weight)| std::cmp::Reverse(*weight));
        for ((module, in_kernel), weight) in modules {
            let name =
                if in_kernel { format!("kernel, called by {}", module.name()) } else { module.name().to_owned() };
            writeln!(output, "    {name:<28} {weight:>9} {:>6.1} %", percent(weight, all))?;
        }
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a share to a tenth of a per cent")]
fn percent(part: u64, whole: u64) -> f64 {
    part as f64 * 100.0 / whole.max(1) as f64
}
