//! Two recordings side by side: for each frame of each stack its share of the samples before and after, counted with
//! everything above it.
//!
//! A caller grows when what it calls grows, so the shares are inclusive. Whatever differs by less than twice the
//! standard error of the two shares (each unit counted as one sample) is drawn white: chance does that. What is gone
//! has no width in the picture of the second recording: there is a picture of the first for it, and a table of
//! functions for both.

use crate::{draw, modules};
use inferno::flamegraph::{
    self,
    color::{Color, PaletteMap},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
};

/// Rows of the table for each direction.
const ROWS_MAX: usize = 15;

/// Which recording gives a picture its widths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Widths {
    /// The first: shows what is gone.
    Before,
    /// The second: shows what is new.
    After,
}

/// Weights of one stack, or one function, in both recordings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Weights {
    before: u64,
    after: u64,
}

/// Inclusive shares of one frame, 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Shares {
    before: f64,
    after: f64,
    /// The difference is larger than twice its standard error.
    is_significant: bool,
}

impl Shares {
    fn change(self) -> f64 {
        if self.is_significant { self.after - self.before } else { 0.0 }
    }
}

/// The folded stacks of two recordings.
#[derive(Debug)]
pub struct Comparison {
    stacks: BTreeMap<String, Weights>,
    total: Weights,
}

impl Comparison {
    /// Reads two folded files.
    ///
    /// # Errors
    /// A file that cannot be read, has no stacks, or is not folded; the message names it.
    pub fn read(before: &Path, after: &Path) -> io::Result<Self> {
        let mut comparison = Self { stacks: BTreeMap::new(), total: Weights::default() };
        for (path, is_after) in [(before, false), (after, true)] {
            comparison.add(path, is_after).map_err(|error| io::Error::other(format!("{}: {error}", path.display())))?;
        }
        Ok(comparison)
    }

    fn add(&mut self, path: &Path, is_after: bool) -> io::Result<()> {
        for line in crate::folded(fs::read(path)?.as_slice())? {
            let (stack, weight) = modules::split(&line)?;
            let both = self.stacks.entry(stack.to_owned()).or_default();
            let (sum, total) = if is_after {
                (&mut both.after, &mut self.total.after)
            } else {
                (&mut both.before, &mut self.total.before)
            };
            (*sum, *total) = (sum.saturating_add(weight), total.saturating_add(weight));
        }
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "a share to a hundredth of a per cent")]
    fn shares(&self, weights: Weights) -> Shares {
        let share = |part: u64, whole: u64| part as f64 / whole.max(1) as f64;
        let (before, after) = (share(weights.before, self.total.before), share(weights.after, self.total.after));
        let variance = |share: f64, samples: u64| share * (1.0 - share) / samples.max(1) as f64;
        let error = (variance(before, self.total.before) + variance(after, self.total.after)).sqrt();
        Shares { before, after, is_significant: (after - before).abs() > 2.0 * error }
    }

    /// Weights of every frame of every stack with all that it called, by its path `outermost;…;frame`.
    fn paths(&self) -> BTreeMap<&str, Weights> {
        let mut paths = BTreeMap::<&str, Weights>::new();
        for (stack, weights) in &self.stacks {
            for end in stack.match_indices(';').map(|(at, _)| at).chain([stack.len()]) {
                let sum = paths.entry(&stack[..end]).or_default();
                sum.before += weights.before;
                sum.after += weights.after;
            }
        }
        paths
    }

    /// Draws one recording, each frame coloured and labelled by the change of its inclusive share.
    ///
    /// # Errors
    /// A recording without stacks, or those of the writer.
    pub fn draw(&self, title: String, min_width: f64, widths: Widths, output: &mut impl io::Write) -> io::Result<()> {
        let paths: BTreeMap<&str, Shares> =
            self.paths().into_iter().map(|(path, weights)| (path, self.shares(weights))).collect();
        let largest = paths.values().map(|shares| shares.change().abs()).fold(0.0, f64::max);
        let mut colours = PaletteMap::default();
        colours.insert("", colour(0.0, largest));
        let numbers: BTreeMap<&str, usize> = paths.keys().enumerate().map(|(number, path)| (*path, number)).collect();
        let mut lines = Vec::new();
        for (stack, weights) in &self.stacks {
            let weight = if widths == Widths::After { weights.after } else { weights.before };
            if weight == 0 {
                continue;
            }
            let mut line = String::new();
            let mut begin = 0;
            for end in stack.match_indices(';').map(|(at, _)| at).chain([stack.len()]) {
                let path = &stack[..end];
                let name = numbered(&stack[begin..end], numbers[path]);
                colours.insert(&name, colour(paths[path].change(), largest));
                line.push_str(&name);
                line.push(if end == stack.len() { ' ' } else { ';' });
                begin = end + 1;
            }
            line.push_str(&weight.to_string());
            lines.push(line);
        }
        lines.sort_unstable();
        let mut options = draw::options(title, min_width);
        let sum = if widths == Widths::After { self.total.after } else { self.total.before };
        let (wide, other) = if widths == Widths::After { ("after", "before") } else { ("before", "after") };
        options.subtitle = Some(format!(
            "widths: {wide} ({sum}); red: a larger inclusive share after than before, blue: a smaller, white: within chance; \
             what is {other} only has no width here"
        ));
        options.palette_map = Some(&mut colours);
        let mut svg = Vec::new();
        flamegraph::from_lines(&mut options, lines.iter().map(String::as_str), &mut svg)?;
        let shares: Vec<Shares> = paths.into_values().collect();
        output.write_all(annotated(&String::from_utf8_lossy(&svg), &shares).as_bytes())
    }

    /// Writes the functions that gained and lost most, by inclusive share; a function that calls itself counts once a
    /// stack.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn table(&self, output: &mut impl io::Write) -> io::Result<()> {
        let mut functions = BTreeMap::<&str, Weights>::new();
        for (stack, weights) in &self.stacks {
            for function in stack.split(';').collect::<BTreeSet<_>>() {
                let sum = functions.entry(function).or_default();
                sum.before += weights.before;
                sum.after += weights.after;
            }
        }
        let mut rows: Vec<(&str, Shares)> =
            functions.into_iter().map(|(function, weights)| (function, self.shares(weights))).collect();
        rows.retain(|(_, shares)| shares.is_significant);
        rows.sort_by(|(_, one), (_, other)| other.change().total_cmp(&one.change()));
        writeln!(output, "samples: {} before, {} after; inclusive shares", self.total.before, self.total.after)?;
        let gains = rows.iter().filter(|(_, shares)| shares.change() > 0.0);
        let losses = rows.iter().rev().filter(|(_, shares)| shares.change() < 0.0);
        section("gains", gains, output)?;
        section("losses", losses, output)
    }
}

fn section<'a>(
    name: &str,
    rows: impl Iterator<Item = &'a (&'a str, Shares)>,
    output: &mut impl io::Write,
) -> io::Result<()> {
    let rows: Vec<_> = rows.collect();
    writeln!(output, "{name}: {}", if rows.is_empty() { "none beyond chance" } else { "" }.trim_end())?;
    for (function, shares) in rows.iter().take(ROWS_MAX) {
        let note = match (shares.before > 0.0, shares.after > 0.0) {
            (false, _) => "  new",
            (_, false) => "  gone",
            _ => "",
        };
        writeln!(
            output,
            "  {:>+8.2} % {:>8.2} -> {:>6.2} %  {}{note}",
            shares.change() * 100.0,
            shares.before * 100.0,
            shares.after * 100.0,
            draw::shown(function)
        )?;
    }
    match rows.len().checked_sub(ROWS_MAX) {
        Some(more) if more > 0 => writeln!(output, "  and {more} more"),
        _ => Ok(()),
    }
}

/// Stands between the name of a frame and its number: a character for private use, which no name has.
const NUMBER_MARK: char = '\u{e000}';

/// The name of a frame with its number behind it. inferno knows one colour for a name; the same function at two places
/// of the tree has changed in two ways.
fn numbered(frame: &str, number: usize) -> String {
    let name = draw::shown(frame);
    let name = name.strip_suffix(crate::stacks::KERNEL_SUFFIX).unwrap_or(&name);
    format!("{name}{NUMBER_MARK}{number}")
}

/// The picture without the numbers: the title of each frame says the change of its share instead, its label has the
/// name alone.
fn annotated(svg: &str, shares: &[Shares]) -> String {
    let mut parts = svg.split(NUMBER_MARK);
    let mut output = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = part.split_at(digits);
        let shares = number.parse().ok().and_then(|number: usize| shares.get(number));
        match (shares, rest.split_once(")</title>")) {
            (Some(shares), Some((title, rest))) if rest_is_of_a_title(title) => {
                let (before, change) = (shares.before * 100.0, (shares.after - shares.before) * 100.0);
                output.push_str(&format!("{title}; {change:+.2}%, was {before:.2}%)</title>{rest}"));
            }
            _ => output.push_str(rest),
        }
    }
    output
}

/// ` (536 samples, 53.60%`: what follows the name in a title, and nothing of another element.
fn rest_is_of_a_title(text: &str) -> bool {
    text.starts_with(" (") && !text.contains('<')
}

/// White for no change, then red or blue, fully saturated at `largest`. Each is light enough for black text: the
/// darkest has a contrast of 7:1.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 145, by the clamp")]
fn colour(change: f64, largest: f64) -> Color {
    let scaled = if largest > 0.0 { (change.abs() / largest).clamp(0.0, 1.0).sqrt() } else { 0.0 };
    let fade = |by: f64| 255 - (scaled * by) as u8;
    match change {
        change if change > 0.0 => Color { r: 255, g: fade(145.0), b: fade(145.0) },
        change if change < 0.0 => Color { r: fade(145.0), g: fade(95.0), b: 255 },
        _ => Color { r: 255, g: 255, b: 255 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comparison(stacks: &[(&str, u64, u64)]) -> Comparison {
        let stacks: BTreeMap<String, Weights> = stacks
            .iter()
            .map(|(stack, before, after)| ((*stack).into(), Weights { before: *before, after: *after }))
            .collect();
        let sum = |part: fn(&Weights) -> u64| stacks.values().map(part).sum();
        let total = Weights { before: sum(|weights| weights.before), after: sum(|weights| weights.after) };
        Comparison { stacks, total }
    }

    #[test]
    fn a_caller_has_the_share_of_all_that_it_calls() {
        let comparison = comparison(&[("t;a;b", 0, 300), ("t;a;c", 100, 300), ("t;d", 300, 0)]);
        let paths = comparison.paths();
        assert_eq!(paths["t;a"], Weights { before: 100, after: 600 });
        assert_eq!(paths["t"], comparison.total);
        let shares = comparison.shares(paths["t;a"]);
        assert!(shares.is_significant && (shares.change() - 0.75).abs() < 1e-9);
    }

    #[test]
    fn a_difference_that_chance_makes_is_none() {
        let comparison = comparison(&[("t;a", 100, 110), ("t;b", 900, 890)]);
        assert!(comparison.paths().into_values().all(|weights| comparison.shares(weights).change() == 0.0));
        let mut table = Vec::new();
        comparison.table(&mut table).unwrap();
        let table = String::from_utf8(table).unwrap();
        assert!(table.contains("gains: none beyond chance") && table.contains("losses: none beyond chance"), "{table}");
    }

    #[test]
    fn every_colour_bears_black_text() {
        let luminance = |Color { r, g, b }: Color| {
            let linear = |part: u8| {
                let part = f64::from(part) / 255.0;
                if part <= 0.03928 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
            };
            0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b)
        };
        for step in -100..=100 {
            let colour = colour(f64::from(step) / 100.0, 1.0);
            assert!((luminance(colour) + 0.05) / 0.05 >= 7.0, "{step}: {colour:?}");
        }
    }
}
