//! What is counted, and the names under which Envoy keeps the counts.

/// A counter, with the values of its labels. Envoy keeps each combination for ever, so a value is never
/// what a client may choose freely.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Counter<'a> {
    /// A field of a request was left out. `field` is its path where it is documented, else [`OTHER`].
    Dropped { field: &'a str, upstream: &'a str },
}

/// The value of a label for everything that has no value of its own.
pub const OTHER: &str = "other";

/// A row of the README's table: the name as Prometheus has it, the labels, and what is counted.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub name: &'static str,
    pub labels: &'static [&'static str],
    pub meaning: &'static str,
}

const DROPPED: Row = Row {
    name: "fairlead_dropped_total",
    labels: &["field", "upstream"],
    meaning: "fields of requests that were left out; `other` for those that no API documents",
};

/// Every counter.
pub const COUNTERS: &[Row] = &[DROPPED];

impl Counter<'_> {
    /// Appends the name that Envoy keeps: `fairlead_dropped_total;field=seed;upstream=converse`, the form that
    /// Graphite has for tagged series (graphite.readthedocs.io/en/latest/tags.html). Envoy's own separator, the
    /// dot, would not do: it stands inside of values, such as ids of models. The `stats_tags` of
    /// envoy/gateway.yaml make labels of the rest for Prometheus and other sinks that know labels.
    pub fn write_name(&self, out: &mut String) {
        match *self {
            Counter::Dropped { field, upstream } => write_name(&DROPPED, &[field, upstream], out),
        }
    }
}

fn write_name(row: &Row, values: &[&str], out: &mut String) {
    out.push_str(row.name);
    for (label, value) in row.labels.iter().zip(values) {
        out.push(';');
        out.push_str(label);
        out.push('=');
        // What ends a label, and what ends a name in the protocol of statsd.
        out.extend(value.chars().map(|c| if c.is_ascii_graphic() && !";:|@#".contains(c) { c } else { '_' }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_end_its_label() {
        let mut name = String::new();
        Counter::Dropped { field: "tools[].strict", upstream: "a;b:c d=é" }.write_name(&mut name);
        assert_eq!(name, "fairlead_dropped_total;field=tools[].strict;upstream=a_b_c_d=_");
    }
}
