//! The command line: arguments to configuration to server.

fn main() {}
