//! (room: metric)
