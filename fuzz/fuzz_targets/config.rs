//! Configuration: any text as a file, and any lines as flags where the first begins with a hyphen, are resolved or
//! refused in one printable line.
#![no_main]

use clap::{Command, CommandFactory, FromArgMatches};
use libfuzzer_sys::fuzz_target;
use metricstream::{cli::CommandLine, config::Arguments};
use std::cell::RefCell;

thread_local! {
    /// All flags with their texts take longer to list than most lines to parse.
    static COMMAND: RefCell<Command> = RefCell::new(CommandLine::command());
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if !text.starts_with('-') {
        if let Ok(arguments) = toml::from_str::<Arguments>(text) {
            resolve(arguments);
        }
        return;
    }
    let words = std::iter::once("metricstream").chain(text.split('\n').take(20));
    let flags = words.map(|word| word.replace('\0', ""));
    let matches = COMMAND.with_borrow_mut(|command| command.try_get_matches_from_mut(flags));
    if let Ok(matches) = matches
        && let Ok(line) = CommandLine::from_arg_matches(&matches)
        && let Err(error) = line.resolve()
    {
        assert!(!error.to_string().contains('\0'));
    }
});

fn resolve(arguments: Arguments) {
    for cores in [&[0][..], &[0, 1, 2, 3]] {
        match arguments.clone().resolve(cores) {
            Ok(config) => {
                assert!(config.ring_bytes.is_power_of_two() && config.body_bytes_max() <= config.ring_bytes);
                assert!(config.metric.name_bytes_limit > 0 && config.clients_limit > 0);
                assert!(!config.listen.is_empty() || !config.proxy_listen.is_empty());
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}
