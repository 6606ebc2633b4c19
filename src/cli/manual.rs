//! The manual: what `--help` says below the options, the manual pages, and the scripts with which a shell completes a command
//! line. Pages and scripts are made from the very definitions that the command line is read by.

use super::CommandLine;
use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::{
    Man,
    roff::{Roff, roman},
};
use std::io;

/// The sections, for the manual page and in one text for `--help`.
macro_rules! sections {
    ($($title:literal: $text:literal,)*) => {
        const SECTIONS: &[(&str, &str)] = &[$(($title, $text)),*];
        /// What `--help` shows below the options.
        pub const AFTER_HELP: &str = concat!($($title, ":\n", $text, "\n\n"),*);
    };
}

sections! {
    "Configuration":
    "Every option can also come from a METRICSTREAM_* variable (METRICSTREAM_DATA_DIR=/srv/metrics) or from a TOML file \
     (--config FILE; its keys are the flags with underscores: data_dir = \"/srv/metrics\"). Flags win over variables, variables \
     over the file, the file over the defaults. A METRICSTREAM_* variable that is empty or that there is none of is refused, but for \
     those that Kubernetes sets for a Service called metricstream.\n\n\
     Sizes are a number of bytes, or take KiB, MiB, GiB, kB, MB, GB. Times take us, ms, s, m, h.",

    "Signals":
    "SIGTERM, SIGINT, SIGQUIT, SIGPWR, SIGXCPU: stop in order. No new connections, what is in flight is answered, everything accepted is \
     written and synced. A second one ends the process at once.\n\n\
     SIGHUP, SIGUSR1: rotate the log now.\n\n\
     SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGIO, SIGSTKFLT: ignored, with a line that says so. Real-time signals: ignored.",

    "Exit codes":
    "0: stopped in order, all that was accepted is in the log and synced.\n\n\
     1: it failed while it ran, or was stopped by a second signal; the last line says why. Of --help, --version, man and completions: \
     standard output could not be written to; that its reader has left is no failure.\n\n\
     2: it could not start; one line says why. To start it again as it is would not help.",

    "Service manager":
    "Started by systemd with Type=notify (NOTIFY_SOCKET), it says when it listens, when it begins to stop and how long that may take, \
     and every --stats-interval what it does (systemctl status). With WatchdogSec= (WATCHDOG_USEC) it is heard from only while \
     every reactor reports and the log's writer moves.",

    "Examples":
    "metricstream --listen 0.0.0.0:8080 --data-dir /srv/metrics --ack fsync --retain-age 720h\n\n\
     metricstream doctor --data-dir /srv/metrics\n\n\
     metricstream man | man -l -",
}

/// The manual page of `command`, or of the whole, in roff; `None` when there is no such command.
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
    // A vector takes all that is written to it.
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

/// The script that completes the command line in `shell`.
pub fn completions(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut CommandLine::command(), "metricstream", &mut script);
    script
}
