//! The schema as types of serde, borrowed from the body wherever there is no escape: shared by the libraries that speak
//! serde. What serde cannot say is checked by [`Batch::check`].

use super::{Sample, has_repeated};
use metric::limits::{BATCH_METRICS_DEFAULT, NAME_BYTES_DEFAULT, TAGS_DEFAULT};
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor},
};
use std::{borrow::Cow, fmt};

#[derive(Deserialize)]
pub(super) struct Batch<'a> {
    #[serde(borrow)]
    metrics: Vec<Metric<'a>>,
}

#[derive(Deserialize)]
struct Metric<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    value: f64,
    #[serde(rename = "type", default)]
    kind: Kind,
    #[serde(default)]
    timestamp: Option<i64>,
    #[serde(borrow, default)]
    tags: Tags<'a>,
}

#[derive(Deserialize, Default, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum Kind {
    #[default]
    Gauge,
    Counter,
    Histogram,
    Summary,
}

/// A list and not a map: there are few, and their order is kept.
#[derive(Default)]
struct Tags<'a>(Vec<(Text<'a>, Text<'a>)>);

#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Tags<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Tags<'de>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut tags = Vec::new();
                while let Some(tag) = map.next_entry()? {
                    if tags.len() == TAGS_DEFAULT {
                        return Err(A::Error::custom("too many tags"));
                    }
                    tags.push(tag);
                }
                Ok(Tags(tags))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

impl Batch<'_> {
    /// Checks what the types do not express.
    pub fn check(&self) -> Result<(), String> {
        if self.metrics.is_empty() || self.metrics.len() > BATCH_METRICS_DEFAULT {
            return Err(format!("{} metrics", self.metrics.len()));
        }
        for metric in &self.metrics {
            if metric.name.is_empty() || metric.name.len() > NAME_BYTES_DEFAULT {
                return Err(format!("a name of {} bytes", metric.name.len()));
            }
            if !metric.value.is_finite() {
                return Err("a value that is not finite".to_owned());
            }
            if has_repeated(metric.tags.0.len(), metric.tags.0.iter().map(|tag| &*tag.0.0)) {
                return Err("a tag comes twice".to_owned());
            }
        }
        Ok(())
    }

    pub fn metrics(&self) -> usize {
        self.metrics.len()
    }

    pub fn samples(&self) -> Vec<Sample> {
        self.metrics.iter().map(Metric::sample).collect()
    }
}

impl Metric<'_> {
    fn sample(&self) -> Sample {
        let plain = |text: &Text| text.0.clone().into_owned();
        Sample {
            name: self.name.clone().into_owned(),
            value: self.value,
            kind: match self.kind {
                Kind::Gauge => metric::Kind::Gauge,
                Kind::Counter => metric::Kind::Counter,
                Kind::Histogram => metric::Kind::Histogram,
                Kind::Summary => metric::Kind::Summary,
            },
            timestamp_ms: self.timestamp,
            tags: self.tags.0.iter().map(|(key, value)| (plain(key), plain(value))).collect(),
        }
    }
}
