//! A big log, made straight through the product's encoder and segments: what a server would have written that was
//! scraped for a day, without the HTTP.

use log::segment::{ACTIVE_NAME, SegmentFile, SegmentName, compress, index};
use metric::{BatchEncoder, Bounds, Kind, LineSink, Lines, Reject, Series, Value};
use std::{
    collections::HashSet,
    fmt::Write as _,
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::Path,
    sync::atomic::AtomicBool,
};

const NODE_EXPORTER: &str = include_str!("../data/node_exporter.ndjson");
/// 2026-01-02T00:00:00.000Z
pub const START_MS: i64 = 1_767_312_000_000;
/// Between two samples of a series.
pub const STEP_MS: i64 = 10_000;
/// Series of one name.
pub const HOSTS: usize = 10;

/// Number of series, and of samples of each.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Names times [`HOSTS`].
    pub series: usize,
    /// One every [`STEP_MS`].
    pub samples: usize,
}

/// Files that a log consists of in its directory.
#[derive(Debug, Clone, Copy)]
pub enum LogLayout {
    /// All in the active segment.
    Active,
    /// In sealed segments of so many bytes with their sidecars.
    Sealed(u64),
    /// In those, compressed.
    Compressed(u64),
}

impl Shape {
    /// The names that occur: those of real scrapes as far as they go, 270 of them.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let mut seen = HashSet::new();
        let scraped = NODE_EXPORTER.split(r#"{"name":""#).skip(1).filter_map(|metric| metric.split('"').next());
        let scraped = scraped.filter(|&name| seen.insert(name)).map(str::to_owned);
        let further = (0..).map(|number| format!("application_requests_total_{number}"));
        scraped.chain(further).take(self.series.div_ceil(HOSTS)).collect()
    }

    /// The end of its time, which no sample reaches.
    #[must_use]
    pub fn end_ms(&self) -> i64 {
        START_MS + STEP_MS * i64::try_from(self.samples).unwrap_or(i64::MAX / STEP_MS)
    }

    /// Makes the log of this shape in `directory`, which is there.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, directory: &Path, layout: LogLayout) -> io::Result<()> {
        let segment_bytes_max = match layout {
            LogLayout::Active => u64::MAX,
            LogLayout::Sealed(bytes) | LogLayout::Compressed(bytes) => bytes,
        };
        let active = directory.join(ACTIVE_NAME);
        let mut file = BufWriter::with_capacity(1 << 20, File::create(&active)?);
        let mut encoder = BatchEncoder::new(Bounds { batch_metrics_limit: self.series.max(1), ..Bounds::default() });
        let names = self.names();
        let (mut body, mut lines, mut bytes, mut newest) = (String::new(), Vec::new(), 0, None);
        for sample in 0..self.samples {
            self.body(&names, sample, &mut body);
            lines.resize(encoder.encoded_bytes_max(body.len()), 0);
            let encoded = encoder.encode(body.as_bytes(), 0, &mut lines).map_err(io::Error::other)?;
            file.write_all(&lines[..encoded.bytes])?;
            bytes += encoded.bytes as u64;
            if bytes >= segment_bytes_max || (sample + 1 == self.samples && segment_bytes_max < u64::MAX) {
                file.flush()?;
                let sealed_ms = START_MS + STEP_MS * i64::try_from(sample).map_err(io::Error::other)?;
                let name = SegmentName::after(newest, sealed_ms);
                fs::rename(&active, directory.join(name.file(SegmentFile::Plain)))?;
                seal(directory, name, layout)?;
                (bytes, newest) = (0, Some(name));
                file = BufWriter::with_capacity(1 << 20, File::create(&active)?);
            }
        }
        file.flush()
    }

    /// One sample of every series.
    fn body(&self, names: &[String], sample: usize, body: &mut String) {
        let timestamp = START_MS + STEP_MS * sample as i64;
        body.clear();
        body.push_str(r#"{"metrics":["#);
        for series in 0..self.series {
            let (name, host) = (&names[series / HOSTS], series % HOSTS);
            // Numbers that neither repeat nor compress better than real ones: multiplicative hashing, Knuth 6.4.
            let noise = ((series * 1_000_003 + sample) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 44;
            let comma = if series == 0 { "" } else { "," };
            let value = if name.ends_with("_total") {
                format!("{}", series as u64 * 1_000_000 + sample as u64 * 1_024 + noise % 1_024)
            } else {
                format!("{}.{:02}", noise / 100, noise % 100)
            };
            let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
            let _ = write!(
                body,
                r#"{comma}{{"name":"{name}","value":{value},"type":"{kind}","timestamp":{timestamp},"tags":{{"instance":"host-{host}","job":"node"}}}}"#
            );
        }
        body.push_str("]}");
    }
}

/// Makes a log of the real scrapes, and of lines whose values are not finite, in `directory`: a third in a compressed
/// segment, a third in a plain one, a third in the active one.
///
/// # Errors
/// If it cannot be written.
pub fn write_scrapes(directory: &Path) -> io::Result<()> {
    let mut encoder = BatchEncoder::new(Bounds::default());
    let bodies: Vec<&str> = NODE_EXPORTER.lines().collect();
    let mut newest = None;
    for (number, part) in bodies.chunks(bodies.len().div_ceil(3)).enumerate() {
        let mut lines = Vec::new();
        for (scrape, body) in part.iter().enumerate() {
            let mut encoded = vec![0; encoder.encoded_bytes_max(body.len())];
            let bytes = encoder.encode(body.as_bytes(), START_MS, &mut encoded).map_err(io::Error::other)?.bytes;
            lines.extend_from_slice(&encoded[..bytes]);
            let first = Lines::new(&encoded[..bytes]).flatten().next();
            lines.extend_from_slice(&non_finite(scrape, first.map_or(START_MS, |line| line.timestamp_ms))?);
        }
        if number == 2 {
            fs::write(directory.join(ACTIVE_NAME), lines)?;
        } else {
            let name = SegmentName::after(newest, START_MS);
            fs::write(directory.join(name.file(SegmentFile::Plain)), lines)?;
            seal(directory, name, if number == 0 { LogLayout::Compressed(0) } else { LogLayout::Sealed(0) })?;
            newest = Some(name);
        }
    }
    Ok(())
}

/// Lines of two names as other protocols than JSON store them: one is NaN or infinite now and then, the other always.
fn non_finite(scrape: usize, timestamp_ms: i64) -> io::Result<Vec<u8>> {
    const VALUES: [Value<'_>; 7] = [
        Value::Float(0.5),
        Value::Float(f64::NAN),
        Value::Uint(3),
        Value::Float(f64::INFINITY),
        Value::Digits(b"-1.50E+1"),
        Value::Stale,
        Value::Float(f64::NEG_INFINITY),
    ];
    let mut lines = vec![0; 4_096];
    let mut sink = LineSink::new(&mut lines, timestamp_ms);
    let mut series = Series::new(Bounds::default());
    let invalid = |reject: Reject| io::Error::other(reject.text());
    for (name, value) in [("quantile_of_nothing_yet", None), ("never_a_number", Some(Value::Float(f64::NAN)))] {
        for host in 0..5_usize {
            series.clear();
            series.push_name(name.as_bytes()).map_err(invalid)?;
            series.push_tag(b"instance", format!("host-{host}").as_bytes()).map_err(invalid)?;
            let value = value.unwrap_or(VALUES[(scrape + host) % VALUES.len()]);
            sink.push(&series, Kind::Untyped, value, None, host).map_err(io::Error::other)?;
        }
    }
    let bytes = sink.decoded().bytes;
    lines.truncate(bytes);
    Ok(lines)
}

fn seal(directory: &Path, name: SegmentName, layout: LogLayout) -> io::Result<()> {
    let stop = AtomicBool::new(false);
    let sidecar = index(directory, name, &stop).map_err(io::Error::other)?;
    sidecar.write(directory, name).map_err(io::Error::other)?;
    if matches!(layout, LogLayout::Compressed(_)) {
        compress(directory, name, &sidecar, &stop).map_err(io::Error::other)?;
    }
    Ok(())
}
