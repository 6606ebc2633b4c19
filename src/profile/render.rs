//! Samples as a flame graph, as folded stacks and for pprof.

use super::{flame, modules::Modules, request::Format, sampler::Samples};
use flate2::{Compression, write::GzEncoder};
use prost::Message;
use std::{
    collections::{BTreeMap, HashMap},
    io::Write,
    time::Duration,
};

/// Stacks by their names, outermost first and beginning with the thread, with their counts.
type Named = BTreeMap<Vec<String>, u64>;

/// A profile with the names of its frames.
#[derive(Debug)]
pub struct Picture {
    /// The stacks.
    pub named: Named,
    /// A line that says what is in it.
    pub subtitle: String,
    /// The two values that pprof shows of a stack, its count and this times the period: kind and unit of each.
    pub values: [[&'static str; 2]; 2],
    /// The time that one count stands for.
    pub period: Duration,
    /// The time that was sampled.
    pub took: Duration,
}

impl Picture {
    /// The picture of samples. `hz` is what was requested.
    pub fn of_samples(samples: &Samples, modules: &Modules, hz: u64) -> Self {
        let kernel = if samples.kernel { "" } else { "; the kernel's functions are not shown" };
        Self {
            named: name(samples, modules),
            subtitle: format!("{} samples in {:.1} s{kernel}", samples.count, samples.took.as_secs_f64()),
            values: [["samples", "count"], ["cpu", "nanoseconds"]],
            period: Duration::from_nanos(1_000_000_000 / hz.max(1)),
            took: samples.took,
        }
    }

    /// The body of the response.
    pub fn render(&self, format: Format) -> Vec<u8> {
        match format {
            Format::Folded => folded(&self.named).into_bytes(),
            Format::Svg => flame::svg(&self.named, &self.subtitle).into_bytes(),
            Format::Pprof => pprof(self),
        }
    }
}

fn name(samples: &Samples, modules: &Modules) -> Named {
    let mut known: HashMap<(bool, u64), Vec<String>> = HashMap::new();
    let mut named = Named::new();
    for (stack, count) in &samples.stacks {
        let mut names = Vec::new();
        for (index, &address) in stack.addresses.iter().enumerate() {
            let is_kernel = index < stack.kernel;
            names.extend_from_slice(known.entry((is_kernel, address)).or_insert_with(|| {
                let mut names = Vec::new();
                if is_kernel {
                    names.push(modules.kernel_name(address));
                } else {
                    modules.name(address, &mut names);
                }
                names
            }));
        }
        names.extend(samples.threads.get(stack.thread).map(|thread| thread.name.clone()));
        names.reverse();
        *named.entry(names).or_default() += count;
    }
    named
}

fn folded(named: &Named) -> String {
    named.iter().map(|(names, count)| format!("{} {count}\n", names.join(";"))).collect()
}

/// `perftools.profiles.Profile` (proto/profile.proto of pprof), as far as it is used.
#[derive(Clone, PartialEq, Message)]
struct Profile {
    #[prost(message, repeated, tag = "1")]
    sample_type: Vec<ValueType>,
    #[prost(message, repeated, tag = "2")]
    sample: Vec<ProfileSample>,
    #[prost(message, repeated, tag = "4")]
    location: Vec<Location>,
    #[prost(message, repeated, tag = "5")]
    function: Vec<Function>,
    #[prost(string, repeated, tag = "6")]
    string_table: Vec<String>,
    #[prost(int64, tag = "10")]
    duration_nanos: i64,
    #[prost(message, optional, tag = "11")]
    period_type: Option<ValueType>,
    #[prost(int64, tag = "12")]
    period: i64,
}

#[derive(Clone, PartialEq, Message)]
struct ValueType {
    #[prost(int64, tag = "1")]
    kind: i64,
    #[prost(int64, tag = "2")]
    unit: i64,
}

#[derive(Clone, PartialEq, Message)]
struct ProfileSample {
    #[prost(uint64, repeated, tag = "1")]
    location_id: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    value: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct Location {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(message, repeated, tag = "4")]
    line: Vec<Line>,
}

#[derive(Clone, PartialEq, Message)]
struct Line {
    #[prost(uint64, tag = "1")]
    function_id: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Function {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(int64, tag = "2")]
    name: i64,
    #[prost(int64, tag = "3")]
    system_name: i64,
}

fn pprof(picture: &Picture) -> Vec<u8> {
    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let nanoseconds = |time: Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
    let period_ns = nanoseconds(picture.period);
    let strings = [&[""][..], &picture.values.concat()].concat();
    let mut profile = Profile {
        sample_type: vec![ValueType { kind: 1, unit: 2 }, ValueType { kind: 3, unit: 4 }],
        string_table: strings.into_iter().map(str::to_owned).collect(),
        duration_nanos: nanoseconds(picture.took),
        period_type: Some(ValueType { kind: 3, unit: 4 }),
        period: period_ns,
        ..Profile::default()
    };
    // A function is its name, and a location its function.
    let mut known: HashMap<&str, u64> = HashMap::new();
    for (names, &count) in &picture.named {
        let mut location_id = Vec::with_capacity(names.len());
        for name in names.iter().rev() {
            let next = known.len() as u64 + 1;
            let id = *known.entry(name).or_insert(next);
            if id == next {
                let text = signed(profile.string_table.len() as u64);
                profile.string_table.push(name.clone());
                profile.function.push(Function { id, name: text, system_name: text });
                profile.location.push(Location { id, line: vec![Line { function_id: id }] });
            }
            location_id.push(id);
        }
        let count = signed(count);
        profile.sample.push(ProfileSample { location_id, value: vec![count, count.saturating_mul(period_ns)] });
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    // Writing to memory cannot fail.
    let _ = encoder.write_all(&profile.encode_to_vec());
    encoder.finish().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn named() -> Named {
        let stack = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        Named::from([(stack(&["reactor-0", "run", "parse"]), 3), (stack(&["reactor-0", "run"]), 2)])
    }

    #[test]
    fn stacks_are_folded_from_the_outermost_on() {
        assert_eq!(folded(&named()), "reactor-0;run 2\nreactor-0;run;parse 3\n");
    }

    #[test]
    fn pprof_has_each_function_once_and_leaves_first() {
        let picture = Picture {
            named: named(),
            subtitle: String::new(),
            values: [["samples", "count"], ["cpu", "nanoseconds"]],
            period: Duration::from_millis(10),
            took: Duration::from_secs(1),
        };
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(&pprof(&picture)[..]).read_to_end(&mut plain).unwrap();
        let profile = Profile::decode(&plain[..]).unwrap();
        assert_eq!((profile.function.len(), profile.location.len(), profile.sample.len()), (3, 3, 2));
        let deepest = profile.sample.iter().find(|sample| sample.location_id.len() == 3).unwrap();
        let function = &profile.function[usize::try_from(deepest.location_id[0]).unwrap() - 1];
        assert_eq!(profile.string_table[usize::try_from(function.name).unwrap()], "parse");
        assert_eq!(deepest.value, [3, 30_000_000]);
    }
}
