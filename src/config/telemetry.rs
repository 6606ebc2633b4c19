//! Export of traces and of the server's own metrics: this server's flags, and OpenTelemetry's standard variables
//! (<https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>). A flag overrides the
//! variables; a variable of one signal overrides the common one. An invalid value is refused by the name of its
//! variable instead of being ignored.

use crate::{
    limits,
    trace::{Destination, Protocol, Sampler},
};
use std::{str::FromStr, time::Duration};

/// Export by OTLP. Nothing is exported unless an endpoint is configured.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Telemetry {
    /// Traces.
    pub traces: Option<TraceExport>,
    /// The server's own metrics.
    pub figures: Option<FigureExport>,
    /// Attributes of the server.
    pub resource: Vec<(String, String)>,
}

/// Export of traces.
#[derive(Debug, Clone, PartialEq)]
pub struct TraceExport {
    /// The receiver.
    pub destination: Destination,
    /// Selection of the batches that are traced.
    pub sampler: Sampler,
    /// Duration above which a batch is always traced; `None` traces failed ones only.
    pub slow: Option<Duration>,
}

/// Export of the server's own metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FigureExport {
    /// The receiver.
    pub destination: Destination,
    /// Interval between exports.
    pub interval: Duration,
}

/// The options as given.
#[derive(Debug, Clone, Default)]
pub(super) struct Typed {
    pub endpoint: Option<String>,
    pub protocol: Option<Protocol>,
    pub ratio: Option<f64>,
    pub slow: Option<Duration>,
}

impl FromStr for Protocol {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "grpc" => Ok(Self::Grpc),
            "http/protobuf" => Ok(Self::Http),
            _ => Err("expected grpc or http/protobuf"),
        }
    }
}

/// A signal of OpenTelemetry: its name in variables, and its path under an endpoint.
#[derive(Debug, Clone, Copy)]
struct Signal {
    name: &'static str,
    path: &'static str,
}

const TRACES: Signal = Signal { name: "TRACES", path: "v1/traces" };
const METRICS: Signal = Signal { name: "METRICS", path: "v1/metrics" };

impl Telemetry {
    /// Resolves flags and variables. `variable` reads one from the environment.
    ///
    /// # Errors
    /// The invalid value, by the name of its flag or variable.
    pub(super) fn resolve(typed: &Typed, variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, String> {
        let variables = Variables(variable);
        let ratio = typed.ratio.map(|ratio| part("--trace-ratio", ratio)).transpose()?;
        let is_off = match variables.get("OTEL_SDK_DISABLED") {
            Some(text) if text.eq_ignore_ascii_case("true") => true,
            Some(text) if !text.eq_ignore_ascii_case("false") => {
                return Err(format!("OTEL_SDK_DISABLED must be true or false, not {text}"));
            }
            _ => false,
        };
        if is_off {
            return Ok(Self::default());
        }
        let slow = typed.slow.unwrap_or(limits::TRACE_SLOW_DEFAULT);
        let traces = match variables.destination(TRACES, typed)? {
            None => None,
            Some(destination) => Some(TraceExport {
                destination,
                sampler: variables.sampler(ratio)?,
                slow: (!slow.is_zero()).then_some(slow),
            }),
        };
        let figures = match variables.destination(METRICS, typed)? {
            None => None,
            Some(destination) => {
                let default = limits::OTLP_METRICS_INTERVAL_DEFAULT;
                let interval = variables.milliseconds(&["OTEL_METRIC_EXPORT_INTERVAL".into()], default)?;
                Some(FigureExport { destination, interval })
            }
        };
        let resource = if traces.is_some() || figures.is_some() { variables.resource()? } else { Vec::new() };
        Ok(Self { traces, figures, resource })
    }
}

struct Variables<'a>(&'a dyn Fn(&str) -> Option<String>);

impl Variables<'_> {
    /// The value of a variable; an empty one counts as unset.
    fn get(&self, name: &str) -> Option<String> {
        (self.0)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    /// The first of `names` that has a value, and the value.
    fn first(&self, names: &[String]) -> Option<(String, String)> {
        names.iter().find_map(|name| self.get(name).map(|value| (name.clone(), value)))
    }

    fn destination(&self, signal: Signal, typed: &Typed) -> Result<Option<Destination>, String> {
        let of_signal = |what: &str| format!("OTEL_EXPORTER_OTLP_{}_{what}", signal.name);
        let both = |what: &str| [of_signal(what), format!("OTEL_EXPORTER_OTLP_{what}")];
        let exporter = format!("OTEL_{}_EXPORTER", signal.name);
        match self.get(&exporter).as_deref() {
            Some("none") => return Ok(None),
            Some("otlp") | None => {}
            Some(other) => return Err(format!("{exporter} must be otlp or none, not {other}")),
        }
        let (name, endpoint) = match (&typed.endpoint, self.first(&both("ENDPOINT"))) {
            (Some(endpoint), _) => ("--otlp-endpoint".to_owned(), endpoint.clone()),
            (None, Some(found)) => found,
            (None, None) => return Ok(None),
        };
        let protocol = match (typed.protocol, self.first(&both("PROTOCOL"))) {
            (Some(protocol), _) => protocol,
            (None, Some((name, text))) => text.parse().map_err(|error| format!("{name}: {error}, not {text}"))?,
            (None, None) => Protocol::Http,
        };
        // An endpoint for one signal is used as it is; the paths of the signals are appended to a common one.
        let url = match protocol {
            Protocol::Http if name != of_signal("ENDPOINT") => {
                format!("{}/{}", endpoint.trim_end_matches('/'), signal.path)
            }
            _ => endpoint,
        };
        Destination::check_url(&url).map_err(|error| format!("{name}: {error}"))?;
        let mut headers = Vec::new();
        if let Some((name, list)) = self.first(&both("HEADERS")) {
            headers = pairs(&list).map_err(|error| format!("{name}: {error}"))?;
            if let Some((key, _)) = headers.iter().find(|(key, value)| !Destination::is_header(key, value)) {
                return Err(format!("{name}: {key} cannot be sent as a header"));
            }
        }
        let timeout = self.milliseconds(&both("TIMEOUT"), limits::OTLP_TIMEOUT_DEFAULT)?;
        if let Some((name, text)) = self.first(&both("COMPRESSION")).filter(|(_, text)| text != "none") {
            return Err(format!("{name}: only none is supported, not {text}"));
        }
        Ok(Some(Destination { protocol, url, headers, timeout }))
    }

    fn sampler(&self, ratio: Option<f64>) -> Result<Sampler, String> {
        const NAME: &str = "OTEL_TRACES_SAMPLER";
        if let Some(ratio) = ratio {
            return Ok(Sampler { parent_based: true, ratio });
        }
        let Some(text) = self.get(NAME) else {
            return Ok(Sampler { parent_based: true, ratio: limits::TRACE_RATIO_DEFAULT });
        };
        let (parent_based, kind) = match text.strip_prefix("parentbased_") {
            Some(kind) => (true, kind),
            None => (false, &*text),
        };
        let ratio = match kind {
            "always_on" => 1.0,
            "always_off" => 0.0,
            "traceidratio" => match self.get("OTEL_TRACES_SAMPLER_ARG") {
                None => 1.0,
                Some(text) => part("OTEL_TRACES_SAMPLER_ARG", text.parse().unwrap_or(f64::NAN))?,
            },
            _ => {
                return Err(format!(
                    "{NAME} must be always_on, always_off or traceidratio, or one of them after parentbased_, not \
                    {text}"
                ));
            }
        };
        Ok(Sampler { parent_based, ratio })
    }

    fn resource(&self) -> Result<Vec<(String, String)>, String> {
        const NAME: &str = "OTEL_RESOURCE_ATTRIBUTES";
        let mut attributes = match self.get(NAME) {
            None => Vec::new(),
            Some(list) => pairs(&list).map_err(|error| format!("{NAME}: {error}"))?,
        };
        if let Some(name) = self.get("OTEL_SERVICE_NAME") {
            attributes.retain(|(key, _)| key != "service.name");
            attributes.push(("service.name".into(), name));
        }
        Ok(attributes)
    }

    fn milliseconds(&self, names: &[String], default: Duration) -> Result<Duration, String> {
        match self.first(names) {
            None => Ok(default),
            Some((name, text)) => match text.parse() {
                Ok(milliseconds @ 1..=86_400_000) => Ok(Duration::from_millis(milliseconds)),
                _ => Err(format!("{name} must be from 1 to 86400000 milliseconds, not {text}")),
            },
        }
    }
}

fn part(name: &str, ratio: f64) -> Result<f64, String> {
    if (0.0..=1.0).contains(&ratio) { Ok(ratio) } else { Err(format!("{name} must be from 0 to 1")) }
}

/// `key=value,key=value`, the values percent-encoded (W3C Baggage, as the variables have it).
fn pairs(list: &str) -> Result<Vec<(String, String)>, String> {
    let members = list.split(',').map(str::trim).filter(|member| !member.is_empty());
    members
        .map(|member| match member.split_once('=') {
            // The member itself may be a secret.
            Some((key, value)) if !key.trim().is_empty() => match decode(value.trim()) {
                Some(value) => Ok((key.trim().to_owned(), value)),
                None => Err(format!("the value of {} is not percent-encoded UTF-8", key.trim())),
            },
            _ => Err("expected key=value, and commas between them".to_owned()),
        })
        .collect()
}

/// Decodes a percent-encoded string.
fn decode(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) =
            part.split_at_checked(2).filter(|(digits, _)| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(typed: &Typed, variables: &[(&str, &str)]) -> Result<Telemetry, String> {
        Telemetry::resolve(typed, &|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    fn by(variables: &[(&str, &str)]) -> Telemetry {
        resolve(&Typed::default(), variables).unwrap()
    }

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/");

    #[test]
    fn nothing_is_exported_unless_an_endpoint_is_named() {
        assert_eq!(by(&[]), Telemetry::default());
        assert_eq!(by(&[("OTEL_SERVICE_NAME", "x"), ("OTEL_EXPORTER_OTLP_ENDPOINT", "")]), Telemetry::default());
        assert_eq!(by(&[ENDPOINT, ("OTEL_SDK_DISABLED", "TRUE")]), Telemetry::default());
        let telemetry = by(&[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none"), ("OTEL_METRICS_EXPORTER", "otlp")]);
        assert!(telemetry.traces.is_none() && telemetry.figures.is_some());
        let telemetry = by(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://a/own")]);
        assert!(telemetry.figures.is_none());
        assert_eq!(telemetry.traces.unwrap().destination.url, "http://a/own");
    }

    #[test]
    fn defaults_are_those_of_the_manual() {
        let telemetry = by(&[ENDPOINT]);
        let (traces, figures) = (telemetry.traces.unwrap(), telemetry.figures.unwrap());
        assert_eq!(
            traces.destination,
            Destination {
                protocol: Protocol::Http,
                url: "http://collector:4318/v1/traces".into(),
                headers: Vec::new(),
                timeout: Duration::from_secs(10),
            }
        );
        assert_eq!(traces.sampler, Sampler { parent_based: true, ratio: 0.01 });
        assert_eq!(traces.slow, Some(Duration::from_millis(250)));
        assert_eq!(figures.destination.url, "http://collector:4318/v1/metrics");
        assert_eq!(figures.interval, Duration::from_secs(60));
    }

    #[test]
    fn a_signals_own_variable_wins_and_a_flag_wins_over_both() {
        let variables = [
            ENDPOINT,
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://traces:4317"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%20b, x=1"),
            ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "500"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "1000"),
            ("OTEL_TRACES_SAMPLER", "traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.5"),
        ];
        let telemetry = by(&variables);
        let (traces, figures) = (telemetry.traces.unwrap(), telemetry.figures.unwrap());
        assert_eq!(
            (traces.destination.url.as_str(), traces.destination.protocol),
            ("https://traces:4317", Protocol::Grpc)
        );
        assert_eq!(traces.sampler, Sampler { parent_based: false, ratio: 0.5 });
        assert_eq!(figures.destination.protocol, Protocol::Http);
        let headers = [("api-key".to_owned(), "a b".to_owned()), ("x".to_owned(), "1".to_owned())];
        assert_eq!(figures.destination.headers, headers);
        assert_eq!(
            (figures.destination.timeout, figures.interval),
            (Duration::from_millis(500), Duration::from_secs(1))
        );

        let typed = Typed {
            endpoint: Some("http://flag:1/base".into()),
            protocol: Some(Protocol::Http),
            ratio: Some(0.0),
            slow: Some(Duration::ZERO),
        };
        let traces = resolve(&typed, &variables).unwrap().traces.unwrap();
        assert_eq!(traces.destination.url, "http://flag:1/base/v1/traces");
        assert_eq!((traces.sampler, traces.slow), (Sampler { parent_based: true, ratio: 0.0 }, None));
    }

    #[test]
    fn samplers_go_by_their_names() {
        for (name, parent_based, ratio) in [
            ("always_on", false, 1.0),
            ("always_off", false, 0.0),
            ("traceidratio", false, 1.0),
            ("parentbased_always_on", true, 1.0),
            ("parentbased_always_off", true, 0.0),
            ("parentbased_traceidratio", true, 1.0),
        ] {
            let telemetry = by(&[ENDPOINT, ("OTEL_TRACES_SAMPLER", name)]);
            assert_eq!(telemetry.traces.unwrap().sampler, Sampler { parent_based, ratio }, "{name}");
        }
    }

    #[test]
    fn the_servers_name_is_what_the_variables_say() {
        let telemetry =
            by(&[ENDPOINT, ("OTEL_RESOURCE_ATTRIBUTES", "service.name=a,b=c%2Cd"), ("OTEL_SERVICE_NAME", "mine")]);
        let expected = [("b".to_owned(), "c,d".to_owned()), ("service.name".to_owned(), "mine".to_owned())];
        assert_eq!(telemetry.resource, expected);
    }

    #[test]
    fn a_wrong_value_is_refused_by_name() {
        for (name, value, part) in [
            ("OTEL_SDK_DISABLED", "perhaps", "must be true or false"),
            ("OTEL_TRACES_EXPORTER", "zipkin", "must be otlp or none, not zipkin"),
            ("OTEL_METRICS_EXPORTER", "prometheus", "must be otlp or none"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "collector:4317", "begins with http://"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://", "is not a URL"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "ftp://a", "begins with http://"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://a:99999", "has a port that is not from 1 to 65535"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "expected grpc or http/protobuf, not http/json"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "secret", "expected key=value"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a b=c", "a b cannot be sent as a header"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=%zz", "the value of a is not percent-encoded"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "must be from 1 to 86400000 milliseconds, not 10s"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip", "only none is supported"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "0", "must be from 1"),
            ("OTEL_TRACES_SAMPLER", "jaeger_remote", "must be always_on"),
            ("OTEL_RESOURCE_ATTRIBUTES", "=x", "expected key=value"),
        ] {
            let error = resolve(&Typed::default(), &[ENDPOINT, (name, value)]).unwrap_err();
            assert!(error.starts_with(name) && error.contains(part) && !error.contains("secret"), "{error}");
        }
        for ratio in ["2", "-0.1", "much", "NaN"] {
            let variables = [ENDPOINT, ("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", ratio)];
            let error = resolve(&Typed::default(), &variables).unwrap_err();
            assert_eq!(error, "OTEL_TRACES_SAMPLER_ARG must be from 0 to 1");
        }
        let typed = Typed { ratio: Some(1.5), ..Typed::default() };
        assert_eq!(resolve(&typed, &[]).unwrap_err(), "--trace-ratio must be from 0 to 1");
    }
}
