//! Parameters of agents' requests that are misspelled. Agents send parameters of their own, which mean nothing here and
//! are ignored; but one that is nearly a parameter of this server was meant for it, and ignoring it would silently
//! store at another level, or with another unit of time, than the client believes.

use http1::Encoded;

/// The parameters that have an effect, and the typing errors by which a name may differ from each to be meant for it.
const PARAMETERS: [(&str, usize); 2] = [("ack", 1), ("precision", 2)];
/// Bytes of a name that can be so near.
const NAME_BYTES_MAX: usize = "precision".len() + 2;

/// The parameter that `name` is a misspelling of.
#[must_use]
pub fn misspelled(name: Encoded<'_>) -> Option<&'static str> {
    let mut buffer = [0; NAME_BYTES_MAX];
    let name = name.decode(&mut buffer)?;
    let is_near = |&(known, typos): &(&str, usize)| {
        name != known
            && name.len().abs_diff(known.len()) <= typos
            && strsim::osa_distance(&name.to_ascii_lowercase(), known) <= typos
    };
    PARAMETERS.iter().find(|near| is_near(near)).map(|(known, _)| *known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http1::parameters;

    #[test]
    fn near_names_are_misspelled_and_others_are_an_agents_own() {
        let of = |name: &str| misspelled(parameters(Some(&format!("{name}=x"))).next().unwrap().0);
        for name in ["akc", "ACK", "Ack", "ak", "acks", "%61kc", "ack%20", "qck"] {
            assert_eq!(of(name), Some("ack"), "{name}");
        }
        for name in ["precison", "Precision", "presicion", "precisions", "percision"] {
            assert_eq!(of(name), Some("precision"), "{name}");
        }
        // What agents send to any of the paths, and what their users may add.
        for name in [
            "ack",
            "precision",
            "db",
            "rp",
            "u",
            "p",
            "q",
            "org",
            "orgID",
            "bucket",
            "consistency",
            "api_key",
            "application_key",
            "extra_label",
            "extra_filters",
            "timestamp",
            "tenant",
            "accountID",
            "",
        ] {
            assert_eq!(of(name), None, "{name}");
        }
    }
}
