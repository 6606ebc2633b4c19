//! The rooms of the server: which function belongs to which, the colour of each, and a table of their shares.

use crate::stacks::KERNEL_SUFFIX;
use inferno::flamegraph::color::Color;
use std::{
    collections::BTreeMap,
    io::{self, Write},
};

/// A part of the server that has a name and a colour of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Room {
    /// The drivers, and the crates they stand on.
    Reactor,
    /// Requests and answers as bytes.
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
const PREFIXES: [(&str, Room); 12] = [
    ("reactor::", Room::Reactor),
    ("wake::", Room::Reactor),
    ("io_uring::", Room::Reactor),
    ("mio::", Room::Reactor),
    ("http1::", Room::Http),
    ("httparse::", Room::Http),
    ("metric::", Room::Parser),
    ("metric::encode::", Room::Encoder),
    ("rate::", Room::Rate),
    ("log::", Room::Log),
    ("query::", Room::Service),
    ("metricstream::", Room::Service),
];

impl Room {
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

/// The room of a frame by its name in the folded form.
pub fn room_of(frame: &str) -> Room {
    if frame.ends_with(KERNEL_SUFFIX) {
        return Room::Kernel;
    }
    let path = frame.trim_start_matches(['<', '&']);
    let fitting = PREFIXES.iter().filter(|(prefix, _)| path.starts_with(prefix));
    fitting.max_by_key(|(prefix, _)| prefix.len()).map_or(Room::Other, |(_, room)| *room)
}

/// The stack and the weight of a folded line.
pub fn split(line: &str) -> io::Result<(&str, u64)> {
    let parts = line.rsplit_once(' ').and_then(|(stack, weight)| Some((stack, weight.parse().ok()?)));
    parts.ok_or_else(|| io::Error::other(format!("not a folded stack: {line}")))
}

/// Writes the share of each room, by thread, largest thread first. A sample is its innermost room's; what a library did is
/// the work of the room that called it, and the kernel's work is told apart by the room that called the kernel.
///
/// # Errors
/// A line that is not a folded stack, or those of the writer.
pub fn table(folded: &[String], output: &mut impl Write) -> io::Result<()> {
    let mut threads = BTreeMap::<&str, BTreeMap<(Room, bool), u64>>::new();
    for line in folded {
        let (stack, weight) = split(line)?;
        let mut frames = stack.split(';');
        let thread = frames.next().unwrap_or_default();
        let in_kernel = stack.rsplit(';').next().is_some_and(|leaf| room_of(leaf) == Room::Kernel);
        let mut rooms = frames.rev().map(room_of);
        let room = rooms.find(|room| !matches!(room, Room::Kernel | Room::Other)).unwrap_or(Room::Other);
        *threads.entry(thread).or_default().entry((room, in_kernel)).or_default() += weight;
    }
    let all: u64 = threads.values().flat_map(BTreeMap::values).sum();
    let mut threads: Vec<(&str, u64, Vec<_>)> = threads
        .into_iter()
        .map(|(thread, rooms)| (thread, rooms.values().sum(), rooms.into_iter().collect()))
        .collect();
    threads.sort_by_key(|(_, weight, _)| std::cmp::Reverse(*weight));
    for (thread, weight, mut rooms) in threads {
        writeln!(output, "{thread:<32} {weight:>9} {:>6.1} %", percent(weight, all))?;
        rooms.sort_by_key(|(_, weight)| std::cmp::Reverse(*weight));
        for ((room, in_kernel), weight) in rooms {
            let name = if in_kernel { format!("kernel, called by {}", room.name()) } else { room.name().to_owned() };
            writeln!(output, "    {name:<28} {weight:>9} {:>6.1} %", percent(weight, all))?;
        }
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a share to a tenth of a per cent")]
fn percent(part: u64, whole: u64) -> f64 {
    part as f64 * 100.0 / whole.max(1) as f64
}
