//! The instruments: what the benchmark programs share.
