//! Filters on the name and the tags of a series. Texts are compared as they stand in the log, escaped, where that is
//! exact: each text has one spelling there. Regular expressions match the unescaped text.

use crate::limits::{QUERY_FILTERS_MAX, QUERY_PATTERN_TEXT_BYTES_MAX, QUERY_PATTERNS_MAX};
use crate::{
    Look, Refusal,
    plan::{
        labels::Lookup,
        parameters::{Operator, Parameter, shown},
        pattern::{Pattern, literals},
    },
};
use metric::{Line, spelled};
use std::collections::HashSet;

/// Texts, escaped.
type Set = HashSet<Vec<u8>>;

/// Condition on a text.
#[derive(Debug, Clone)]
enum Condition {
    /// One of these.
    Among(Set),
    Matches(Pattern),
}

impl Condition {
    fn holds(&self, escaped: &[u8], look: Look<'_>) -> Result<bool, Refusal> {
        match self {
            Self::Among(set) => Ok(set.contains(escaped)),
            Self::Matches(pattern) => pattern.matches(escaped, look),
        }
    }
}

/// Compiles the expressions of one query, as long as they are few and short: what compiling takes goes with the length.
#[derive(Debug, Default)]
pub(crate) struct Expressions {
    count: usize,
    bytes: usize,
}

impl Expressions {
    /// An expression that is only a list of literals is a set, and counts for nothing.
    fn condition(&mut self, of: &str, text: &str) -> Result<Condition, Refusal> {
        if let Some(texts) = literals(text) {
            return Ok(Condition::Among(texts.iter().map(|text| spelled(text)).collect()));
        }
        self.count += 1;
        self.bytes += text.len();
        if self.count > QUERY_PATTERNS_MAX {
            return refuse(format!("{}: at most {QUERY_PATTERNS_MAX} regular expressions in one query", shown(of)));
        }
        if self.bytes > QUERY_PATTERN_TEXT_BYTES_MAX {
            return refuse(format!(
                "{}: the regular expressions of a query may have at most {QUERY_PATTERN_TEXT_BYTES_MAX} bytes in total; \
                 a list of literals such as a|b|c may be as long as the parameters",
                shown(of)
            ));
        }
        Pattern::new(of, text).map(Condition::Matches)
    }
}

/// Filter on the name.
#[derive(Debug, Clone)]
pub(crate) enum NameFilter {
    All,
    /// Escaped.
    Is(Vec<u8>),
    Matches(NameCondition),
}

/// Condition on a name that is more than equality with one name.
#[derive(Debug, Clone)]
pub(crate) struct NameCondition(Condition);

impl NameCondition {
    /// Returns true if the filter matches a name, given escaped.
    pub fn holds(&self, escaped: &[u8], look: Look<'_>) -> Result<bool, Refusal> {
        self.0.holds(escaped, look)
    }
}

impl NameFilter {
    /// `parameters` are all that are called `name`: one expression, or any number of names, of which any matches.
    pub fn new(parameters: &[&Parameter], expressions: &mut Expressions) -> Result<Self, Refusal> {
        let mut names = Set::new();
        for parameter in parameters {
            match parameter.operator {
                _ if parameter.value.is_empty() => {
                    return refuse("name: expected a name, or a regular expression as in name=~cpu_.*".into());
                }
                Operator::Is => {
                    names.insert(spelled(&parameter.value));
                }
                Operator::Matches if parameters.len() == 1 => {
                    let condition = expressions.condition("name", &parameter.value)?;
                    return Ok(Self::Matches(NameCondition(condition)));
                }
                Operator::Matches => {
                    return refuse("name: repeated; only name=… may be repeated, and only without name=~…".into());
                }
                Operator::IsNot | Operator::MatchesNot => return refuse("name: only = and =~ are supported".into()),
            }
        }
        Ok(match names.len() {
            0 => Self::All,
            1 => Self::Is(names.into_iter().next().unwrap_or_default()),
            _ => Self::Matches(NameCondition(Condition::Among(names))),
        })
    }
}

/// Conditions on tags. A tag that a series does not have is empty here, as in Prometheus.
#[derive(Debug, Clone, Default)]
pub(crate) struct TagFilters {
    keys: Lookup,
    filters: Vec<TagFilter>,
}

#[derive(Debug, Clone)]
struct TagFilter {
    /// LinePosition of its key in the lookup.
    key: usize,
    condition: Condition,
    /// Result of the condition for which the series is admitted.
    wanted: bool,
}

impl TagFilters {
    /// All of `parameters` whose names begin with `tag.` must hold, where the texts that one tag may be (or may not be)
    /// are one set.
    pub fn new<'a>(
        parameters: impl Iterator<Item = &'a Parameter>,
        expressions: &mut Expressions,
    ) -> Result<Self, Refusal> {
        let mut found = Self::default();
        let mut sets: Vec<[Option<usize>; 2]> = Vec::new();
        for parameter in parameters {
            let Some(key) = parameter.name.strip_prefix("tag.") else { continue };
            let key = found.keys.add(spelled(key));
            sets.resize(found.keys.len(), [None; 2]);
            let wanted = matches!(parameter.operator, Operator::Is | Operator::Matches);
            let condition = match parameter.operator {
                Operator::Is | Operator::IsNot => {
                    let text = spelled(&parameter.value);
                    if let Some(filter) = sets[key][usize::from(wanted)]
                        && let Condition::Among(set) = &mut found.filters[filter].condition
                    {
                        set.insert(text);
                        continue;
                    }
                    sets[key][usize::from(wanted)] = Some(found.filters.len());
                    Condition::Among(Set::from([text]))
                }
                Operator::Matches | Operator::MatchesNot => expressions.condition(&parameter.name, &parameter.value)?,
            };
            found.filters.push(TagFilter { key, condition, wanted });
            if found.filters.len() > QUERY_FILTERS_MAX {
                return refuse(format!("tag: at most {QUERY_FILTERS_MAX} filters in one query"));
            }
        }
        Ok(found)
    }

    pub const fn is_empty(&self) -> bool {
        self.filters.is_empty()
    }

    /// Returns true if the series of this line matches every tag filter.
    pub fn admit(&self, line: &Line<'_>, look: Look<'_>) -> Result<bool, Refusal> {
        let values = self.keys.values(line.tags());
        for filter in &self.filters {
            if filter.condition.holds(values[filter.key].unwrap_or_default(), look)? != filter.wanted {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn refuse<T>(what: String) -> Result<T, Refusal> {
    Err(Refusal::BadRequest(what))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::parameters;

    fn admits(filter: &str, tags: &str) -> bool {
        let line =
            format!(r#"{{"timestamp":"2026-01-02T03:04:05.678Z","name":"n","value":1,"type":"gauge","tags":{tags}}}"#);
        let parameters = parameters::parse(filter).unwrap();
        let filters = TagFilters::new(parameters.iter(), &mut Expressions::default()).unwrap();
        filters.admit(&Line::parse(line.as_bytes()).unwrap(), &|| Ok(())).unwrap()
    }

    #[test]
    fn tags_are_held_against_each_operator() {
        let web = r#"{"dc":"a","host":"web1"}"#;
        for (filter, tags, admitted) in [
            ("tag.host=web1", web, true),
            ("tag.host=web", web, false),
            ("tag.host!=web1", web, false),
            ("tag.host!=web", web, true),
            ("tag.host=~web.", web, true),
            ("tag.host=~web", web, false),
            ("tag.host=~eb1", web, false),
            ("tag.host=~web1|db1", web, true),
            ("tag.host!~web1|db1", web, false),
            ("tag.host!~db.*", web, true),
            // A tag that is not there is empty.
            ("tag.rack=", web, true),
            ("tag.rack=x", web, false),
            ("tag.rack!=x", web, true),
            ("tag.rack=~", web, true),
            ("tag.rack=~.%2B", web, false),
            ("tag.rack!~.%2B", web, true),
            ("tag.host=", r#"{"host":""}"#, true),
            // Escapes, and what is no ASCII.
            (r"tag.%22=a%0Ab", r#"{"\"":"a\nb"}"#, true),
            (r"tag.%22=~a.b", r#"{"\"":"a\nb"}"#, true),
            (r"tag.p=%5C", r#"{"p":"\\"}"#, true),
            (r"tag.p=%01", r#"{"p":"\u0001"}"#, true),
            ("tag.%C3%BC=~.", r#"{"ü":"€x"}"#, false),
            ("tag.%C3%BC=~..", r#"{"ü":"€x"}"#, true),
            ("tag.p=~(?i)WEB%5Cd", r#"{"p":"web7"}"#, true),
        ] {
            assert_eq!(admits(filter, tags), admitted, "{filter} {tags}");
        }
    }

    #[test]
    fn a_tag_may_be_any_of_several_texts_and_none_of_others() {
        let web = r#"{"dc":"a","host":"web1"}"#;
        for (filter, admitted) in [
            ("tag.host=web1&tag.host=web2", true),
            ("tag.host=web2&tag.host=web3", false),
            ("tag.host=web2&tag.host=", false),
            ("tag.rack=web2&tag.rack=", true),
            ("tag.host!=web2&tag.host!=web3", true),
            ("tag.host!=web1&tag.host!=web3", false),
            ("tag.host=web1&tag.host=web2&tag.dc=b", false),
            ("tag.host=web1&tag.host=web2&tag.dc=b&tag.dc=a", true),
            // Expressions must all hold, and so must the set.
            ("tag.host=web1&tag.host=~db.*", false),
            ("tag.host=~w.*&tag.host=~.*1", true),
            ("tag.host=~w.*&tag.host=~.*2", false),
            ("tag.host=web1&tag.host=web2&tag.host!=web1", false),
        ] {
            assert_eq!(admits(filter, web), admitted, "{filter}");
        }
    }

    #[test]
    fn thousands_of_literals_are_one_set() {
        let names: Vec<_> = (0..20_000).map(|number| format!(r"web{number}\.example")).collect();
        for (from, to) in [("", ""), ("^(", ")$"), ("(?:", ")")] {
            let filter = format!("tag.host=~{from}{}{to}", names.join("|"));
            for (tags, admitted) in [
                (r#"{"host":"web19999.example"}"#, true),
                (r#"{"host":"web20000.example"}"#, false),
                (r#"{"host":"web7xexample"}"#, false),
            ] {
                assert_eq!(admits(&filter, tags), admitted, "{tags}");
                assert_eq!(admits(&filter.replacen("=~", "!~", 1), tags), !admitted, "{tags}");
            }
        }
    }
}
