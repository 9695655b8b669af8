//! What is counted, and the names under which Envoy keeps the counts.

/// A counter, with the values of its labels. Envoy keeps each combination for ever, so a value is never
/// what a client may choose freely.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Counter<'a> {
    /// A field of a request was left out. `field` is its path where it is documented, else [`OTHER`].
    Dropped { field: &'a str, upstream: &'a str },
    /// A request has got its answer, or its client has gone (499). `model` is the rule of the configuration.
    Requests { team: &'a str, model: &'a str, status: &'a str },
    /// The gateway itself has refused a request.
    Refused { team: &'a str, reason: &'a str },
    /// A request was let in that filled a limit to 80 % or more.
    NearLimit { team: &'a str, limit: &'a str },
    /// Tokens as the clouds counted them. `kind`s add up: input that came from the cache or went to it is
    /// not among the `input`.
    Tokens { team: &'a str, model: &'a str, kind: &'a str },
    /// Tokens that the clouds will bill for tries that came to nothing; not among the others.
    Wasted { team: &'a str, model: &'a str },
    /// A try at a backend has ended.
    Tries { backend: &'a str, outcome: &'a str },
    /// Credentials were fetched, or could not be.
    Credentials { backend: &'a str, outcome: &'a str },
    /// What they cost, in billionths of a dollar.
    Cost { team: &'a str, model: &'a str },
}

/// Times, with the values of their labels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Histogram<'a> {
    /// From a request's headers to its end, in milliseconds.
    Duration { team: &'a str, model: &'a str },
    /// From a request's headers to the first bytes of its reply, in milliseconds.
    FirstToken { team: &'a str, model: &'a str },
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

const REQUESTS: Row = Row {
    name: "fairlead_requests_total",
    labels: &["team", "model", "status"],
    meaning: "requests by the rule of `models` that they matched; 499: the client has gone",
};

const REFUSED: Row = Row {
    name: "fairlead_refused_total",
    labels: &["team", "reason"],
    meaning: "requests that the gateway refused: `key`, `model`, `limit` or `budget`",
};

const NEAR_LIMIT: Row = Row {
    name: "fairlead_near_limit_total",
    labels: &["team", "limit"],
    meaning: "requests that were let in and filled a limit of the team, its key, the model or everyone to 80 % or \
              more; `limit` is its name in the configuration",
};

const TOKENS: Row = Row {
    name: "gen_ai_client_token_usage_total",
    labels: &["team", "model", "token_type"],
    meaning: "tokens: `input` and `output`, `cache_read` and `cache_write` beside `input`",
};

const WASTED: Row = Row {
    name: "fairlead_failed_try_tokens_total",
    labels: &["team", "model"],
    meaning: "tokens of tries that failed after the request had left, which nobody is charged for here",
};

const TRIES: Row = Row {
    name: "fairlead_tries_total",
    labels: &["backend", "outcome"],
    meaning: "tries at a backend: `ok`, `throttled`, `overloaded`, `denied` and `no_credentials` (somebody should \
        look at once), `failed`, `garbled`, `timeout`, `unreachable`, `refused` (the request's fault), `lost` (no \
        answer: the connection failed, the cloud was silent, or the client has gone)",
};

const CREDENTIALS: Row = Row {
    name: "fairlead_credential_fetches_total",
    labels: &["backend", "outcome"],
    meaning: "fetches of credentials: `ok`, `unreachable`, `refused` (somebody should look at once), `failed`, `garbled`; \
        those of a source that several backends have count for the first of them",
};

const COST: Row = Row {
    name: "fairlead_cost_nanodollars_total",
    labels: &["team", "model"],
    meaning: "cost in billionths of a US dollar, by the prices of the configuration",
};

const DURATION: Row = Row {
    name: "gen_ai_server_request_duration_milliseconds",
    labels: &["team", "model"],
    meaning: "time from a request's headers to its end",
};

const FIRST_TOKEN: Row = Row {
    name: "gen_ai_server_time_to_first_token_milliseconds",
    labels: &["team", "model"],
    meaning: "time from a request's headers to the first bytes of its reply",
};

/// Every counter. Names that begin with `gen_ai` are those of OpenTelemetry's semantic conventions for
/// generative AI: opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics.
pub const COUNTERS: &[Row] =
    &[REQUESTS, TOKENS, WASTED, COST, TRIES, CREDENTIALS, REFUSED, NEAR_LIMIT, DROPPED];

/// Every histogram.
pub const HISTOGRAMS: &[Row] = &[DURATION, FIRST_TOKEN];

impl Counter<'_> {
    /// Appends the name that Envoy keeps: `fairlead_dropped_total;field=seed;upstream=converse`, the form that
    /// Graphite has for tagged series (graphite.readthedocs.io/en/latest/tags.html). Envoy's own separator, the
    /// dot, would not do: it stands inside of values, such as ids of models. The `stats_tags` of
    /// envoy/gateway.yaml make labels of the rest for Prometheus and other sinks that know labels.
    pub fn write_name(&self, out: &mut String) {
        match *self {
            Counter::Dropped { field, upstream } => write_name(&DROPPED, &[field, upstream], out),
            Counter::Requests { team, model, status } => write_name(&REQUESTS, &[team, model, status], out),
            Counter::Refused { team, reason } => write_name(&REFUSED, &[team, reason], out),
            Counter::NearLimit { team, limit } => write_name(&NEAR_LIMIT, &[team, limit], out),
            Counter::Tokens { team, model, kind } => write_name(&TOKENS, &[team, model, kind], out),
            Counter::Wasted { team, model } => write_name(&WASTED, &[team, model], out),
            Counter::Tries { backend, outcome } => write_name(&TRIES, &[backend, outcome], out),
            Counter::Credentials { backend, outcome } => write_name(&CREDENTIALS, &[backend, outcome], out),
            Counter::Cost { team, model } => write_name(&COST, &[team, model], out),
        }
    }
}

impl Histogram<'_> {
    /// As [`Counter::write_name`].
    pub fn write_name(&self, out: &mut String) {
        match *self {
            Histogram::Duration { team, model } => write_name(&DURATION, &[team, model], out),
            Histogram::FirstToken { team, model } => write_name(&FIRST_TOKEN, &[team, model], out),
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
