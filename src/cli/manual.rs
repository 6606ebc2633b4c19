//! The manual: the text of `--help` below the options, the manual pages, and the completion scripts. Pages and scripts
//! are generated from the definitions that parse the command line.

use super::CommandLine;
use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::{
    Man,
    roff::{Roff, roman},
};
use std::io;

/// Defines the sections, for the manual page and as one text for `--help`.
macro_rules! sections {
    ($($title:literal: $text:literal,)*) => {
        const SECTIONS: &[(&str, &str)] = &[$(($title, $text)),*];
        /// The text that `--help` shows below the options.
        pub const AFTER_HELP: &str = concat!($($title, ":\n", $text, "\n\n"),*);
    };
}

sections! {
    "Configuration":
    "Every option can also be set by a METRICSTREAM_* variable (METRICSTREAM_DATA_DIR=/srv/metrics) or in a TOML file \
     (--config FILE; its keys are the flags with underscores: data_dir = \"/srv/metrics\"). Flags override variables, \
     variables override the file, and the file overrides the defaults. A METRICSTREAM_* variable that is empty or \
     unknown is an error, except for those that Kubernetes sets for a Service called metricstream.\n\n\
     Sizes are numbers of bytes, with an optional unit: KiB, MiB, GiB, kB, MB, GB. Times have a unit: us, ms, s, m, h.",

    "Signals":
    "SIGTERM, SIGINT, SIGQUIT, SIGPWR, SIGXCPU: shut down cleanly. No new connections are accepted, requests in flight \
     get their responses, and everything accepted is written and synced. A second signal ends the process at once.\n\n\
     SIGHUP, SIGUSR1: rotate the log now.\n\n\
     SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGIO, SIGSTKFLT: ignored and logged. Real-time signals: ignored.",

    "Exit codes":
    "0: clean shutdown; everything accepted is in the log and synced.\n\n\
     1: the server failed while running, or a second signal stopped it; the last log line gives the reason. For \
     --help, --version, man and completions: standard output could not be written; a closed pipe is not a failure.\n\n\
     2: the server could not start; one line gives the reason. Starting it again unchanged would not help.",

    "Service manager":
    "Started by systemd with Type=notify (NOTIFY_SOCKET), the server reports when it listens, when shutdown begins and \
     how long that may take, and its statistics every --stats-interval (systemctl status). With WatchdogSec= \
     (WATCHDOG_USEC) it sends watchdog pings only while every reactor reports and the log writer makes progress.",

    "Examples":
    "metricstream --listen 0.0.0.0:8080 --data-dir /srv/metrics --ack fsync --retain-age 720h\n\n\
     metricstream doctor --data-dir /srv/metrics\n\n\
     metricstream man | man -l -",
}

/// The manual page of `command`, or of `metricstream` itself, in roff; `None` when there is no such command.
pub fn page(command: Option<&str>) -> Option<Vec<u8>> {
    let mut whole = CommandLine::command().disable_help_subcommand(true);
    // Gives each command its full name and its usage.
    whole.build();
    let described = match command {
        Some(name) => whole.find_subcommand(name)?.clone(),
        None => whole,
    };
    let own_words = described.get_after_help().map(ToString::to_string);
    let man = Man::new(described);
    let mut page = Vec::new();
    let rendered = render(&man, command.is_none(), &mut page);
    // Writing to a vector does not fail.
    debug_assert!(rendered.is_ok());
    let mut rest = Roff::default();
    match (command, &own_words) {
        (None | Some("serve"), _) => SECTIONS.iter().for_each(|(title, text)| section(&mut rest, title, text)),
        (_, Some(text)) => section(&mut rest, "Notes", text),
        (_, None) => {}
    }
    page.extend_from_slice(rest.render().as_bytes());
    Some(page)
}

fn render(man: &Man, has_commands: bool, to: &mut Vec<u8>) -> io::Result<()> {
    man.render_title(to)?;
    man.render_name_section(to)?;
    man.render_synopsis_section(to)?;
    man.render_description_section(to)?;
    if has_commands {
        man.render_subcommands_section(to)?;
    }
    man.render_options_section(to)
}

fn section(to: &mut Roff, title: &str, text: &str) {
    to.control("SH", [title.to_uppercase().as_str()]);
    for (index, paragraph) in text.split("\n\n").enumerate() {
        if index > 0 {
            to.control("PP", []);
        }
        to.text([roman(paragraph)]);
    }
}

/// The completion script for `shell`.
pub fn completions(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut CommandLine::command(), "metricstream", &mut script);
    script
}
