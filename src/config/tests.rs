//! The whole way, from a command line to a configuration.

use super::*;
use crate::cli::CommandLine;
use clap::{CommandFactory, Parser};
use std::path::Path;

fn resolve(flags: &[&str]) -> Result<Config, String> {
    let line = CommandLine::try_parse_from([&["metricstream"], flags].concat()).map_err(|error| error.to_string())?;
    line.resolve().map_err(|error| error.to_string())
}

fn with_file(text: &str, flags: &[&str]) -> Result<Config, String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    resolve(&[flags, &["--config", file.path().to_str().unwrap()]].concat())
}

#[test]
fn defaults_are_those_of_the_manual() {
    let config = resolve(&[]).unwrap();
    assert_eq!(config.listen, ["127.0.0.1:8080".parse().unwrap()]);
    assert_eq!(config.unix_mode, 0o660);
    assert_eq!(config.data_dir, Path::new("data"));
    assert_eq!(config.ack, AckLevel::Write);
    assert_eq!(config.rate_limit, Some(10_000));
    assert_eq!(config.body_bytes_limit, 4 << 20);
    assert_eq!(config.timeouts.idle_ms, 75_000);
    assert_eq!(config.stats_interval, Some(Duration::from_secs(10)));
}

#[test]
fn idle_timeout_outlasts_a_load_balancer() {
    const BALANCER_MS: u64 = 60_000;
    assert!(resolve(&[]).unwrap().timeouts.idle_ms > BALANCER_MS);
    let help = helps().into_iter().find(|(name, _)| name == "--idle-timeout").unwrap().1;
    assert!(help.contains("load balancer"), "the reason is said: {help}");
}

#[test]
fn the_word_serve_changes_nothing() {
    let config = resolve(&["serve", "--rate-limit", "0", "--stats-interval", "0s"]).unwrap();
    assert_eq!(config.rate_limit, None);
    assert_eq!(config.stats_interval, None);
}

#[test]
fn rotation_is_as_configured() {
    let default = resolve(&[]).unwrap().rotation;
    assert_eq!((default.rotate_bytes, default.rotate_age), (Some(1 << 30), None));
    assert_eq!((default.retain_bytes, default.retain_age, default.compress), (None, None, Compression::Off));
    let rotation = with_file(
        "rotate_size = \"0\"\nrotate_age = \"24h\"\nretain_age = \"720h\"\ncompress = \"zstd\"",
        &["--retain-size", "10GiB"],
    );
    let day = Duration::from_secs(86_400);
    let expected = Rotation {
        rotate_bytes: None,
        rotate_age: Some(day),
        compress: Compression::Zstd,
        retain_bytes: Some(10 << 30),
        retain_age: Some(30 * day),
        forward_hold_bytes: 10 << 30,
    };
    assert_eq!(rotation.unwrap().rotation, expected);
    let refusal = resolve(&["--rotate-size", "0", "--retain-size", "1GiB"]).unwrap_err();
    assert!(refusal.contains("nothing would seal one"), "{refusal}");
}

#[test]
fn flags_win_over_the_file() {
    let config = with_file(
        "rate_limit = 7\nmax_body = \"1MiB\"\nwriter_core = 0\nack = \"memory\"\nlog_format = \"json\"",
        &["--rate-limit", "8"],
    )
    .unwrap();
    assert_eq!((config.rate_limit, config.body_bytes_limit, config.ack), (Some(8), 1 << 20, AckLevel::Memory));
    assert_eq!((config.placement.writer_core, config.log_format), (0, LogFormat::Json));
}

#[test]
fn a_bad_file_is_one_line_that_names_the_place() {
    for (text, part) in [
        ("listen = \"127.0.0.1:1\"\nspeed = 3", "line 2: unknown field `speed`"),
        ("max_body = \"4 apples\"", "line 1: "),
        ("rate_limit = [", "line 1: "),
        ("driver = \"kqueue\"", "line 1: unknown variant `kqueue`"),
    ] {
        let error = with_file(text, &[]).unwrap_err();
        assert!(error.contains(part) && !error.contains('\n'), "{error}");
    }
    assert!(resolve(&["--config", "/nonexistent.toml"]).unwrap_err().starts_with("cannot read the configuration file"));
}

#[test]
fn impossible_values_are_refused_by_name() {
    for (flags, part) in [
        (["--max-body", "0"], "--max-body must be"),
        (["--max-body", "65GiB"], "--max-body must be"),
        (["--ring-size", "3MiB"], "--ring-size must be a power of two"),
        (["--ring-size", "4096"], "--ring-size must be at least"),
        (["--max-batch", "0"], "--max-batch must be from 1"),
        (["--idle-timeout", "0s"], "--idle-timeout must be from 1ms"),
        (["--cores", "900"], "core 900"),
        (["--reactors", "0"], "--reactors must be"),
        (["--max-connections", "0"], "--max-connections must be"),
        (["--rotate-size", "1"], "--rotate-size must be at least"),
        (["--rotate-age", "1ms"], "--rotate-age must be at least"),
        (["--retain-age", "1ms"], "--retain-age must be at least"),
        (["--retain-size", "1"], "--retain-size must be at least"),
        (["--query-threads", "1000"], "--query-threads must be at most"),
        (["--query-cores", "900"], "--query-cores: core 900"),
        (["--query-timeout", "0s"], "--query-timeout must be from 1ms"),
        (["--compress", "gzip"], "expected off or zstd"),
        (["--ack", "disk"], "invalid value 'disk' for '--ack"),
        (["--log-format", "xml"], "expected text or json"),
        (["--ui", "yes"], "expected on or off"),
        (["--position-header", "1"], "expected on or off"),
        (["--stats-auth", "keys"], "--stats-auth keys requires --api-keys"),
        (["--stats-auth", "some"], "expected open or keys"),
        (["--driver", "kqueue"], "expected auto, io_uring or epoll"),
        (["--listen", "8080"], "invalid value '8080' for '--listen"),
    ] {
        let error = resolve(&flags).unwrap_err();
        assert!(error.contains(part), "{flags:?}: {error}");
    }
}

#[test]
fn proxies_and_the_way_they_name_clients_must_fit_together() {
    let config = with_file(
        "trusted_proxies = [\"10.0.0.0/8\", \"unix\"]\n\
         forwarded_header = \"forwarded\"\n\
         proxy_listen = \"127.0.0.1:81,[::1]:81\"",
        &["--admin-listen", "127.0.0.1:9090", "--admin-listen", "unix:/run/admin"],
    )
    .unwrap();
    assert!(config.listen.is_empty(), "the default gives way to the place for proxies");
    assert_eq!((config.proxy_listen.len(), config.admin_listen.len()), (2, 2));
    assert_eq!(config.forwarded_header, ForwardedHeader::Forwarded);
    let both = ["--trusted-proxies", "::1", "--proxy-listen", "*:81", "--forwarded-header", "off"];
    assert_eq!(resolve(&both).unwrap().forwarded_header, ForwardedHeader::Off);
    let many = vec!["10.0.0.1"; 257].join(",");
    for (flags, part) in [
        (&["--proxy-listen", "*:81"][..], "none are set"),
        (&["--forwarded-header", "forwarded"], "none are set"),
        (&["--trusted-proxies", "10.0.0.0/8", "--forwarded-header", "off"], "cannot name a client"),
        (&["--trusted-proxies", "10.0.0.1/8"], "use 10.0.0.0/8"),
        (&["--trusted-proxies", "10.0.0.0/8,0.0.0.0/0"], "impersonate any other"),
        (&["--trusted-proxies", &many], "at most 256"),
        (&["--trusted-proxies", "::1", "--forwarded-header", "via"], "expected auto"),
    ] {
        let refusal = resolve(flags).unwrap_err();
        assert!(refusal.contains(part), "{flags:?}: {refusal}");
    }
    for file in ["listen = []", "admin_listen = []", "proxy_listen = []"] {
        assert!(with_file(file, &[]).unwrap_err().contains("has no address to listen on"), "{file}");
    }
    assert!(
        with_file("listen = \"127.0.0.1:1\"\ntrusted_proxies = [\"x\"]", &[]).unwrap_err().contains("line 2: expected")
    );
}

/// The flags that `serve` takes, each with what its help says.
fn helps() -> Vec<(String, String)> {
    let line = CommandLine::command();
    let serve = line.find_subcommand("serve").unwrap();
    let options = serve.get_arguments().filter(|option| option.get_id() != "config" && option.get_id() != "help");
    let described = options.map(|option| {
        let name = option.get_long().unwrap();
        let variable = format!("METRICSTREAM_{}", name.to_uppercase().replace('-', "_"));
        assert_eq!(option.get_env().unwrap().to_str(), Some(variable.as_str()));
        assert!(option.get_help_heading().is_some(), "--{name} stands under no heading");
        let short = option.get_help().unwrap().to_string();
        assert!(short.contains("[default: "), "--{name}: {short}");
        (format!("--{name}"), option.get_long_help().unwrap_or_else(|| panic!("--{name} is not explained")).to_string())
    });
    described.collect()
}

/// The text between `before` and the first of `after`.
fn between<'a>(text: &'a str, before: &str, after: &[char]) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    Some(&rest[..rest.find(after).unwrap_or(rest.len())])
}

#[test]
fn help_says_the_defaults_that_are() {
    let default = format!("{:?}", resolve(&[]).unwrap());
    for (flag, help) in helps() {
        let said = between(&help, "[default: ", &[',', ']']).unwrap();
        // `none` cannot be typed, nor can what depends on others.
        let depends = ["--max-connections", "--writer-poll"].contains(&flag.as_str());
        if said == "none" || said.contains(' ') || depends {
            continue;
        }
        assert_eq!(format!("{:?}", resolve(&[&flag, said]).unwrap()), default, "{flag} {said}");
    }
}

#[test]
fn help_says_the_bounds_that_are() {
    let mut tried = 0;
    for (flag, help) in helps() {
        let Some(bounds) = between(&help, "\nFrom ", &[';', ',']).and_then(|rest| rest.split(". ").next()) else {
            continue;
        };
        let bounds = bounds.trim_end_matches('.').replace('\n', " ");
        // Only sizes and ages have no upper bound, and none of them may be used alone.
        let Some((least, most)) = bounds.split_once(" to ") else {
            assert!(
                ["--rotate-size", "--rotate-age", "--retain-size", "--retain-age"].contains(&flag.as_str()),
                "{flag}"
            );
            assert!(resolve(&[&flag, &bounds]).is_ok(), "{flag} {bounds}");
            continue;
        };
        for bound in [least, most] {
            assert!(resolve(&[&flag, bound]).is_ok(), "{flag} {bound}: {:?}", resolve(&[&flag, bound]));
        }
        let unit = most.trim_start_matches(|character: char| character.is_ascii_digit());
        let beyond = format!("{}{unit}", most.trim_end_matches(unit).parse::<u64>().unwrap() + 1);
        assert!(resolve(&[&flag, &beyond]).unwrap_err().contains(&flag), "{flag} {beyond}");
        tried += 1;
    }
    assert!(tried >= 12, "{tried}");
}

#[test]
fn every_command_has_a_page() {
    let printed = |words: &[&str]| {
        let line = CommandLine::try_parse_from([&["metricstream"], words].concat()).unwrap();
        line.print().map(|page| String::from_utf8(page.unwrap()).unwrap())
    };
    let whole = printed(&["man"]).unwrap();
    for part in
        [".SH NAME", ".SH \"ROTATION AND RETENTION\"", ".SH SIGNALS", ".SH \"EXIT CODES\"", "METRICSTREAM_DATA_DIR"]
    {
        assert!(whole.contains(part), "{part}: {whole}");
    }
    for command in CommandLine::command().get_subcommands() {
        let page = printed(&["man", command.get_name()]).unwrap();
        assert!(page.contains(&format!(".TH metricstream-{} 1", command.get_name())), "{page}");
    }
    assert_eq!(printed(&["man", "nothing"]).unwrap_err().to_string(), "unknown command nothing");
    for shell in ["bash", "zsh", "fish"] {
        assert!(printed(&["completions", shell]).unwrap().contains("data-dir"), "{shell}");
    }
}
