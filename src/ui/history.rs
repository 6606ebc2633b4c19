//! The points of the last minutes and hours, as lines that are ready to be sent. They are kept in blocks of some points
//! that all streams share: a page that opens late costs a reference for each.

use crate::limits;
use std::{collections::VecDeque, sync::Arc};

/// Points of one step, the newest last.
#[derive(Debug)]
pub struct History {
    step_s: u64,
    points_max: usize,
    /// Whole blocks, each a line.
    blocks: VecDeque<Arc<[u8]>>,
    blocks_bytes: usize,
    /// Points after the last whole block.
    rest: Vec<Arc<[u8]>>,
    /// The line of these, until another comes.
    rest_line: Option<Arc<[u8]>>,
}

impl History {
    /// An empty history that keeps up to this many points.
    #[must_use]
    pub const fn new(step_s: u64, points_max: usize) -> Self {
        Self { step_s, points_max, blocks: VecDeque::new(), blocks_bytes: 0, rest: Vec::new(), rest_line: None }
    }

    /// Adds a point, and drops the oldest block when there are too many points or bytes.
    pub fn push(&mut self, point: Arc<[u8]>) {
        self.rest.push(point);
        self.rest_line = None;
        if self.rest.len() == limits::HISTORY_BLOCK_POINTS {
            let line = self.line();
            self.blocks_bytes += line.len();
            self.blocks.push_back(line);
            self.rest.clear();
        }
        while self.points() > self.points_max || self.blocks_bytes > limits::HISTORY_BYTES_MAX {
            let Some(oldest) = self.blocks.pop_front() else { break };
            self.blocks_bytes -= oldest.len();
        }
    }

    /// Number of points.
    #[must_use]
    pub fn points(&self) -> usize {
        self.blocks.len() * limits::HISTORY_BLOCK_POINTS + self.rest.len()
    }

    /// The lines of all points, oldest first; one without points if there are none.
    pub fn lines(&mut self) -> impl Iterator<Item = Arc<[u8]>> + '_ {
        let rest = (!self.rest.is_empty() || self.blocks.is_empty()).then(|| {
            let line = self.rest_line.take().unwrap_or_else(|| self.line());
            Arc::clone(self.rest_line.insert(line))
        });
        self.blocks.iter().cloned().chain(rest)
    }

    fn line(&self) -> Arc<[u8]> {
        let start = format!(r#"{{"type":"history","step_s":{},"points":["#, self.step_s);
        let points = self.rest.join(&b","[..]);
        [start.as_bytes(), &points, b"]}\n"].concat().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn points_of(history: &mut History) -> Vec<u64> {
        let lines = history.lines().map(|line| serde_json::from_slice::<Value>(&line).unwrap());
        let points = lines.flat_map(|line| line["points"].as_array().unwrap().clone());
        points.map(|point| point.as_u64().unwrap()).collect()
    }

    #[test]
    fn history_keeps_the_newest_points_in_order() {
        let mut history = History::new(1, 3 * limits::HISTORY_BLOCK_POINTS);
        assert_eq!((history.lines().count(), points_of(&mut history)), (1, vec![]));
        for number in 0..200_u64 {
            history.push(number.to_string().into_bytes().into());
            let points = points_of(&mut history);
            assert_eq!(points.len(), history.points());
            assert!(history.points() <= 3 * limits::HISTORY_BLOCK_POINTS);
            assert!(points.len() > 2 * limits::HISTORY_BLOCK_POINTS || points.len() as u64 == number + 1);
            assert_eq!(points.last(), Some(&number));
            assert!(points.windows(2).all(|pair| pair[1] == pair[0] + 1));
        }
    }

    #[test]
    fn history_is_bounded_in_bytes() {
        let mut history = History::new(60, usize::MAX);
        let point: Arc<[u8]> = vec![b'1'; limits::HISTORY_BYTES_MAX / limits::HISTORY_BLOCK_POINTS / 3].into();
        for _ in 0..5 * limits::HISTORY_BLOCK_POINTS {
            history.push(Arc::clone(&point));
        }
        assert!(history.blocks_bytes <= limits::HISTORY_BYTES_MAX && history.blocks.len() == 2);
    }
}
