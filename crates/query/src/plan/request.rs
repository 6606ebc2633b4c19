//! A request, parsed and checked: which series, which time, which aggregate, which order. Knows the parameters' names
//! and what each may be; every refusal names its parameter and says what would be right.

use crate::limits::{QUERY_BY_KEYS_MAX, QUERY_RANGE_DEFAULT_MS};
use crate::{
    Kind, Refusal,
    plan::{
        filter::{Expressions, NameFilter, TagFilters},
        labels::Lookup,
        moment::{MOMENT_EXPECTED, SPAN_EXPECTED, moment, span},
        parameters::{self, Operator, Parameter, shown},
    },
};
use metric::{TIMESTAMP_MS_MIN, spelled};
use std::collections::HashSet;

/// Aggregation of the values in a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agg {
    /// The mean.
    Avg,
    /// The smallest.
    Min,
    /// The largest.
    Max,
    /// The sum.
    Sum,
    /// Number of values.
    Count,
    /// The earliest.
    First,
    /// The latest.
    Last,
    /// The standard deviation of the population.
    Stddev,
    /// The value below or at which so many thousandths of a per cent of the values are: the nearest rank.
    Percentile(u32),
    /// The increase in a second, each series by itself, then summed.
    Rate,
    /// By how much counters grew, each series by itself, then summed.
    Increase,
    /// The values themselves.
    Raw,
}

impl Agg {
    const EXPECTED: &str = "expected one of avg, min, max, sum, count, first, last, stddev, rate, increase, raw, or a percentile such \
                            as p50, p99 or p99.9";

    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "avg" => Self::Avg,
            "min" => Self::Min,
            "max" => Self::Max,
            "sum" => Self::Sum,
            "count" => Self::Count,
            "first" => Self::First,
            "last" => Self::Last,
            "stddev" => Self::Stddev,
            "rate" => Self::Rate,
            "increase" => Self::Increase,
            "raw" => Self::Raw,
            _ => {
                let (whole, fraction) =
                    text.strip_prefix('p').map(|text| text.split_once('.').unwrap_or((text, "0")))?;
                let digits =
                    |text: &str| (1..=3).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
                if !digits(whole) || !digits(fraction) {
                    return None;
                }
                let thousandths = whole.parse::<u32>().ok()? * 1_000 + format!("{fraction:0<3}").parse::<u32>().ok()?;
                (thousandths <= 100_000).then_some(Self::Percentile(thousandths))?
            }
        })
    }
}

/// Tags by which the series of a result are grouped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum By {
    /// None: one series for each name.
    Nothing,
    /// These, escaped, in the order of the request.
    Keys(Lookup),
    /// All: each series is one.
    All,
}

impl By {
    /// Keys are separated by commas; `\,` is a comma in a key.
    fn parse(values: &[&str]) -> Result<Self, Refusal> {
        let mut keys = Lookup::default();
        let mut is_all = false;
        for value in values {
            let mut key = String::new();
            let mut is_escaped = false;
            let mut add = |key: &mut String, is_escaped: &mut bool| {
                let text = std::mem::take(key);
                let before = keys.len();
                if text.is_empty() {
                    return refuse("by: expected tag keys such as host,dc or * for all".into());
                }
                if text == "*" && !std::mem::take(is_escaped) {
                    is_all = true;
                } else if keys.len() == QUERY_BY_KEYS_MAX {
                    return refuse(format!("by: at most {QUERY_BY_KEYS_MAX} keys; by=* selects all tags"));
                } else if keys.add(spelled(&text)) < before {
                    return refuse(format!("by: {} is repeated", shown(&text)));
                }
                Ok(())
            };
            let mut characters = value.chars();
            while let Some(character) = characters.next() {
                match character {
                    ',' => add(&mut key, &mut is_escaped)?,
                    '\\' => match characters.next() {
                        Some(character @ (',' | '\\' | '*')) => {
                            key.push(character);
                            is_escaped = true;
                        }
                        _ => {
                            return refuse(r"by: a backslash may only precede a comma, a star or a backslash".into());
                        }
                    },
                    character => key.push(character),
                }
            }
            add(&mut key, &mut is_escaped)?;
        }
        match (is_all, keys.is_empty()) {
            (true, true) => Ok(Self::All),
            (true, false) => refuse("by: * selects all tags, and must be the only key".into()),
            (false, true) => Ok(Self::Nothing),
            (false, false) => Ok(Self::Keys(keys)),
        }
    }
}

/// Order of the series of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Order {
    /// By their last point's value, not by name and tags.
    pub by_value: bool,
    pub descending: bool,
}

/// A request, parsed and checked.
#[derive(Debug, Clone)]
pub struct Request {
    pub(crate) kind: Kind,
    pub(crate) names: NameFilter,
    /// Beginning of the range of time, in epoch milliseconds.
    pub from_ms: i64,
    /// End of the range of time, excluded, in epoch milliseconds.
    pub to_ms: i64,
    /// `None`: one bucket.
    pub(crate) step_ms: Option<i64>,
    pub(crate) agg: Agg,
    pub(crate) by: By,
    pub(crate) filters: TagFilters,
    /// Maximum number of series, names or values in the result; `None`: as many as the bounds allow.
    pub(crate) limit: Option<usize>,
    /// Maximum number of points of a series; the latest are returned.
    pub(crate) points: Option<usize>,
    pub(crate) order: Order,
}

/// Parameters that every kind of request takes.
const COMMON: [&str; 5] = ["name", "from", "to", "limit", "tag.KEY"];
/// Parameters that only `/query` takes.
const QUERY_ONLY: [&str; 5] = ["step", "agg", "by", "points", "order"];

impl Request {
    /// Parses the parameters as they stand behind the `?` of a URL. `now_ms` is the time by the clock that also stamps
    /// metrics when they arrive; `now` is the end of that millisecond, so that what has just arrived is before it.
    ///
    /// # Errors
    /// [`Refusal::BadRequest`]: which parameter is wrong, and what would be right.
    pub fn parse(kind: Kind, parameters: &str, now_ms: i64) -> Result<Self, Refusal> {
        let typed = Typed::new(&kind, parameters::parse(parameters)?)?;
        let mut expressions = Expressions::default();
        let names = NameFilter::new(&typed.of("name").collect::<Vec<_>>(), &mut expressions)?;
        if kind == Kind::Query && matches!(names, NameFilter::All) {
            return refuse("name: missing; name=cpu_usage selects one name, name=~.* all".into());
        }
        let filters = TagFilters::new(typed.0.iter(), &mut expressions)?;
        let (from_ms, to_ms) = typed.range(now_ms)?;
        let agg = match typed.value("agg")? {
            None => Agg::Avg,
            Some(text) => Agg::parse(text).map_or_else(|| refuse(format!("agg: {}", Agg::EXPECTED)), Ok)?,
        };
        let step_ms = match typed.value("step")? {
            None => None,
            Some(_) if agg == Agg::Raw => return refuse("step: raw points have no step; omit it".into()),
            Some(text) => Some(span(text).map_or_else(|| refuse(format!("step: {SPAN_EXPECTED}")), Ok)?),
        };
        let by = match &kind {
            Kind::Query if agg == Agg::Raw && typed.of("by").next().is_none() => By::All,
            Kind::Query => By::parse(&typed.values("by")?)?,
            Kind::Series => By::All,
            Kind::Names => By::Nothing,
            Kind::TagValues(key) => By::Keys(Lookup::from_iter([spelled(key)])),
        };
        let order = match typed.value("order")? {
            None | Some("name") => Order { by_value: false, descending: false },
            Some("-name") => Order { by_value: false, descending: true },
            Some("value") => Order { by_value: true, descending: false },
            Some("-value") => Order { by_value: true, descending: true },
            Some(_) => return refuse("order: expected one of name, -name, value, -value".into()),
        };
        Ok(Self {
            names,
            from_ms,
            to_ms,
            step_ms,
            agg,
            by,
            filters,
            limit: typed.count("limit")?,
            points: typed.count("points")?,
            order,
            kind,
        })
    }

    /// The bucket that a timestamp within the range falls into, by its index.
    pub(crate) fn bucket(&self, timestamp_ms: i64) -> u64 {
        self.step_ms.map_or(0, |step_ms| (timestamp_ms - self.from_ms).unsigned_abs() / step_ms.unsigned_abs())
    }

    /// Start of a bucket, in epoch milliseconds.
    pub(crate) fn bucket_start_ms(&self, bucket: u64) -> i64 {
        // Both are within the range of timestamps, and so is their product.
        self.from_ms.saturating_add_unsigned(bucket.saturating_mul(self.step_ms.unwrap_or(0).unsigned_abs()))
    }
}

/// Parameters as they were typed, each known and, where it may occur only once, unique.
struct Typed(Vec<Parameter>);

impl Typed {
    fn new(kind: &Kind, parameters: Vec<Parameter>) -> Result<Self, Refusal> {
        let mut seen = HashSet::new();
        for parameter in &parameters {
            let name = parameter.name.as_str();
            let is_tag = name.starts_with("tag.");
            let is_known =
                is_tag || COMMON[..4].contains(&name) || (*kind == Kind::Query && QUERY_ONLY.contains(&name));
            if !is_known {
                let mut known = COMMON.to_vec();
                known.extend(if *kind == Kind::Query { &QUERY_ONLY[..] } else { &[] });
                let hint = if QUERY_ONLY.contains(&name) { " (it is for /query only)" } else { "" };
                return refuse(format!("{}: unknown parameter{hint}; expected {}", shown(name), known.join(", ")));
            }
            let may_repeat = is_tag || matches!(name, "by" | "name");
            if !may_repeat && !seen.insert(name) {
                return refuse(format!("{name}: repeated"));
            }
        }
        Ok(Self(parameters))
    }

    fn of(&self, name: &'static str) -> impl Iterator<Item = &Parameter> {
        self.0.iter().filter(move |parameter| parameter.name == name)
    }

    fn values(&self, name: &'static str) -> Result<Vec<&str>, Refusal> {
        self.of(name)
            .map(|parameter| match parameter.operator {
                Operator::Is => Ok(parameter.value.as_str()),
                _ => refuse(format!("{name}: only = is supported")),
            })
            .collect()
    }

    fn value(&self, name: &'static str) -> Result<Option<&str>, Refusal> {
        Ok(self.values(name)?.first().copied())
    }

    fn count(&self, name: &'static str) -> Result<Option<usize>, Refusal> {
        let Some(text) = self.value(name)? else { return Ok(None) };
        match text.parse() {
            Ok(count) if count > 0 && text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(Some(count)),
            _ => refuse(format!("{name}: expected a number of at least 1")),
        }
    }

    fn range(&self, now_ms: i64) -> Result<(i64, i64), Refusal> {
        let end_of_now_ms = now_ms.saturating_add(1);
        let moment_of = |name: &'static str| {
            let Some(text) = self.value(name)? else { return Ok(None) };
            moment(text, end_of_now_ms).map_or_else(|| refuse(format!("{name}: {MOMENT_EXPECTED}")), |ms| Ok(Some(ms)))
        };
        let to_ms = moment_of("to")?.unwrap_or(end_of_now_ms);
        let from_ms = moment_of("from")?.unwrap_or(to_ms.saturating_sub(QUERY_RANGE_DEFAULT_MS).max(TIMESTAMP_MS_MIN));
        if from_ms >= to_ms {
            return refuse("from: must be before to, which defaults to now".into());
        }
        Ok((from_ms, to_ms))
    }
}

fn refuse<T>(what: String) -> Result<T, Refusal> {
    Err(Refusal::BadRequest(what))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{QUERY_FILTERS_MAX, QUERY_PARAMETERS_MAX, QUERY_PATTERN_TEXT_BYTES_MAX, QUERY_PATTERNS_MAX};
    use proptest::prelude::*;

    const NOW_MS: i64 = 1_767_323_045_678;

    proptest! {
        #[test]
        fn no_parameters_are_too_odd(
            any in ".*",
            like in "(name|from|to|step|agg|by|limit|points|order|tag\\.[a%=!~+]{0,4})[=!~]{0,2}[-+0-9a-zT:.,%~()*\\\\]{0,12}(&name=a)?",
        ) {
            for text in [any, like] {
                for kind in [Kind::Query, Kind::Series, Kind::Names, Kind::TagValues("a".into())] {
                    if let Err(refusal) = Request::parse(kind, &text, NOW_MS) {
                        prop_assert!(matches!(&refusal, Refusal::BadRequest(what) if !what.contains(char::is_control)), "{:?}", refusal);
                    }
                }
            }
        }
    }

    fn parse(parameters: &str) -> Result<Request, Refusal> {
        Request::parse(Kind::Query, parameters, NOW_MS)
    }

    #[test]
    fn what_is_not_said_has_a_default() {
        let request = parse("name=cpu").unwrap();
        assert_eq!((request.from_ms, request.to_ms), (NOW_MS + 1 - 3_600_000, NOW_MS + 1));
        assert_eq!((request.agg, request.step_ms, request.by), (Agg::Avg, None, By::Nothing));
        assert_eq!((request.limit, request.points), (None, None));
        assert_eq!(parse("name=cpu&agg=raw").unwrap().by, By::All);
        let request = parse("name=cpu&to=2026-01-02T00:00:00Z").unwrap();
        assert_eq!(request.from_ms, request.to_ms - 3_600_000);
        assert!(Request::parse(Kind::Names, "", NOW_MS).is_ok());
    }

    #[test]
    fn every_parameter_is_read() {
        let request = parse(
            "name=~cpu.*&from=-2h&to=-1h&step=60s&agg=p99.9&by=host,dc&by=a%5C,b&limit=10&points=5&order=-value&tag.a=b&tag.a!~c",
        )
        .unwrap();
        assert_eq!((request.from_ms, request.to_ms), (NOW_MS + 1 - 7_200_000, NOW_MS + 1 - 3_600_000));
        assert_eq!((request.agg, request.step_ms), (Agg::Percentile(99_900), Some(60_000)));
        assert_eq!(request.by, By::Keys(Lookup::from_iter(["host", "dc", "a,b"].map(Vec::from))));
        assert_eq!((request.limit, request.points, request.filters.is_empty()), (Some(10), Some(5), false));
        assert_eq!(request.order, Order { by_value: true, descending: true });
        assert_eq!(request.bucket(request.from_ms + 119_999), 1);
        assert_eq!(request.bucket_start_ms(1), request.from_ms + 60_000);
        assert_eq!(parse("name=a&by=*").unwrap().by, By::All);
        assert_eq!(parse("name=a&by=%5C*").unwrap().by, By::Keys(Lookup::from_iter([b"*".to_vec()])));
        for (text, agg) in [("p0", 0), ("p50", 50_000), ("p99.95", 99_950), ("p100", 100_000), ("p007", 7_000)] {
            assert_eq!(Agg::parse(text), Some(Agg::Percentile(agg)), "{text}");
        }
        for text in ["p", "p101", "p100.1", "p-1", "p5.", "p1.0001", "P50", "mean", "p٣"] {
            assert_eq!(Agg::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_wrong_parameter_is_named() {
        for (text, part) in [
            ("", "name: missing"),
            ("name=", "name: expected a name"),
            ("name=~", "name: expected a name"),
            ("name=~(", "name: not a regular expression"),
            ("name!~a", "name: only = and =~ are supported"),
            ("name=a&name=~b", "name: repeated; only name=…"),
            ("name=~a&name=~b", "name: repeated; only name=…"),
            ("name=a&name=", "name: expected a name"),
            ("name=a&step=1s&step=1s", "step: repeated"),
            ("name=a&nme=b", "nme: unknown parameter; expected name, from, to, limit, tag.KEY, step,"),
            ("name=a&from=yesterday", "from: expected a time such as"),
            ("name=a&to=99999-01-01", "to: expected a time such as"),
            ("name=a&from=now", "from: must be before to"),
            ("name=a&from=2&to=1", "from: must be before to"),
            ("name=a&step=0s", "step: expected a span"),
            ("name=a&step=60", "step: expected a span"),
            ("name=a&step=~60s", "step: only = is supported"),
            ("name=a&step=60s&agg=raw", "step: raw points have no step"),
            ("name=a&agg=median", "agg: expected one of avg,"),
            ("name=a&by=", "by: expected tag keys"),
            ("name=a&by=a,,b", "by: expected tag keys"),
            ("name=a&by=a,a", "by: a is repeated"),
            ("name=a&by=a&by=a", "by: a is repeated"),
            ("name=a&by=*,a", "by: * selects all tags"),
            ("name=a&by=%5Ca", "by: a backslash"),
            ("name=a&limit=0", "limit: expected a number"),
            ("name=a&limit=%2B5", "limit: expected a number"),
            ("name=a&limit=99999999999999999999", "limit: expected a number"),
            ("name=a&points=x", "points: expected a number"),
            ("name=a&order=asc", "order: expected one of"),
            ("name=a&tag.h=~[", "tag.h: not a regular expression"),
        ] {
            let Err(Refusal::BadRequest(what)) = parse(text) else { panic!("{text}") };
            assert!(what.contains(part), "{text}: {what}");
        }
        let Err(Refusal::BadRequest(what)) = Request::parse(Kind::Series, "agg=avg", NOW_MS) else { panic!() };
        assert!(what.contains("it is for /query only"), "{what}");
    }

    #[test]
    fn what_costs_much_is_bounded_and_named() {
        let repeated = |count: usize, text: &dyn Fn(usize) -> String| (0..count).map(text).collect::<String>();
        let refused = |parameters: &str, part: &str| {
            let Err(Refusal::BadRequest(what)) = parse(parameters) else { panic!("{part}: taken") };
            assert!(what.contains(part), "{what}");
        };
        let patterns = |count: usize| format!("name=a{}", repeated(count, &|tag| format!("&tag.{tag}=~a.")));
        assert!(parse(&patterns(QUERY_PATTERNS_MAX)).is_ok());
        refused(&patterns(QUERY_PATTERNS_MAX + 1), "at most 9 regular expressions");
        let long = |bytes: usize| format!("name=a&tag.h=~{}", "a|".repeat(bytes / 2 - 1) + "b.");
        assert!(parse(&long(QUERY_PATTERN_TEXT_BYTES_MAX)).is_ok());
        refused(
            &long(QUERY_PATTERN_TEXT_BYTES_MAX + 2),
            "tag.h: the regular expressions of a query may have at most 8192 bytes",
        );
        let by = |count: usize| format!("name=a&by=x{}", repeated(count - 1, &|key| format!(",{key}")));
        assert!(parse(&by(QUERY_BY_KEYS_MAX)).is_ok());
        refused(&by(QUERY_BY_KEYS_MAX + 1), "by: at most 128 keys");
        let filters = |count: usize| format!("name=a{}", repeated(count, &|tag| format!("&tag.{tag}=a&tag.{tag}=b")));
        assert!(parse(&filters(QUERY_FILTERS_MAX)).is_ok());
        refused(&filters(QUERY_FILTERS_MAX + 1), "tag: at most 64 filters");
        // However many literals there are.
        let names = repeated(10_000, &|number| format!("&name=n{number}&tag.h=web{number}&tag.h!=db{number}"));
        assert!(parse(&names).is_ok());
        let list = repeated(10_000, &|number| format!("|web{number}%5C.example"));
        assert!(parse(&format!("name=~n{list}&tag.h=~^(a{list})$&tag.h!~a{list}")).is_ok());
        refused(
            &format!("name=a{}", repeated(QUERY_PARAMETERS_MAX, &|_| "&tag.h=a".into())),
            "more than 65536 parameters",
        );
    }
}
