//! Command line of a load on two servers in turns.

use super::{super::turns, Arguments, Rounds, Turns, is_comparison, settle};
use crate::load::values::Against;
use clap::error::ErrorKind;

/// The load of `typed` and, on the server of `--against`, that of `other`: the same command line, once more.
pub(super) fn turns(typed: Arguments, mut other: Arguments) -> Result<Turns, (ErrorKind, String)> {
    let conflict = |message: &str| Err((ErrorKind::ArgumentConflict, message.to_owned()));
    is_comparison(&typed)?;
    match &typed.against {
        Some(Against::Port(port)) if typed.port.is_some() => other.port = Some(*port),
        Some(Against::Url(target)) if typed.url.len() == 1 => other.url = vec![(**target).clone()],
        _ => return conflict("--against has a port beside PORT, and a URL beside one --url"),
    }
    let Some(duration) = typed.duration else {
        return conflict("--against needs --duration: the time that each of the two servers is measured for");
    };
    let pairs = (duration.as_nanos() / turns::SLICE.as_nanos()).max(1);
    let pairs = u32::try_from(pairs).unwrap_or(u32::MAX);
    let rounds = Rounds::read(&typed.round).map_err(|message| (ErrorKind::ValueValidation, message))?;
    let mut plans = [settle(typed)?, settle(other)?];
    for plan in &mut plans {
        plan.duration = Some(turns::SLICE);
        if plan.warmup.is_zero() {
            plan.warmup = turns::SLICE_WARMUP;
        }
    }
    Ok(Turns { plans, pairs, rounds })
}

#[cfg(test)]
mod tests {
    use super::{super::invocation, *};
    use crate::{drivers::Chosen, load::Invocation};

    fn typed(line: &str) -> Result<Turns, String> {
        match invocation(["load_test"].into_iter().chain(line.split_whitespace())) {
            Ok(Invocation::Turns(turns)) => Ok(*turns),
            Ok(other) => panic!("{line}: {other:?}"),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn two_servers_in_turns_have_plans_of_one_slice() {
        for (line, servers) in [
            ("7001 --against 7002 -c 8 -d 5s", ["127.0.0.1:7001", "127.0.0.1:7002"]),
            ("--url http://127.0.0.1:1/a --against http://127.0.0.2:2/a -c 8 -d 5s", ["127.0.0.1:1", "127.0.0.2:2"]),
        ] {
            let turns = typed(line).unwrap();
            assert_eq!(
                (turns.plans.each_ref().map(|plan| plan.server.to_string()), turns.pairs),
                (servers.map(str::to_owned), 20)
            );
            for plan in &turns.plans {
                assert_eq!((plan.duration, plan.warmup), (Some(turns::SLICE), turns::SLICE_WARMUP));
            }
            assert_eq!(turns.check(Chosen::Epoll), Ok(()));
        }
        let paths = typed("--url http://127.0.0.1:1/a --against http://127.0.0.1:1/b -c 8 -d 5s").unwrap();
        assert!(paths.check(Chosen::Epoll).unwrap_err().contains("path"));
    }

    #[test]
    fn two_servers_in_turns_are_refused_what_they_cannot_do() {
        for (line, says) in [
            ("7001 --against 7002 -c 8", "--duration"),
            ("7001 --against http://127.0.0.1:2/ -c 8 -d 5s", "beside"),
            ("--url http://127.0.0.1:1/ --against 7002 -c 8 -d 5s", "beside"),
            ("7001 --against ftp://h/ -c 8 -d 5s", "http://"),
            ("7001 --against 7002 -c 8 -d 5s --format csv", "text or json"),
            ("7001 --against 7002 -c 8 -d 5s --fail-if p99>5ms", "about a single load"),
            ("7001 --against 7002 -c 8 -d 5s --log x", "cannot be used with"),
            ("7001 --against 7002 -c 8 -d 5s --round /nonexistent", "/nonexistent"),
            ("7001 -c 8 -d 5s --round x", "--against"),
        ] {
            let refused = typed(line).map(|_| ()).unwrap_err();
            assert!(refused.contains(says), "{line}: {refused}");
        }
    }
}
