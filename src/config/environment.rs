//! Checks of the environment as a whole: an unknown `METRICSTREAM_*` variable is refused, like an unknown key in the
//! file, because the setting it was meant for would silently have no effect. So is one whose prefix is misspelled.

use super::ConfigError;
use clap::Command;
use std::{collections::BTreeSet, env, ffi::OsString};
use tracing_subscriber::EnvFilter;

/// Prefix of all of the server's variables.
const PREFIX: &str = "METRICSTREAM_";
/// The variable without a corresponding flag.
const LOG: &str = "METRICSTREAM_LOG";
/// Maximum edit distance between a variable and the suggested one.
const TYPOS_MAX: usize = 3;
/// Maximum edit distance, whatever the case of letters, of a variable without our prefix that is meant for a known one.
const PREFIX_TYPOS_MAX: usize = 2;

/// Checks that every variable with our prefix, or nearly our prefix, is an option of `line` or of one of its
/// subcommands, and is not empty.
///
/// # Errors
/// The first variable that is not, with the closest known name.
pub fn check(line: &Command) -> Result<(), ConfigError> {
    check_variables(line, env::vars_os())
}

fn check_variables(line: &Command, variables: impl Iterator<Item = (OsString, OsString)>) -> Result<(), ConfigError> {
    let known = known(line);
    let ours = variables.filter_map(|(name, value)| {
        let name = name.to_string_lossy().into_owned();
        let is_meant = || nearest(&name.to_ascii_uppercase(), &known, PREFIX_TYPOS_MAX).is_some();
        (name.starts_with(PREFIX) || is_meant()).then_some((name, value))
    });
    // Sorted, so that the error does not depend on the order of the environment.
    for (name, value) in ours.collect::<BTreeSet<_>>() {
        if known.contains(name.as_str()) {
            if value.is_empty() {
                return Err(ConfigError(format!("{name} is empty: set a value, or unset it")));
            }
        } else if !name.strip_prefix(PREFIX).is_some_and(is_service_link) {
            return Err(ConfigError(match nearest(&name.to_ascii_uppercase(), &known, TYPOS_MAX) {
                Some(nearest) => format!("unknown variable {name}; did you mean {nearest}?"),
                None => format!("unknown variable {name}: --help lists the known ones"),
            }));
        }
    }
    Ok(())
}

/// The variables of `line` and of its subcommands.
fn known(line: &Command) -> BTreeSet<String> {
    let commands = std::iter::once(line).chain(line.get_subcommands());
    let variables = commands.flat_map(|command| command.get_arguments().filter_map(clap::Arg::get_env));
    variables.filter_map(|name| name.to_str().map(str::to_owned)).chain([LOG.to_owned()]).collect()
}

fn nearest<'a>(name: &str, known: &'a BTreeSet<String>, typos_max: usize) -> Option<&'a str> {
    let distances = known.iter().map(|known| (strsim::osa_distance(name, known), known.as_str()));
    distances.filter(|(typos, _)| *typos <= typos_max).min().map(|(_, name)| name)
}

/// Returns true for the variables that Kubernetes sets in every container in the namespace of a Service called
/// `metricstream` or `metricstream-NAME`: `METRICSTREAM_SERVICE_HOST`, `METRICSTREAM_SERVICE_PORT_HTTP`,
/// `METRICSTREAM_PORT`, `METRICSTREAM_PORT_8080_TCP_ADDR`
/// (https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables).
fn is_service_link(rest: &str) -> bool {
    // The rest of the Service's name precedes `part`; it is empty for a Service called `metricstream`.
    let after = |part: &str| {
        rest.match_indices(part)
            .filter(|(at, _)| *at == 0 || rest[..*at].ends_with('_'))
            .map(|(at, _)| &rest[at + part.len()..])
            .collect::<Vec<_>>()
    };
    let is_port_of_protocol = |port: &str| {
        let Some((number, rest)) = port.split_once('_') else { return false };
        let (protocol, what) = rest.split_once('_').unwrap_or((rest, "ADDR"));
        number.parse::<u16>().is_ok()
            && ["TCP", "UDP", "SCTP"].contains(&protocol)
            && ["PROTO", "PORT", "ADDR"].contains(&what)
    };
    after("SERVICE_HOST").contains(&"")
        || after("SERVICE_PORT").iter().any(|name| name.is_empty() || name.starts_with('_'))
        || after("PORT").iter().any(|port| port.is_empty() || port.strip_prefix('_').is_some_and(is_port_of_protocol))
}

/// The log level set by METRICSTREAM_LOG, or `info`.
///
/// # Errors
/// The variable holds no valid level.
pub fn log_filter() -> Result<EnvFilter, ConfigError> {
    match env::var_os(LOG) {
        None => Ok(EnvFilter::new("info")),
        Some(text) => filter_of(&text.to_string_lossy()).map_err(|error| ConfigError(format!("{LOG}: {error}"))),
    }
}

fn filter_of(text: &str) -> Result<EnvFilter, String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let expected = format!("expected one of {}, or module=level", LEVELS.join(", "));
    // `EnvFilter` takes a word that is not a level for a module, and then logs only that module.
    let words = text.split(',').map(str::trim).filter(|word| !word.contains(['=', '[']));
    for word in words {
        if !LEVELS.iter().any(|level| word.eq_ignore_ascii_case(level)) {
            return Err(format!("{expected}, not {word}"));
        }
    }
    EnvFilter::try_new(text).map_err(|_| format!("{expected}, not {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::CommandLine;
    use clap::CommandFactory;

    fn check(variables: &[(&str, &str)]) -> Result<(), String> {
        let variables = variables.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        check_variables(&CommandLine::command(), variables).map_err(|error| error.to_string())
    }

    #[test]
    fn a_misspelled_variable_is_refused_with_the_nearest() {
        for (name, part) in [
            ("METRICSTREAM_DATA_DRI", "METRICSTREAM_DATA_DRI; did you mean METRICSTREAM_DATA_DIR?"),
            ("METRICSTREAM_API_KEY", "did you mean METRICSTREAM_API_KEYS?"),
            ("METRICSTREAM_LOGS", "did you mean METRICSTREAM_LOG?"),
            ("METRICSTREAM_COLOUR_OF_THE_SKY", "unknown variable METRICSTREAM_COLOUR_OF_THE_SKY: --help"),
            ("METRICSTREAM_", "unknown variable METRICSTREAM_"),
            ("METRICSTRAEM_DATA_DIR", "METRICSTRAEM_DATA_DIR; did you mean METRICSTREAM_DATA_DIR?"),
            ("METRIC_STREAM_ACK", "METRIC_STREAM_ACK; did you mean METRICSTREAM_ACK?"),
            ("metricstream_data_dir", "metricstream_data_dir; did you mean METRICSTREAM_DATA_DIR?"),
        ] {
            let refusal = check(&[("METRICSTREAM_ACK", "fsync"), (name, "x")]).unwrap_err();
            assert!(refusal.contains(part), "{refusal}");
        }
        let refusal = check(&[("METRICSTREAM_ACK", "")]).unwrap_err();
        assert!(refusal.starts_with("METRICSTREAM_ACK is empty"), "{refusal}");
    }

    #[test]
    fn known_and_foreign_variables_are_left_alone() {
        let known = [("METRICSTREAM_DATA_DIR", "/x"), ("METRICSTREAM_LOG", "debug"), ("METRICSTREAM_CONFIG", "/y")];
        assert_eq!(check(&known), Ok(()));
        assert_eq!(
            check(&[("METRICSTREAM", ""), ("METRICSTREAMER_X", "1"), ("METRICS_ACK", "1"), ("PATH", "")]),
            Ok(())
        );
    }

    #[test]
    fn variables_of_kubernetes_are_left_alone() {
        for name in [
            "SERVICE_HOST",
            "SERVICE_PORT",
            "SERVICE_PORT_HTTP",
            "PORT",
            "PORT_8080_TCP",
            "PORT_8080_TCP_PROTO",
            "PORT_8080_TCP_PORT",
            "PORT_8080_UDP_ADDR",
            "HEADLESS_SERVICE_HOST",
            "HEADLESS_PORT",
            "HEADLESS_PORT_53_UDP",
            "PORT_X_PORT_80_TCP_ADDR",
        ] {
            assert_eq!(check(&[(&format!("{PREFIX}{name}"), "tcp://10.0.0.1:8080")]), Ok(()), "{name}");
        }
        for name in
            ["PORTS", "REPORT", "PORT_8080", "PORT_TCP", "PORT_99999_TCP", "PORT_80_TCP_X", "SERVICE", "SERVICE_PORTS"]
        {
            assert!(check(&[(&format!("{PREFIX}{name}"), "x")]).is_err(), "{name}");
        }
    }

    #[test]
    fn a_level_that_is_none_is_refused() {
        for text in ["info", "DEBUG", "off", "warn,hyper=debug", "log=trace", "info,hyper=off"] {
            assert!(filter_of(text).is_ok(), "{text}");
        }
        for text in ["debgu", "", "info,", "hyper=lots", "everything"] {
            assert!(filter_of(text).unwrap_err().contains("expected one of off, error"), "{text}");
        }
    }
}
