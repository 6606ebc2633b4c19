//! Options of the protocols that agents speak.

use super::ConfigError;
use metric::protocol::otlp;
use serde::Deserialize;
use std::str::FromStr;

/// The status for a client over its rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverRate {
    /// 429, for clients that try again.
    TooManyRequests,
    /// 503, for clients that drop what gets a 429.
    Unavailable,
}

/// The configured status for a client over its rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(try_from = "super::choices::NumberOrText")]
pub enum OverRateStatus {
    /// The one that each protocol's agents try again after.
    #[default]
    Protocol,
    /// The same for all protocols.
    Fixed(OverRate),
}

impl FromStr for OverRateStatus {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "protocol" => Ok(Self::Protocol),
            "429" => Ok(Self::Fixed(OverRate::TooManyRequests)),
            "503" => Ok(Self::Fixed(OverRate::Unavailable)),
            _ => Err("expected protocol, 429 or 503".into()),
        }
    }
}

impl TryFrom<super::choices::NumberOrText> for OverRateStatus {
    type Error = String;
    fn try_from(value: super::choices::NumberOrText) -> Result<Self, String> {
        value.into_text().parse()
    }
}

/// The names of OTLP metrics in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OtlpNames {
    /// As they were sent, dots and all.
    #[default]
    Sent,
    /// In Prometheus' form, with unit and `_total`.
    Prometheus,
}

impl FromStr for OtlpNames {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "sent" => Ok(Self::Sent),
            "prometheus" => Ok(Self::Prometheus),
            _ => Err("expected sent or prometheus"),
        }
    }
}

/// The resolved options of protocols.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Protocols {
    /// The header field whose value names a client, in lower case.
    pub client_header: Option<String>,
    /// The status for a client over its rate; `None`: the one of each protocol.
    pub over_rate: Option<OverRate>,
    /// The key of a tag for the database or the bucket of line protocol.
    pub influx_database_tag: Option<String>,
    /// The mapping of OTLP.
    pub otlp: otlp::Options,
}

/// The options as given.
#[derive(Debug, Default)]
pub(super) struct Typed {
    pub(super) client_header: Option<String>,
    pub(super) over_rate_status: Option<OverRateStatus>,
    pub(super) influx_database_tag: Option<String>,
    pub(super) otlp_names: Option<OtlpNames>,
    pub(super) otlp_job: Option<bool>,
}

impl Protocols {
    /// Checks the options as given.
    pub(super) fn resolve(typed: Typed, has_api_keys: bool, tag_bytes_limit: usize) -> Result<Self, ConfigError> {
        if let Some(name) = &typed.client_header {
            let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            if name.is_empty() || !name.bytes().all(is_token) {
                return Err(ConfigError(format!("--client-header must be the name of a header field, not {name:?}")));
            }
            if has_api_keys {
                let line = "--client-header and --api-keys exclude each other: a key is its client, and with a header of \
                            its choice it could be any number of them";
                return Err(ConfigError(line.into()));
            }
        }
        if let Some(key) = &typed.influx_database_tag
            && (key.is_empty() || key.len() > tag_bytes_limit)
        {
            return Err(ConfigError(format!("--influx-database-tag must have 1 to {tag_bytes_limit} bytes")));
        }
        Ok(Self {
            client_header: typed.client_header.map(|name| name.to_ascii_lowercase()),
            over_rate: match typed.over_rate_status.unwrap_or_default() {
                OverRateStatus::Protocol => None,
                OverRateStatus::Fixed(status) => Some(status),
            },
            influx_database_tag: typed.influx_database_tag,
            otlp: otlp::Options {
                names: match typed.otlp_names.unwrap_or_default() {
                    OtlpNames::Sent => otlp::Names::AsSent,
                    OtlpNames::Prometheus => otlp::Names::Prometheus,
                },
                job_instance: typed.otlp_job.unwrap_or_default(),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(header: &str, has_api_keys: bool, tag: &str) -> Result<Protocols, ConfigError> {
        let typed = Typed {
            client_header: Some(header.into()),
            influx_database_tag: Some(tag.into()),
            over_rate_status: Some("503".parse().unwrap()),
            ..Typed::default()
        };
        Protocols::resolve(typed, has_api_keys, 10)
    }

    #[test]
    fn options_of_protocols_are_checked() {
        let protocols = resolve("X-Scope-OrgID", false, "db").unwrap();
        assert_eq!(protocols.client_header.as_deref(), Some("x-scope-orgid"));
        assert_eq!(protocols.over_rate, Some(OverRate::Unavailable));
        for (header, has_api_keys, tag) in [
            ("", false, "db"),
            ("a b", false, "db"),
            ("X:", false, "db"),
            ("X", true, "db"),
            ("X", false, ""),
            ("X", false, "12345678901"),
        ] {
            assert!(resolve(header, has_api_keys, tag).is_err(), "{header} {has_api_keys} {tag}");
        }
        assert!("404".parse::<OverRateStatus>().is_err() && "Sent".parse::<OtlpNames>().is_err());
    }
}
