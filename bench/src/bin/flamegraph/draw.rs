//! The pictures: inferno with this server's colours.

use crate::{
    Palette,
    rooms::{self, Room},
};
use inferno::{
    differential,
    flamegraph::{
        self, Options,
        color::{BackgroundColor, BasicPalette, Color, PaletteMap},
    },
};
use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Write},
    path::Path,
};

/// Neighbours of one room differ by up to this much of each colour, so that the frames can be told apart.
const SHADES: u64 = 24;

/// How a picture shall look.
#[derive(Debug)]
pub struct Look {
    /// Above it.
    pub title: String,
    /// Of the weights.
    pub unit: String,
    /// Its colours.
    pub palette: Palette,
    /// Of the frames that are shown, in per cent of the picture's.
    pub min_width: f64,
}

/// Draws folded stacks.
///
/// # Errors
/// A line that is not a folded stack, or those of the writer.
pub fn draw(folded: &[String], look: Look, output: &mut impl Write) -> io::Result<()> {
    for line in folded {
        rooms::split(line)?;
    }
    let mut options = options(look.title, look.min_width);
    options.count_name = look.unit;
    let mut colours = PaletteMap::default();
    // The frame of all threads has no name.
    colours.insert("", colour_of(""));
    match look.palette {
        Palette::Waiting => options.colors = flamegraph::color::Palette::Basic(BasicPalette::Blue),
        Palette::Rooms => {
            for frame in folded.iter().filter_map(|line| line.rsplit_once(' ')).flat_map(|(stack, _)| stack.split(';'))
            {
                colours.insert(shown(frame), colour_of(frame));
            }
            let legend: Vec<String> = Room::ALL.map(|room| format!("{} {}", room.name(), room.colour().1)).into();
            options.subtitle = Some(legend.join(", "));
            options.palette_map = Some(&mut colours);
        }
    }
    let lines: Vec<String> = folded.iter().map(|line| shown(line)).collect();
    flamegraph::from_lines(&mut options, lines.iter().map(String::as_str), output)
}

/// Names are cut where a frame is narrow: the name of our own crate, in most of them, would be all that is left.
fn shown(names: &str) -> String {
    names.replace("metricstream::", "")
}

/// Draws the stacks of `after`, coloured by how they differ from `before`. The sums are made equal first: what is shown is
/// where the time goes, not how long was recorded.
///
/// # Errors
/// A file that cannot be read or has no stacks, or those of the writer.
pub fn difference(
    before: &Path,
    after: &Path,
    title: String,
    min_width: f64,
    output: &mut impl Write,
) -> io::Result<()> {
    let read = |path: &Path| {
        let told = |error: io::Error| io::Error::other(format!("{}: {error}", path.display()));
        fs::read_to_string(path)
            .and_then(|text| {
                crate::folded(text.as_bytes())?
                    .iter()
                    .try_for_each(|line| rooms::split(line).map(|_| ()))
                    .map(|()| text)
            })
            .map_err(told)
    };
    let (before, after) = (read(before)?, read(after)?);
    let mut both = Vec::new();
    let normalised = differential::Options { normalize: true, strip_hex: false };
    differential::from_readers(normalised, before.as_bytes(), after.as_bytes(), &mut both)?;
    let mut options = options(title, min_width);
    options.subtitle = Some("widths are those after; red has more than before, blue less, white the same".to_owned());
    let both = shown(&String::from_utf8_lossy(&both));
    flamegraph::from_reader(&mut options, both.as_bytes(), output)
}

fn options(title: String, min_width: f64) -> Options<'static> {
    let mut options = Options::default();
    options.title = title;
    options.min_width = min_width;
    options.deterministic = true;
    // Not white: that is the colour of what has not changed.
    options.bgcolors = Some(BackgroundColor::Flat(Color { r: 246, g: 244, b: 238 }));
    options
}

/// The colour of a frame's room, shaded by the frame's name.
fn colour_of(frame: &str) -> Color {
    let (colour, _) = rooms::room_of(frame).colour();
    let mut hasher = DefaultHasher::new();
    frame.hash(&mut hasher);
    let shade = u8::try_from(hasher.finish() % SHADES).unwrap_or_default();
    Color { r: colour.r - shade, g: colour.g - shade, b: colour.b - shade }
}
