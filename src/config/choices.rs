//! Options with a fixed set of values, on the command line and in the configuration file.

use serde::Deserialize;
use std::str::FromStr;

/// Compression of sealed segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Segments stay uncompressed.
    #[default]
    Off,
    /// Segments are compressed with zstd, block by block.
    Zstd,
}

impl FromStr for Compression {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            "zstd" => Ok(Self::Zstd),
            _ => Err("expected off or zstd".into()),
        }
    }
}

/// The network driver of the reactors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DriverChoice {
    /// io_uring where it is available, else epoll.
    #[default]
    Auto,
    /// io_uring or an error.
    #[serde(rename = "io_uring")]
    IoUring,
    /// epoll or an error.
    Epoll,
}

impl FromStr for DriverChoice {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "io_uring" => Ok(Self::IoUring),
            "epoll" => Ok(Self::Epoll),
            _ => Err("expected auto, io_uring or epoll".into()),
        }
    }
}

/// Access to statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StatsAuth {
    /// Open to every client.
    #[default]
    Open,
    /// With an API key only.
    Keys,
}

impl FromStr for StatsAuth {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "open" => Ok(Self::Open),
            "keys" => Ok(Self::Keys),
            _ => Err("expected open or keys"),
        }
    }
}

/// Format of the log lines on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Plain text, for people.
    #[default]
    Text,
    /// One JSON object per line, for programs.
    Json,
}

impl FromStr for LogFormat {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("expected text or json"),
        }
    }
}

/// The log position in responses to batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PositionHeader {
    /// Responses have the field `X-MetricsStream-Position`.
    On,
    /// They do not.
    #[default]
    Off,
}

impl FromStr for PositionHeader {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "on" => Ok(Self::On),
            "off" => Ok(Self::Off),
            _ => Err("expected on or off"),
        }
    }
}

/// The live page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ui {
    /// Served where statistics are.
    #[default]
    On,
    /// Not served, and no history is kept for it.
    Off,
}

impl FromStr for Ui {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "on" => Ok(Self::On),
            "off" => Ok(Self::Off),
            _ => Err("expected on or off"),
        }
    }
}

/// The configured core of the writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(try_from = "NumberOrText")]
pub enum WriterCore {
    /// The last of the cores.
    #[default]
    Auto,
    /// The core with this number.
    Core(usize),
}

/// A value that a TOML file may give as a number or as text.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum NumberOrText {
    Number(u64),
    Text(String),
}

impl NumberOrText {
    /// The value as it would stand on the command line.
    pub(super) fn into_text(self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text,
        }
    }
}

impl TryFrom<NumberOrText> for WriterCore {
    type Error = String;
    fn try_from(value: NumberOrText) -> Result<Self, String> {
        value.into_text().parse()
    }
}

impl FromStr for WriterCore {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            _ => text.parse().map(Self::Core).map_err(|_| "expected auto or a core number".into()),
        }
    }
}
