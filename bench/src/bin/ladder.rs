//! `ladder`: the stages side by side, one stage as a server, or one server under progressive load. See `--help`.

use clap::{Args, Parser, Subcommand};
use metricstream_bench::{
    ladder::{
        Settings, Stage,
        measure::{Bench, Server},
        progressive, side_by_side,
    },
    output,
};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::{
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// Seconds of each load, by default.
const SECONDS: f64 = 2.0;
/// Seconds of each load of a smoke run.
const SECONDS_SMOKE: f64 = 0.2;

/// The ladder: six servers around one service - sequential, a thread per request, a thread pool, epoll, epoll on every
/// core, io_uring on every core - each built to take away what held the one before it back.
///
/// Without --stage and without a command it starts each of them in turn, puts the same loads on it, and prints what
/// they came to as a table and as a picture. load_test has to stand beside this program.
#[derive(Debug, Parser)]
#[command(name = "ladder", version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    whole: Whole,
    #[command(flatten)]
    serve: Serve,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// More and more clients on one server: success, throughput, latency and CPU, as a table and as a picture.
    Progressive(Progressive),
}

#[derive(Debug, Args)]
struct Whole {
    /// Concurrent clients.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    clients: u32,
    /// Rounds, interleaved; each figure is the median of them.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
    /// File that the picture is written to.
    #[arg(long, value_name = "FILE.svg", default_value = "perf/out/ladder.svg")]
    plot: PathBuf,
    #[command(flatten)]
    how: How,
}

/// Options of every measurement.
#[derive(Debug, Args)]
struct How {
    /// Length of each load in seconds [default: 2].
    #[arg(long, value_parser = seconds)]
    seconds: Option<f64>,
    /// One quick pass, to see that everything works; its figures mean nothing.
    #[arg(long)]
    smoke: bool,
    /// Cores of the server, as 0,2 or 0-3 [default: the first half of them].
    #[arg(long, value_name = "LIST")]
    server_cores: Option<String>,
    /// Cores of the load [default: the second half of them].
    #[arg(long, value_name = "LIST")]
    client_cores: Option<String>,
}

#[derive(Debug, Args)]
struct Serve {
    /// Serve as this stage, until SIGTERM or SIGINT.
    #[arg(long, value_enum)]
    stage: Option<Stage>,
    /// Address to listen on; port 0 takes a free one, which is printed on standard error.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8080", requires = "stage")]
    listen: SocketAddr,
    /// Directory of its log.
    #[arg(long, value_name = "DIR", default_value = "data", requires = "stage")]
    data_dir: PathBuf,
    /// Threads of the pool, or the most that a thread per request makes [default: 64, 1024].
    #[arg(long, value_name = "N", requires = "stage", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    threads: Option<u16>,
    /// Connections that wait for a thread of the pool; beyond it they are refused with 503.
    #[arg(long, value_name = "N", default_value_t = 128, requires = "stage", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    queue: u16,
    /// Milliseconds that it waits for a request, or for the rest of one.
    #[arg(long, value_name = "MS", default_value_t = 5_000, requires = "stage", value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    timeout_ms: u64,
}

#[derive(Debug, Args)]
struct Progressive {
    /// Load the product, as it is shipped (the default); metricstream has to stand beside this program.
    #[arg(long, conflicts_with = "stage")]
    server: bool,
    /// Load this stage of the ladder.
    #[arg(long, value_enum)]
    stage: Option<Stage>,
    /// Numbers of clients, with spaces or commas between [default: 10 20 50 100 150 200 500 1000].
    #[arg(long, value_name = "LIST", num_args = 1.., value_delimiter = ',')]
    clients: Vec<String>,
    /// A connection for each request.
    #[arg(long)]
    no_keepalive: bool,
    /// File that the picture is written to.
    #[arg(long, value_name = "FILE.svg", default_value = "perf/out/progressive.svg")]
    plot: PathBuf,
    /// File that the figures are written to.
    #[arg(long, value_name = "FILE.json", default_value = "perf/out/progressive.json")]
    json: PathBuf,
    #[command(flatten)]
    how: How,
}

fn main() -> ExitCode {
    let Arguments { command, whole, serve } = Arguments::parse();
    let outcome = match (command, serve.stage) {
        (Some(Command::Progressive(progressive)), _) => load_progressively(progressive),
        (None, Some(stage)) => stage.serve(&serve.into()).map(|()| true),
        (None, None) => compare(whole),
    };
    match outcome {
        Ok(true) => output::finish(ExitCode::SUCCESS),
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            metricstream_bench::complain!("ladder: {error}");
            ExitCode::FAILURE
        }
    }
}

impl From<Serve> for Settings {
    fn from(serve: Serve) -> Self {
        Self {
            listen: serve.listen,
            data_dir: serve.data_dir,
            timeout: Duration::from_millis(serve.timeout_ms),
            threads: serve.threads.map(usize::from),
            queue: usize::from(serve.queue),
        }
    }
}

impl How {
    fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.seconds.unwrap_or(if self.smoke { SECONDS_SMOKE } else { SECONDS }))
    }

    fn bench(&self) -> Result<Bench, String> {
        Bench::new(self.server_cores.clone(), self.client_cores.clone())
    }
}

fn compare(whole: Whole) -> Result<bool, String> {
    let plan = side_by_side::Plan {
        clients: whole.clients,
        duration: whole.how.duration(),
        rounds: if whole.how.smoke { 1 } else { usize::from(whole.rounds) },
        plot: whole.plot,
    };
    side_by_side::run(&whole.how.bench()?, &plan, goes_on()?).map(|()| true)
}

fn load_progressively(typed: Progressive) -> Result<bool, String> {
    let given = typed.clients.iter().flat_map(|list| list.split_whitespace());
    let mut clients = given.map(number_of_clients).collect::<Result<Vec<u32>, String>>()?;
    if clients.is_empty() {
        clients = if typed.how.smoke { vec![10, 50] } else { vec![10, 20, 50, 100, 150, 200, 500, 1000] };
    }
    clients.sort_unstable();
    let plan = progressive::Plan {
        server: typed.stage.map_or(Server::Metricstream, Server::Stage),
        clients,
        duration: typed.how.duration(),
        keep_alive: !typed.no_keepalive,
        plot: typed.plot,
        json: typed.json,
    };
    progressive::run(&typed.how.bench()?, &plan, goes_on()?)
}

/// Watches for SIGINT and SIGTERM, and returns a function that is true until one of them has come. The servers and the
/// load get the terminal's SIGINT too, and end by themselves.
fn goes_on() -> Result<impl Fn() -> bool, String> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))
            .map_err(|error| format!("cannot watch for signals: {error}"))?;
    }
    Ok(move || !stop.load(Ordering::Relaxed))
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.05..=600.0).contains(&seconds) => Ok(seconds),
        _ => Err("a number of seconds from 0.05 to 600".to_owned()),
    }
}

fn number_of_clients(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(clients) if (1..=65_535).contains(&clients) => Ok(clients),
        _ => Err(format!("'{text}' is not a number of clients from 1 to 65535")),
    }
}
