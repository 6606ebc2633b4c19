//! The servers: how each is started, where it takes metrics, and in what form.

use super::{client::WRK_SCRIPT, options::Programs, process};
use crate::{body, load::Protocol};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fmt::Write,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

/// Role of a subject in the comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The denominator: a server that does nothing with a request.
    Floor,
    /// This server as it is started by default.
    Server,
    /// This server at another level of acknowledgement.
    Level,
    /// Somebody else's.
    Peer,
}

/// Which program it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Floor { driver: &'static str },
    MetricStream { driver: &'static str, ack: &'static str },
    Nginx,
    VictoriaMetrics,
    Influx,
}

/// A server, as it is started.
#[derive(Debug, PartialEq, Eq)]
pub struct Subject {
    /// As in a table and on the command line.
    pub name: &'static str,
    /// Role in the comparison.
    pub role: Role,
    /// Name of the floor it is compared with: that of the same driver. The peers use epoll.
    pub floor: &'static str,
    kind: Kind,
}

const IO_URING: &str = "floor-io_uring";
const EPOLL: &str = "floor-epoll";

/// The subject that others are also compared with.
pub const NGINX: &str = "nginx";

/// This server at each level of acknowledgement, on the same driver.
pub const LEVELS: [(&str, &str); 3] =
    [("memory", "metricstream-memory"), ("write", "metricstream-io_uring"), ("fsync", "metricstream-fsync")];

/// All of them, in the order of a round.
pub static SUBJECTS: [Subject; 9] = [
    Subject { name: IO_URING, role: Role::Floor, floor: IO_URING, kind: Kind::Floor { driver: "io_uring" } },
    Subject {
        name: "metricstream-io_uring",
        role: Role::Server,
        floor: IO_URING,
        kind: Kind::MetricStream { driver: "io_uring", ack: "write" },
    },
    Subject { name: EPOLL, role: Role::Floor, floor: EPOLL, kind: Kind::Floor { driver: "epoll" } },
    Subject {
        name: "metricstream-epoll",
        role: Role::Server,
        floor: EPOLL,
        kind: Kind::MetricStream { driver: "epoll", ack: "write" },
    },
    Subject {
        name: "metricstream-memory",
        role: Role::Level,
        floor: IO_URING,
        kind: Kind::MetricStream { driver: "io_uring", ack: "memory" },
    },
    Subject {
        name: "metricstream-fsync",
        role: Role::Level,
        floor: IO_URING,
        kind: Kind::MetricStream { driver: "io_uring", ack: "fsync" },
    },
    Subject { name: NGINX, role: Role::Peer, floor: EPOLL, kind: Kind::Nginx },
    Subject { name: "victoriametrics", role: Role::Peer, floor: EPOLL, kind: Kind::VictoriaMetrics },
    Subject { name: "influxdb", role: Role::Peer, floor: EPOLL, kind: Kind::Influx },
];

impl Subject {
    /// Returns the path of its program.
    ///
    /// # Errors
    /// The program is missing; the text says how to install it.
    pub fn program<'a>(&self, programs: &'a Programs) -> Result<&'a Path, &'static str> {
        let (path, missing) = match self.kind {
            Kind::Floor { .. } => (&programs.floor, "floor is not built"),
            Kind::MetricStream { .. } => (&programs.metricstream, "metricstream is not built"),
            Kind::Nginx => (&programs.nginx, "nginx is not installed"),
            Kind::VictoriaMetrics => (&programs.victoria_metrics, "victoria-metrics is not installed"),
            Kind::Influx => (&programs.influxd, "influxdb is not installed"),
        };
        path.as_deref().ok_or(missing)
    }

    /// Returns true if its responses wait for the disk.
    #[must_use]
    pub fn waits_for_disk(&self) -> bool {
        matches!(self.kind, Kind::MetricStream { ack: "fsync", .. })
    }

    /// Returns true if it accepts the bodies of `protocol`, at the path of the protocol; `None` are batches in a format
    /// of its own.
    #[must_use]
    pub fn takes(&self, protocol: Option<Protocol>) -> bool {
        match self.kind {
            Kind::Floor { .. } | Kind::MetricStream { .. } => true,
            Kind::Nginx => protocol.is_none(),
            Kind::VictoriaMetrics => matches!(protocol, None | Some(Protocol::RemoteWrite | Protocol::Influx)),
            Kind::Influx => protocol == Some(Protocol::Influx),
        }
    }

    /// A request to be made before the load: InfluxDB has no database at first.
    #[must_use]
    pub fn first_request(&self) -> Option<&'static str> {
        (self.kind == Kind::Influx).then_some("POST /query?q=CREATE%20DATABASE%20load_test")
    }

    /// Returns the path at which it accepts metrics in its own format.
    #[must_use]
    pub fn path(&self) -> &'static str {
        if self.kind == Kind::VictoriaMetrics { "/api/v1/import" } else { "/metrics" }
    }

    /// Returns true if its metrics are JSON lines of VictoriaMetrics rather than this server's batches.
    #[must_use]
    pub fn takes_import_lines(&self) -> bool {
        self.kind == Kind::VictoriaMetrics
    }

    /// Returns the command that starts it on `cores`, listening on 127.0.0.1:`port`, with its files in `data`. It
    /// inherits nothing from the environment, so that nobody's variables change what is measured.
    ///
    /// # Errors
    /// Its program is missing, or its configuration cannot be written.
    pub fn command(&self, programs: &Programs, cores: &[usize], port: u16, data: &Path) -> io::Result<Command> {
        let program = self.program(programs).map_err(io::Error::other)?;
        let mut command = process::pinned(cores, program);
        let listen = format!("127.0.0.1:{port}");
        match self.kind {
            Kind::Floor { driver } => {
                command.args(["--listen", &listen, "--driver", driver]);
            }
            Kind::MetricStream { driver, ack } => {
                command.args(["--listen", &listen, "--driver", driver, "--ack", ack, "--rate-limit", "0"]);
                command.arg("--data-dir").arg(data.join("log"));
            }
            Kind::Nginx => {
                let configuration = data.join("nginx.conf");
                fs::write(&configuration, nginx_configuration(port, cores.len()))?;
                command.arg("-p").arg(data).arg("-c").arg(configuration).args(["-e", "error.log"]);
            }
            Kind::VictoriaMetrics => {
                let mut storage = std::ffi::OsString::from("-storageDataPath=");
                storage.push(data.join("storage"));
                command.arg(format!("-httpListenAddr={listen}")).arg(storage).arg("-loggerLevel=ERROR");
            }
            Kind::Influx => {
                let configuration = data.join("influxdb.conf");
                fs::write(&configuration, influx_configuration(&listen, process::free_port()?, data))?;
                command.arg("-config").arg(configuration);
            }
        }
        Ok(command)
    }
}

/// A constant response of the floor's 40 bytes, with a worker a core and nothing logged. `return` reads the body and
/// drops it.
fn nginx_configuration(port: u16, workers: usize) -> String {
    format!(
        r#"worker_processes {workers};
daemon off;
pid nginx.pid;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    client_max_body_size 8m;
    keepalive_requests 1000000000;
    default_type application/json;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location = /metrics {{ return 200 '{{"success": true, "metrics_processed":3}}'; }}
    }}
}}
"#
    )
}

/// The defaults, but that it reports to nobody, logs no requests and stores no statistics of its own.
fn influx_configuration(listen: &str, rpc_port: u16, data: &Path) -> String {
    let data = data.display();
    format!(
        r#"reporting-disabled = true
bind-address = "127.0.0.1:{rpc_port}"
[meta]
dir = "{data}/meta"
[data]
dir = "{data}/data"
wal-dir = "{data}/wal"
[monitor]
store-enabled = false
[http]
bind-address = "{listen}"
log-enabled = false
"#
    )
}

/// Files of bodies, for the clients that cannot make up what a subject takes.
#[derive(Debug)]
pub struct Bodies {
    directory: PathBuf,
}

/// The seed of load_test's batches, so that every client and subject gets the same metrics.
const SEED: u64 = 1;

impl Bodies {
    /// Writes wrk's script, and one body of each form for each size of batch.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn write(directory: &Path, batches: impl IntoIterator<Item = u32>) -> io::Result<Self> {
        let bodies = Self { directory: directory.to_owned() };
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).map_err(io::Error::other)?;
        let now_ms = i64::try_from(since_epoch.as_millis()).map_err(io::Error::other)?;
        fs::write(bodies.wrk_script(), WRK_SCRIPT)?;
        for batch in BTreeSet::from_iter(batches) {
            for body in body::generate(SEED, 1, batch) {
                fs::write(bodies.file(batch, false), &body.json)?;
                fs::write(bodies.file(batch, true), import_lines(&body.json, now_ms)?)?;
            }
        }
        Ok(bodies)
    }

    /// The file of wrk's script.
    #[must_use]
    pub fn wrk_script(&self) -> PathBuf {
        self.directory.join("wrk.lua")
    }

    /// The file of a body of `batch` metrics.
    #[must_use]
    pub fn file(&self, batch: u32, import_lines: bool) -> PathBuf {
        self.directory.join(format!("{batch}.{}", if import_lines { "import" } else { "json" }))
    }
}

/// A batch as VictoriaMetrics' /api/v1/import takes it: a line for each sample. The type has no place there.
fn import_lines(batch: &str, now_ms: i64) -> io::Result<String> {
    let batch: Value = serde_json::from_str(batch)?;
    let mut lines = String::new();
    for metric in batch["metrics"].as_array().into_iter().flatten() {
        let mut labels = json!({"__name__": metric["name"]});
        for (key, value) in metric["tags"].as_object().into_iter().flatten() {
            labels[key] = value.clone();
        }
        let line = json!({"metric": labels, "values": [metric["value"]], "timestamps": [now_ms]});
        // Writing into a String cannot fail.
        let _ = writeln!(lines, "{line}");
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_floors_exist() {
        let names: BTreeSet<_> = SUBJECTS.iter().map(|subject| subject.name).collect();
        assert_eq!(names.len(), SUBJECTS.len());
        assert!(names.contains(NGINX));
        for subject in &SUBJECTS {
            assert!(SUBJECTS.iter().any(|other| other.name == subject.floor && other.role == Role::Floor));
        }
    }

    #[test]
    fn the_same_samples_in_the_form_of_victoriametrics() {
        let batch = r#"{"metrics":[{"name":"cpu","value":75.5,"type":"gauge","tags":{"host":"a","zone":"b"}},
            {"name":"n","value":4823947234}]}"#;
        let expected = concat!(
            r#"{"metric":{"__name__":"cpu","host":"a","zone":"b"},"values":[75.5],"timestamps":[7]}"#,
            "\n",
            r#"{"metric":{"__name__":"n"},"values":[4823947234],"timestamps":[7]}"#,
            "\n"
        );
        assert_eq!(import_lines(batch, 7).unwrap(), expected);
    }

    #[test]
    fn every_body_fits_into_an_argument() {
        let own = super::super::scenario::SCENARIOS.iter().filter(|scenario| scenario.protocol.is_none());
        for batch in own.map(|scenario| scenario.batch) {
            for body in body::generate(SEED, 1, batch) {
                // MAX_ARG_STRLEN: 32 pages (execve(2), Linux 2.6.23).
                assert!(import_lines(&body.json, 1_767_323_045_678).unwrap().len() < 32 * 4096, "{batch}");
            }
        }
    }

    #[test]
    fn nginx_sends_as_many_bytes_as_the_floor() {
        let configuration = nginx_configuration(8080, 1);
        let response = configuration.split('\'').nth(1).unwrap();
        assert_eq!(response.len(), 40);
        assert!(configuration.contains("listen 127.0.0.1:8080 "));
    }
}
