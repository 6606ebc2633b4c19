//! Sums, extremes and counts of numbers against integers of any length: the sum of floats is exact and rounded once.
//! The input has a number in a line, and decides which of these is looked at.
#![no_main]

use fuzz::{ARRIVAL_MS, Choices, directory};
use libfuzzer_sys::fuzz_target;
use metric::Line;
use num_bigint::{BigInt, Sign};
use query::{Bounds, ExecLimits, Kind, Request, Value, run, scan::Source};
use std::{
    cmp::Ordering,
    fs,
    sync::{
        LazyLock,
        atomic::{AtomicBool, AtomicU64},
    },
    time::{Duration, Instant},
};
use tempfile::TempDir;

static LOG: LazyLock<TempDir> = LazyLock::new(directory);
/// Numbers are integers times two to the power of minus this.
const POWER: u32 = 1_074;

fuzz_target!(|data: &[u8]| {
    let line = |digits: &[u8]| {
        let (head, tail) = (
            &b"{\"timestamp\":\"2026-01-02T03:04:05.678Z\",\"name\":\"m\",\"value\":"[..],
            b",\"type\":\"gauge\",\"tags\":{}}\n",
        );
        [head, digits, tail].concat()
    };
    let is_number = |digits: &&[u8]| !digits.starts_with(b"\"") && Line::parse(line(digits).trim_ascii_end()).is_ok();
    let numbers: Vec<&str> = data
        .split(|&byte| byte == b'\n')
        .filter(is_number)
        .filter_map(|digits| std::str::from_utf8(digits).ok())
        .collect();
    if numbers.is_empty() {
        return;
    }
    let lines: Vec<u8> = numbers.iter().flat_map(|digits| line(digits.as_bytes())).collect();
    fs::write(LOG.path().join("metrics.jsonl"), lines).expect("memory for a log");
    let exact: Vec<BigInt> = numbers.iter().map(|digits| exact(digits)).collect();
    // One aggregate an input: each reads the log.
    match Choices::of(data).below(6) {
        0 => check_extreme(&numbers, "min", exact.iter().min()),
        1 => check_extreme(&numbers, "max", exact.iter().max()),
        2 => {
            let Value::Integer(count) = value("count") else { panic!("a count is an integer") };
            assert_eq!(count, numbers.len() as i128);
        }
        _ => check_sum(&numbers, &exact),
    }
});

fn check_sum(numbers: &[&str], exact: &[BigInt]) {
    let sum: BigInt = exact.iter().sum();
    let are_integers = numbers.iter().all(|digits| *digits != "-0" && digits.parse::<i64>().is_ok());
    match value("sum") {
        Value::Integer(integer) => assert!(are_integers && BigInt::from(integer) << POWER == sum, "{integer}"),
        Value::Float(float) => {
            assert!(!are_integers && same(float, rounded(&sum)), "{float:?}, not {:?}", rounded(&sum))
        }
        Value::Digits(digits) => panic!("{digits:?}"),
    }
}

fn check_extreme(numbers: &[&str], agg: &str, wanted: Option<&BigInt>) {
    let Value::Digits(digits) = value(agg) else { panic!("{agg} is one of the values") };
    let digits = std::str::from_utf8(digits.as_bytes()).expect("digits");
    assert!(numbers.contains(&digits), "{agg}");
    // Integers beyond 64 bits are floats, as is all else.
    assert_eq!(wanted.map(|wanted| wanted.cmp(&exact(digits))), Some(Ordering::Equal), "{agg}: {digits}");
}

fn value(agg: &str) -> Value {
    let request = Request::parse(Kind::Query, &format!("name=m&from=0&agg={agg}"), ARRIVAL_MS).expect("parameters");
    let deadline = Instant::now() + Duration::from_secs(5);
    let (cancel, scanned_bytes) = (AtomicBool::new(false), AtomicU64::new(0));
    let limits = ExecLimits { threads: 1, deadline, cancel: &cancel, scanned_bytes: &scanned_bytes };
    let result = run(&request, &Source::directory(LOG.path()), Bounds::default(), &limits).expect("a result");
    result.series[0].points[0].value.clone()
}

/// The number that is meant: an integer of 64 bits, or the nearest float.
fn exact(digits: &str) -> BigInt {
    match digits.parse::<i64>() {
        Ok(integer) if digits != "-0" => BigInt::from(integer) << POWER,
        _ => {
            let bits = digits.parse::<f64>().expect("a number").to_bits();
            let (exponent, fraction) = (bits >> 52 & 0x7ff, bits & ((1 << 52) - 1));
            let magnitude = match exponent {
                0 => BigInt::from(fraction),
                exponent => BigInt::from(fraction | 1 << 52) << (exponent - 1),
            };
            if bits >> 63 == 1 { -magnitude } else { magnitude }
        }
    }
}

/// The nearest float, ties to even.
fn rounded(number: &BigInt) -> f64 {
    let magnitude = number.magnitude();
    let bits = magnitude.bits();
    let shift = bits.saturating_sub(53);
    let kept = magnitude >> shift;
    let rest = magnitude - (&kept << shift);
    let half = num_bigint::BigUint::from(1_u8) << shift.max(1) >> 1_u8;
    let kept = u64::try_from(&kept).expect("53 bits");
    let is_up = shift > 0 && (rest > half || (rest == half && kept % 2 == 1));
    // In the bits of a float a carry out of the fraction goes on into the exponent.
    let bits = match shift {
        0 if kept < 1 << 52 => kept,
        shift => ((shift + 1).min(0x7ff) << 52 | kept & ((1 << 52) - 1)) + u64::from(is_up),
    };
    let float = if bits >= 0x7ff << 52 { f64::INFINITY } else { f64::from_bits(bits) };
    if number.sign() == Sign::Minus { -float } else { float }
}

/// One zero is as good as the other.
fn same(one: f64, other: f64) -> bool {
    one.to_bits() == other.to_bits() || (one == 0.0 && other == 0.0)
}
