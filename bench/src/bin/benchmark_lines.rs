//! Benchmark of reading the log's lines back, in GB/s on one thread.
//!
//! `benchmark_lines [ROUNDS]` prints for each way of reading the median over the rounds, the lowest and the highest.
//! The lines are those of real scrapes, 64 MiB of them; ways take turns within a round, so that a noisy machine is
//! noisy for all.
//!
//! - `Lines`: the product's, every line checked in full.
//! - `Lines, other minutes`: the same where each line is of another minute than the one before, the worst case of its
//!   cache.
//! - `Line::parse`: one line at a time, as a caller with single lines does it.
//! - `from_utf8`, `line feeds`: what looking at each byte costs at all: the standard library's check, and memchr.

use clap::Parser;
use metric::{BatchEncoder, Bounds, Line, Lines};
use metricstream::limits::MIB;
use metricstream_bench::output;
use std::{hint::black_box, process::ExitCode, time::Instant};

const NODE_EXPORTER: &str = include_str!("../../data/node_exporter.ndjson");
const LOG_BYTES: usize = 64 * MIB;

/// A log of the scrapes, over and over; with timestamps two minutes apart if `apart`.
fn log(apart: bool) -> Vec<u8> {
    let mut encoder = BatchEncoder::new(Bounds::default());
    let mut log = Vec::new();
    for body in NODE_EXPORTER.lines() {
        let mut lines = vec![0; encoder.encoded_bytes_max(body.len())];
        let encoded = encoder.encode(body.as_bytes(), 0, &mut lines).expect("the scrapes are batches");
        log.extend_from_slice(&lines[..encoded.bytes]);
    }
    if apart {
        let mut minute = 0;
        for line in log.split_mut(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            // {"timestamp":"2026-01-02T03:04
            line[28..30].copy_from_slice(format!("{minute:02}").as_bytes());
            minute = (minute + 2) % 60;
        }
    }
    log.repeat(LOG_BYTES / log.len())
}

fn read_all(log: &[u8]) -> usize {
    Lines::new(log).map(|line| black_box(line.expect("a line of the log")).name.len()).sum()
}

/// Gigabytes a second of the readers of the log's lines, on one thread, beside the cheapest passes over the same bytes.
#[derive(Debug, Parser)]
#[command(name = "benchmark_lines", version)]
struct Arguments {
    /// Rounds, interleaved; each figure is their median.
    #[arg(default_value_t = 9, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    rounds: u16,
}

fn main() -> ExitCode {
    let rounds = Arguments::parse().rounds;
    let (log, apart) = (log(false), log(true));
    let ways: [(&str, &dyn Fn() -> usize); 5] = [
        ("Lines", &|| read_all(&log)),
        ("Lines, other minutes", &|| read_all(&apart)),
        ("Line::parse", &|| {
            let mut rest = log.as_slice();
            let mut sum = 0;
            while let Some(end) = memchr::memchr(b'\n', rest) {
                sum += black_box(Line::parse(&rest[..end]).expect("a line of the log")).name.len();
                rest = &rest[end + 1..];
            }
            sum
        }),
        ("from_utf8", &|| std::str::from_utf8(&log).expect("UTF-8").len()),
        ("line feeds", &|| memchr::memchr_iter(b'\n', &log).count()),
    ];
    let mut rates = ways.map(|_| Vec::new());
    for _ in 0..rounds {
        for ((_, read), rates) in ways.iter().zip(&mut rates) {
            let start = Instant::now();
            black_box(read());
            rates.push(log.len() as f64 / start.elapsed().as_secs_f64() / 1e9);
        }
    }
    let lines = memchr::memchr_iter(b'\n', &log).count();
    metricstream_bench::say!("{} bytes, {lines} lines of {} bytes on average, GB/s:", log.len(), log.len() / lines);
    for ((name, _), rates) in ways.iter().zip(&mut rates) {
        rates.sort_by(f64::total_cmp);
        metricstream_bench::say!(
            "{name:22} {:6.2}  ({:.2} to {:.2})",
            rates[rates.len() / 2],
            rates[0],
            rates[rates.len() - 1]
        );
    }
    output::finish(ExitCode::SUCCESS)
}
