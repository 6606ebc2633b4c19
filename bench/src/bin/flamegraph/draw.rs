//! The pictures: inferno with this server's colours.

use crate::{
    Palette,
    modules::{self, Module},
    off_cpu::{BLOCKED, WAITS_FOR_A_CORE},
};
use inferno::flamegraph::{
    self, Options,
    color::{BackgroundColor, Color, PaletteMap},
};
use std::{
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Write},
};

/// Neighbours of one module differ by up to this much of each colour, so that the frames can be distinguished.
const SHADES: u64 = 24;

/// Appearance of a picture.
#[derive(Debug)]
pub struct Look {
    /// Above it.
    pub title: String,
    /// Unit of the weights.
    pub unit: String,
    /// Colours of the picture.
    pub palette: Palette,
    /// Minimum width of a frame that is drawn, in per cent of the picture's.
    pub min_width: f64,
}

/// Draws folded stacks.
///
/// # Errors
/// A line that is not a folded stack, or those of the writer.
pub fn draw(folded: &[String], look: Look, output: &mut impl Write) -> io::Result<()> {
    for line in folded {
        modules::split(line)?;
    }
    let sum: u64 = folded.iter().filter_map(|line| modules::split(line).ok()).map(|(_, weight)| weight).sum();
    let mut options = options(format!("{}, {sum} {}", look.title, look.unit), look.min_width);
    options.count_name = look.unit;
    let mut colours = PaletteMap::default();
    // The frame of all threads has no name.
    colours.insert("", colour_of(""));
    let colour = match look.palette {
        Palette::Waiting => waiting_colour_of,
        Palette::Modules => colour_of,
    };
    for frame in folded.iter().filter_map(|line| line.rsplit_once(' ')).flat_map(|(stack, _)| stack.split(';')) {
        colours.insert(shown(frame), colour(frame));
    }
    options.subtitle = Some(match look.palette {
        Palette::Waiting => {
            format!("{BLOCKED} blue: until it was woken, {WAITS_FOR_A_CORE} orange: runnable, another had the core")
        }
        Palette::Modules => Module::ALL.map(|module| format!("{} {}", module.name(), module.colour().1)).join(", "),
    });
    options.palette_map = Some(&mut colours);
    let mut lines: Vec<String> = folded.iter().map(|line| shown(line)).collect();
    // The names as they are shown have another order than those that were folded, and inferno joins neighbours only.
    lines.sort_unstable();
    flamegraph::from_lines(&mut options, lines.iter().map(String::as_str), output)
}

/// Names are cut where a frame is narrow: the name of our own crate, in most of them, would be all that is left.
pub fn shown(names: &str) -> String {
    names.replace("metricstream::", "")
}

/// Returns the options that all pictures share.
pub fn options(title: String, min_width: f64) -> Options<'static> {
    let mut options = Options::default();
    options.title = title;
    options.min_width = min_width;
    options.deterministic = true;
    // Not white: that is the colour of what has not changed.
    options.bgcolors = Some(BackgroundColor::Flat(Color { r: 246, g: 244, b: 238 }));
    options
}

/// The colour of a frame's module, shaded by the frame's name.
fn colour_of(frame: &str) -> Color {
    let (colour, _) = modules::module_of(frame).colour();
    let mut hasher = DefaultHasher::new();
    frame.hash(&mut hasher);
    let shade = u8::try_from(hasher.finish() % SHADES).unwrap_or_default();
    Color { r: colour.r - shade, g: colour.g - shade, b: colour.b - shade }
}

/// The colour of a frame in a picture of time off a core: the innermost frame says what the thread waited for, the
/// frames below it are pale, so that the two kinds of waiting stand out.
fn waiting_colour_of(frame: &str) -> Color {
    match frame {
        BLOCKED => Color { r: 110, g: 165, b: 235 },
        WAITS_FOR_A_CORE => Color { r: 245, g: 160, b: 60 },
        frame if modules::module_of(frame) == Module::Kernel => Color { r: 214, g: 214, b: 214 },
        _ => Color { r: 236, g: 230, b: 216 },
    }
}
