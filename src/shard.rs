//! (room: shard)
