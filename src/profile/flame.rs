//! A flame graph (Gregg, "The Flame Graph", 2016) as an SVG document of its own: it needs no style sheet, no font and
//! no script. Each frame is as wide as its part of the samples, above the frame that called it; a frame's title has its
//! whole name and its part.

use std::{
    collections::BTreeMap,
    fmt::{Display, Formatter, Result, Write},
};

const WIDTH: f64 = 1_200.0;
const FRAME_HEIGHT: f64 = 17.0;
/// Height of the title above the frames.
const TOP: f64 = 44.0;
/// Frames that are narrower are left out: nobody sees them, and there may be thousands.
const FRAME_WIDTH_MIN: f64 = 0.2;
/// Width of a character of the monospaced font.
const CHARACTER_WIDTH: f64 = 6.7;
/// Frames of functions, of the kernel, and of threads: distinct for most people with colour blindness, too.
const COLORS: [[&str; 4]; 3] = [
    ["#e69f00", "#eeb33c", "#f0c060", "#d98f10"],
    ["#56b4e9", "#78c4ee", "#8fd0f2", "#48a4d9"],
    ["#cccccc", "#cccccc", "#cccccc", "#cccccc"],
];

/// A frame: its name, its distance from the outermost one, and the samples from where to where it is.
struct Frame<'a> {
    name: &'a str,
    depth: usize,
    start: u64,
    end: u64,
}

/// Draws stacks, outermost first, with their counts.
pub fn svg(named: &BTreeMap<Vec<String>, u64>, subtitle: &str) -> String {
    let frames = frames(named);
    let total = named.values().sum::<u64>().max(1);
    let levels = frames.iter().map(|frame| frame.depth + 1).max().unwrap_or(1);
    #[expect(clippy::cast_precision_loss, reason = "a few thousand pixels")]
    let height = TOP + levels as f64 * FRAME_HEIGHT + 4.0;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" font-family=\"ui-monospace, monospace\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"8\" y=\"18\" font-size=\"15\">MetricsStream</text>\n\
         <text x=\"8\" y=\"34\">{}</text>\n",
        Escaped(subtitle)
    );
    for frame in &frames {
        draw(&mut text, frame, total, height);
    }
    text + "</svg>\n"
}

/// Ends the innermost frames, down to those that are shared with the next stack.
fn close<'a>(open: &mut Vec<(&'a str, u64)>, shared: usize, at: u64, frames: &mut Vec<Frame<'a>>) {
    while open.len() > shared
        && let Some((name, start)) = open.pop()
    {
        frames.push(Frame { name, depth: open.len(), start, end: at });
    }
}

/// The frames of stacks. Those that are next to each other and have the same callers are one.
fn frames(named: &BTreeMap<Vec<String>, u64>) -> Vec<Frame<'_>> {
    let (mut frames, mut open, mut at) = (Vec::new(), Vec::<(&str, u64)>::new(), 0);
    for (names, count) in named {
        let shared = open.iter().zip(names).take_while(|((open, _), name)| open == name).count();
        close(&mut open, shared, at, &mut frames);
        open.extend(names[shared..].iter().map(|name| (name.as_str(), at)));
        at += count;
    }
    close(&mut open, 0, at, &mut frames);
    frames
}

#[expect(clippy::cast_precision_loss, reason = "pixels and per cents")]
fn draw(text: &mut String, frame: &Frame<'_>, total: u64, height: f64) {
    let Frame { name, depth, start, end } = *frame;
    let scale = WIDTH / total as f64;
    let (x, width) = (start as f64 * scale, (end - start) as f64 * scale);
    if width < FRAME_WIDTH_MIN {
        return;
    }
    let y = height - 4.0 - (depth + 1) as f64 * FRAME_HEIGHT;
    let palette = COLORS[if depth == 0 { 2 } else { usize::from(name.ends_with("_[k]")) }];
    let color = palette[name.bytes().map(usize::from).sum::<usize>() % palette.len()];
    let percent = (end - start) as f64 / total as f64 * 100.0;
    let title = Escaped(name);
    // Writing to a String cannot fail, here and below.
    let _ = write!(
        text,
        "<g><title>{title} ({} samples, {percent:.1} %)</title><rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" \
         height=\"{:.1}\" fill=\"{color}\"/>",
        end - start,
        FRAME_HEIGHT - 1.0
    );
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to some hundreds")]
    let characters = ((width - 6.0) / CHARACTER_WIDTH).max(0.0) as usize;
    if characters >= 3 {
        let shown: String = name.chars().take(characters).collect();
        let _ = write!(text, "<text x=\"{:.1}\" y=\"{:.1}\">{}</text>", x + 3.0, y + 12.0, Escaped(&shown));
    }
    text.push_str("</g>\n");
}

/// Text as it stands in XML.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        for character in self.0.chars() {
            match character {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                character if character.is_control() => f.write_char(' ')?,
                character => f.write_char(character)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stacks(list: &[(&str, u64)]) -> BTreeMap<Vec<String>, u64> {
        let names = |stack: &str| stack.split(';').map(str::to_owned).collect();
        list.iter().map(|&(stack, count)| (names(stack), count)).collect()
    }

    #[test]
    fn frames_with_the_same_callers_are_one() {
        let named = stacks(&[("t;run", 2), ("t;run;parse", 3), ("t;stop", 1), ("w", 4)]);
        let mut found: Vec<_> =
            frames(&named).iter().map(|frame| (frame.depth, frame.name, frame.start, frame.end)).collect();
        found.sort_unstable();
        let expected = [(0, "t", 0, 6), (0, "w", 6, 10), (1, "run", 0, 5), (1, "stop", 5, 6), (2, "parse", 2, 5)];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_flame_graph_names_its_functions() {
        let text = svg(&stacks(&[("t;<a as b>::parse", 3), ("t;run", 1)]), "4 samples");
        assert!(text.contains("<title>&lt;a as b&gt;::parse (3 samples, 75.0 %)</title>"), "{text}");
        assert!(text.contains(">4 samples</text>") && text.ends_with("</svg>\n"));
    }

    #[test]
    fn a_flame_graph_of_nothing_is_a_document() {
        let text = svg(&BTreeMap::new(), "0 samples");
        assert!(text.starts_with("<svg ") && text.ends_with("</svg>\n"));
    }
}
