//! What the documents say, held against the code: README tables, the configuration's schema.
//!
//! `UPDATE=1 cargo test --test docs` rewrites the tables of the README; the diff is the review.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test a panic is the message"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use fairlead::base::error::Kind;
use fairlead::base::metric::{COUNTERS, HISTOGRAMS, Row};
use fairlead::config;
use fairlead::dialect::embedding;
use fairlead::dialect::fates::Fate;
use fairlead::dialect::image::words::{Rule, Word};
use fairlead::dialect::openai::own::Api;
use fairlead::dialect::openai::{self, image::fields};
use fairlead::dialect::{Client, Upstream, anthropic, image};
use fairlead::pipeline::{FIELDS, Plan};
use fairlead::policy::prices::Prices;
use serde_json::{Value, json};

/// One test for all of them, because each may rewrite the file.
#[test]
fn the_tables_of_the_readme_are_what_the_code_says() {
    holds("configuration", &configuration());
    for &client in Client::ALL {
        holds(&format!("fates {}", client.name()), &fates(client));
    }
    holds("fates count_tokens", &count_fates());
    holds("embedding models", &embedding_models());
    holds("fates embeddings", &embedding_fates());
    holds("fates images", &image_fates());
    holds("words images", &image_words());
    holds("errors", &errors());
    holds("metrics", &metrics());
    holds("access log", &access_log());
}

/// The fate of every field of a chat.
fn fates(client: Client) -> String {
    fates_of(client.fields(), columns(|upstream| upstream.fates(client)))
}

/// Editions of one dialect share a column.
fn columns<'t>(table: impl Fn(Upstream) -> &'t [(&'t str, Fate)]) -> Vec<Column<'t>> {
    let mut columns: Vec<Column<'t>> = Vec::new();
    for &upstream in Upstream::ALL.iter().filter(|upstream| !table(**upstream).is_empty()) {
        let title = match upstream {
            Upstream::Converse | Upstream::Gemini => upstream.title(),
            Upstream::Messages(_) => "Claude's Messages API",
            Upstream::Completions(_) => "Chat completions",
        };
        let edition = (upstream.title(), table(upstream));
        match columns.last_mut().filter(|(known, _)| *known == title) {
            Some((_, editions)) => editions.push(edition),
            None => columns.push((title, vec![edition])),
        }
    }
    columns
}

/// The fate of every field of a count.
fn count_fates() -> String {
    fates_of(anthropic::fields::COUNT_FIELDS, columns(Upstream::count_fates))
}

/// The fate of every field of a request for images.
fn image_fates() -> String {
    let upstreams = image::Upstream::ALL.iter();
    let clouds = upstreams.map(|upstream| (upstream.title(), vec![("", upstream.fates())]));
    fates_of(fields::FIELDS, clouds.chain([("OpenAI", vec![("", Api::Images.fates())])]).collect())
}

/// What clients may say to the models that make images.
fn image_words() -> String {
    let mut table = String::from("| models | field | also called | value |\n| --- | --- | --- | --- |\n");
    for upstream in image::Upstream::ALL {
        for Word { name, aliases, rule } in upstream.words() {
            let value = match rule {
                Rule::Text(most) => format!("text of at most {most} characters"),
                Rule::Whole(least, most) => format!("whole number from {least} to {most}"),
                Rule::Number(least, most) => format!("number from {least} to {most}"),
                Rule::OneOf(words) => {
                    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
                }
                Rule::Bool => "`true`, `false`".to_owned(),
                Rule::Labels => "object of texts".to_owned(),
                Rule::List => "array".to_owned(),
                Rule::Refused(why) => format!("refused: {why}"),
            };
            let aliases: Vec<String> = aliases.iter().map(|alias| format!("`{alias}`")).collect();
            writeln!(table, "| {} | `{name}` | {} | {value} |", upstream.title(), aliases.join(", "))
                .unwrap();
        }
    }
    table
}

/// A title, and the tables of its editions with their titles.
type Column<'t> = (&'t str, Vec<(&'t str, &'t [(&'t str, Fate)])>);

/// A row for each field, a column for each upstream. Editions that differ are named.
fn fates_of(fields: &[&str], columns: Vec<Column<'_>>) -> String {
    let row = |field: &str, cells: &mut dyn Iterator<Item = String>| {
        let cells: Vec<String> = cells.collect();
        format!("| {field} | {} |\n", cells.join(" | "))
    };
    let mut table = row("field", &mut columns.iter().map(|(title, _)| (*title).to_owned()));
    table += &row("---", &mut columns.iter().map(|_| "---".to_owned()));
    for (index, field) in fields.iter().enumerate() {
        let mut cells = columns.iter().map(|(_, editions)| {
            let mut fates: Vec<(String, Vec<&str>)> = Vec::new();
            for (title, table) in editions {
                let (name, fate) = table[index];
                assert_eq!(name, *field, "the table of {title} has another order");
                let fate = match fate {
                    Fate::Mapped(to) => to.to_owned(),
                    Fate::Dropped => "left out, named in `x-fairlead-dropped`".to_owned(),
                    Fate::Refused(way_out) => format!("refused: {way_out}"),
                };
                match fates.iter_mut().find(|(known, _)| *known == fate) {
                    Some((_, titles)) => titles.push(title),
                    None => fates.push((fate, vec![title])),
                }
            }
            match fates.as_slice() {
                [(fate, _)] => fate.clone(),
                fates => {
                    let named = fates.iter().map(|(fate, titles)| format!("{}: {fate}", titles.join(", ")));
                    named.collect::<Vec<_>>().join("; ")
                }
            }
        });
        table += &row(&format!("`{field}`"), &mut cells);
    }
    let mut tables = columns.iter().flat_map(|(_, editions)| editions);
    assert!(tables.all(|(_, table)| table.len() == fields.len()), "a table has more rows");
    table
}

/// Every model that makes embeddings.
fn embedding_models() -> String {
    let mut table = String::from(
        "| models | texts in a call | or pictures | `dimensions` |\n| --- | --- | --- | --- |\n",
    );
    for (prefix, models) in [("bedrock/", embedding::BEDROCK), ("vertex_ai/", embedding::VERTEX)] {
        for model in models {
            let sizes: Vec<String> = model.sizes.iter().map(u64::to_string).collect();
            let sizes = if sizes.is_empty() { "as the cloud says".to_owned() } else { sizes.join(", ") };
            writeln!(table, "| `{prefix}{}…` | {} | {} | {sizes} |", model.name, model.texts, model.images)
                .unwrap();
        }
    }
    table
}

/// The fate of every field of a request for embeddings.
fn embedding_fates() -> String {
    let mut upstreams: Vec<embedding::Upstream> = Vec::new();
    for model in embedding::BEDROCK.iter().chain(embedding::VERTEX) {
        if !upstreams.iter().any(|known| known.title() == model.upstream.title()) {
            upstreams.push(model.upstream);
        }
    }
    let clouds = upstreams.iter().map(|upstream| (upstream.title(), vec![("", upstream.fates())]));
    let own = [("OpenAI", vec![("", Api::Embeddings.fates())])];
    fates_of(openai::embedding::FIELDS, clouds.chain(own).collect())
}

/// Every kind of error.
fn errors() -> String {
    let mut table = String::from(
        "| status | OpenAI's `type` | `code` | Anthropic's `type` | when |\n| --- | --- | --- | --- | --- |\n",
    );
    for kind in Kind::ALL {
        let row = kind.row();
        let code = row.openai_code.map_or("`null`".to_owned(), |code| format!("`{code}`"));
        let (status, openai, anthropic) = (row.status, row.openai_type, row.anthropic_type);
        writeln!(table, "| {status} | `{openai}` | {code} | `{anthropic}` | {} |", row.meaning).unwrap();
    }
    table
}

/// Every counter.
fn metrics() -> String {
    let mut table = String::from("| metric | labels | what it counts |\n| --- | --- | --- |\n");
    for Row { name, labels, meaning } in COUNTERS.iter().chain(HISTOGRAMS) {
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        writeln!(table, "| `{name}` | {} | {meaning} |", labels.join(", ")).unwrap();
    }
    table
}

/// A budget would refuse them without.
#[test]
fn every_model_that_the_readme_names_has_a_price() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let prices = Prices::compile(&[], &mut config::Problems::default());
    let mut names = BTreeSet::new();
    for provider in config::Provider::ALL {
        for (at, prefix) in readme.match_indices(provider.prefix()) {
            // Not a part of another name, and not the end of a sentence.
            let inside = readme[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || "/-_.@".contains(c));
            let rest = &readme[at + prefix.len()..];
            let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "-_.:@/".contains(c)));
            let model = rest[..end.unwrap_or(rest.len())].trim_end_matches(['.', ':']);
            // What an account has made itself has no list price.
            if !inside
                && model.contains('-')
                && !model.starts_with("arn:")
                && !rest[model.len()..].starts_with('*')
            {
                names.insert(format!("{prefix}{model}"));
            }
        }
    }
    assert!(names.len() > 20, "{names:?}");
    // Some are the beginning of several.
    let list: Value =
        serde_json::from_str(&fs::read_to_string(root().join("src/policy/prices.json")).unwrap()).unwrap();
    let patterns: Vec<&str> =
        list["prices"].as_array().unwrap().iter().map(|price| price["model"].as_str().unwrap()).collect();
    let begins = |name: &str| {
        let (provider, model) = name.split_once('/').unwrap();
        patterns.iter().any(|pattern| pattern.starts_with(provider) && pattern.contains(model))
    };
    let missing: Vec<&String> =
        names.iter().filter(|name| prices.find(name).is_none() && !begins(name)).collect();
    // An experiment and a family from before: the public list has no prices of them.
    assert_eq!(missing, ["vertex_ai/gemini-embedding-exp", "vertex_ai/textembedding-gecko"]);
}

#[test]
fn the_dashboard_shows_every_metric_by_labels_that_it_has() {
    let dashboard = fs::read_to_string(root().join("envoy/dashboard.json")).unwrap();
    let mut shown = BTreeSet::new();
    for question in dashboard.lines().filter(|line| line.contains("\"expr\": ")) {
        let words: Vec<&str> = question
            .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .filter(|word| !word.is_empty())
            .collect();
        let row = COUNTERS.iter().chain(HISTOGRAMS).find(|row| {
            words.iter().any(|word| *word == row.name || word.strip_suffix("_bucket") == Some(row.name))
        });
        let row = row.unwrap_or_else(|| panic!("{question}"));
        shown.insert(row.name);
        for label in [
            "team",
            "model",
            "status",
            "reason",
            "limit",
            "token_type",
            "field",
            "upstream",
            "backend",
            "outcome",
        ] {
            // `by (team)`, or `team=~`.
            assert!(!words.contains(&label) || row.labels.contains(&label), "{label} in {question}");
        }
    }
    let all: BTreeSet<&str> = COUNTERS.iter().chain(HISTOGRAMS).map(|row| row.name).collect();
    assert_eq!(shown, all);
}

/// The fields of the access log.
fn access_log() -> String {
    let mut table = String::from("| filter state | what it says |\n| --- | --- |\n");
    for (name, meaning) in FIELDS {
        writeln!(table, "| `wasm.fairlead.{name}` | {meaning} |").unwrap();
    }
    table
}

#[test]
fn the_examples_of_access_logs_name_what_there_is() {
    for file in ["gateway.yaml", "oidc.yaml", "fallback.yaml", "fleet.yaml", "parts/opentelemetry.yaml"] {
        let example = fs::read_to_string(root().join("envoy").join(file)).unwrap();
        let named: Vec<&str> = example
            .split("FILTER_STATE(wasm.fairlead.")
            .skip(1)
            .filter_map(|rest| rest.split_once(":PLAIN)%").map(|(name, _)| name))
            .collect();
        assert!(named.len() > 4, "{file}");
        for name in named {
            assert!(FIELDS.iter().any(|(known, _)| *known == name), "{file}: {name}");
        }
    }
}

#[test]
fn every_label_is_taken_out_of_its_name_by_the_examples_of_envoy() {
    let labels: BTreeSet<&str> =
        COUNTERS.iter().chain(HISTOGRAMS).flat_map(|row| row.labels).copied().collect();
    for file in ["gateway.yaml", "oidc.yaml", "fallback.yaml", "fleet.yaml"] {
        let example = fs::read_to_string(root().join("envoy").join(file)).unwrap();
        let written: BTreeSet<&str> = example
            .lines()
            .filter_map(|line| line.trim().strip_prefix("- { tag_name: ")?.split(',').next())
            .collect();
        assert_eq!(written, labels, "{file}");
        for label in &labels {
            let regex = format!(r"wasmcustom\.(?:fairlead|gen_ai)_.*?(;{label}=([^;]*))'");
            // What a filter of a cluster counts has the cluster's name before it in Envoy 1.36.
            let begins = [r"'^", r"'^(?:cluster\..*?\.)?"]
                .iter()
                .any(|start| example.contains(&format!("{start}{regex}")));
            assert!(begins, "{file}: {label}");
        }
    }
}

/// Every field of the configuration.
fn configuration() -> String {
    let schema = schema();
    let mut table = String::from("| field | meaning |\n| --- | --- |\n");
    for (prefix, object) in [
        ("", &schema),
        ("backends.*.", &schema["$defs"]["backend"]),
        ("backends.*.credentials.", &schema["$defs"]["credentials"]),
        ("backends.*.credentials.clusters.", &schema["$defs"]["clusters"]),
        ("backends.*.credentials.assume_role.", &schema["$defs"]["assumeRole"]),
        ("backends.*.credentials.impersonate.", &schema["$defs"]["impersonate"]),
        ("models[].", &schema["$defs"]["model"]),
        ("models[].targets[].", &schema["$defs"]["target"]),
        ("chains[].", &schema["$defs"]["chain"]),
        ("limits.", &schema["$defs"]["limits"]),
        ("teams.*.", &schema["$defs"]["team"]),
        ("teams.*.keys[].", &schema["$defs"]["key"]),
        ("teams.*.credentials.*.", &schema["$defs"]["teamCredentials"]),
        ("teams.*.limits.", &schema["$defs"]["teamQuota"]),
        ("teams.*.limits.budget.", &schema["$defs"]["budget"]),
        ("identity.", &schema["$defs"]["identity"]),
        ("admin.", &schema["$defs"]["admin"]),
        ("prices[].", &schema["$defs"]["price"]),
        ("prices[].long.", &schema["$defs"]["long"]),
    ] {
        for (name, property) in object["properties"].as_object().unwrap() {
            let Some(meaning) = property["description"].as_str() else { continue };
            writeln!(table, "| `{prefix}{name}` | {meaning} |").unwrap();
        }
    }
    table
}

#[test]
fn the_readme_configures_with_the_example_of_envoy() {
    let example = fs::read_to_string(root().join("envoy/plugin.json")).unwrap();
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let first = readme.split("```json\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    assert_eq!(parse(first), parse(&example), "README's configuration is not envoy/plugin.json");
}

/// What the README shows beside the example is taken with it.
#[test]
fn the_readmes_teams_are_a_configuration() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let section = readme.split("## Teams and limits").nth(1).unwrap();
    let teams: Value =
        serde_json::from_str(section.split("```json\n").nth(1).unwrap().split("```").next().unwrap())
            .unwrap();
    let example = fs::read_to_string(root().join("envoy/plugin.json")).unwrap();
    let mut whole: Value = serde_json::from_str(&example).unwrap();
    whole.as_object_mut().unwrap().extend(teams.as_object().unwrap().clone());
    let variables =
        ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"].map(|name| (name.to_owned(), "x".to_owned()));
    Plan::compile(whole.to_string().as_bytes(), &variables.into()).unwrap();
}

#[test]
fn the_readmes_other_backends_are_a_configuration() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let section = readme.split("own APIs are backends too").nth(1).unwrap();
    let json = section.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
    let keys = ["ANTHROPIC_API_KEY", "OPENAI_API_KEY", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
    let variables = keys.map(|name| (name.to_owned(), "x".to_owned()));
    Plan::compile(json.as_bytes(), &variables.into()).unwrap();
    let gateway = fs::read_to_string(root().join("envoy/gateway.yaml")).unwrap();
    for cluster in ["anthropic", "openai"] {
        assert!(gateway.contains(&format!("- name: {cluster}\n")), "no cluster {cluster}");
    }
}

/// serde tells every name it would have taken where it finds one it does not know.
#[test]
fn the_schema_names_exactly_the_fields_that_the_code_reads() {
    let schema = schema();
    let example: Value =
        serde_json::from_str(&fs::read_to_string(root().join("envoy/plugin.json")).unwrap()).unwrap();
    let quota = json!({
        "requests_per_minute": 1, "tokens_per_minute": 1, "concurrent_requests": 1,
        "budget": { "usd": 1, "per": "1d" }
    });
    let mut team_quota = quota.clone();
    team_quota["models"] = json!({ "*": quota });
    let key = json!({ "sha256": "0", "name": "n", "expires": "e", "limits": quota });
    let own = json!({ "b": { "role_arn": "r" } });
    let team =
        json!({ "keys": [key], "identities": [], "models": [], "limits": team_quota, "credentials": own });
    let full = [
        ("limits", json!({ "request_bytes": 1, "total": quota, "leave_cluster": "c" })),
        ("teams", json!({ "a": team })),
        ("identity", json!({ "metadata": [], "header": "h" })),
        ("admin", json!({ "keys": [{ "sha256": "0" }] })),
        (
            "prices",
            json!([{ "model": "*", "input": 1, "output": 1, "tiers": { "flex": { "long": { "above": 1 } } } }]),
        ),
        ("drop_params", json!(true)),
        ("latch", json!(false)),
        ("chains", json!([{ "cluster": "c", "backends": [] }])),
    ];
    let whole = |mut config: Value| {
        full.iter().for_each(|(name, value)| config[name] = value.clone());
        config["models"][0]["targets"] = json!([{ "backend": "b" }]);
        config["backends"]["bedrock-us-east-1"]["limits"] = quota.clone();
        let credentials = &mut config["backends"]["bedrock-us-east-1"]["credentials"];
        credentials["clusters"] = json!({});
        credentials["assume_role"] = json!({ "role_arn": "r" });
        credentials["impersonate"] = json!({ "service_account": "s" });
        config
    };
    for (pointer, object) in [
        ("", &schema),
        ("/backends/bedrock-us-east-1", &schema["$defs"]["backend"]),
        ("/backends/bedrock-us-east-1/credentials", &schema["$defs"]["credentials"]),
        ("/backends/bedrock-us-east-1/credentials/clusters", &schema["$defs"]["clusters"]),
        ("/backends/bedrock-us-east-1/credentials/assume_role", &schema["$defs"]["assumeRole"]),
        ("/backends/bedrock-us-east-1/credentials/impersonate", &schema["$defs"]["impersonate"]),
        ("/teams/a/credentials/b", &schema["$defs"]["teamCredentials"]),
        ("/models/0", &schema["$defs"]["model"]),
        ("/models/0/targets/0", &schema["$defs"]["target"]),
        ("/chains/0", &schema["$defs"]["chain"]),
        ("/backends/bedrock-us-east-1/limits", &schema["$defs"]["quota"]),
        ("/limits", &schema["$defs"]["limits"]),
        ("/limits/total", &schema["$defs"]["quota"]),
        ("/limits/total/budget", &schema["$defs"]["budget"]),
        ("/teams/a", &schema["$defs"]["team"]),
        ("/teams/a/keys/0", &schema["$defs"]["key"]),
        ("/teams/a/limits", &schema["$defs"]["teamQuota"]),
        ("/identity", &schema["$defs"]["identity"]),
        ("/admin", &schema["$defs"]["admin"]),
        ("/admin/keys/0", &schema["$defs"]["adminKey"]),
        ("/prices/0", &schema["$defs"]["price"]),
        ("/prices/0/tiers", &schema["$defs"]["price"]["properties"]["tiers"]),
        ("/prices/0/tiers/flex", &schema["$defs"]["tariff"]),
        ("/prices/0/tiers/flex/long", &schema["$defs"]["long"]),
    ] {
        let mut broken = whole(example.clone());
        broken.pointer_mut(pointer).unwrap()["xyzzy"] = json!(1);
        let problems = config::parse(broken.to_string().as_bytes()).unwrap_err();
        let message = problems.to_string();
        let known: BTreeSet<&str> =
            message.split("expected ").nth(1).unwrap().split('`').skip(1).step_by(2).collect();
        let written: BTreeSet<&str> =
            object["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(known, written, "at {pointer:?}: {message}");

        let required: BTreeSet<&str> =
            object["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for name in &written {
            let mut without = whole(example.clone());
            without.pointer_mut(pointer).unwrap().as_object_mut().unwrap().remove(*name);
            let refused = config::parse(without.to_string().as_bytes()).is_err();
            assert_eq!(refused, required.contains(name), "{pointer}/{name} required");
        }
    }
}

/// Compares a block of the README, between `<!-- name -->` and `<!-- /name -->`, with what the code says.
fn holds(name: &str, table: &str) {
    let path = root().join("README.md");
    let readme = fs::read_to_string(&path).unwrap();
    let (before, rest) = readme.split_once(&format!("<!-- {name} -->\n")).expect("the block's beginning");
    let (block, after) = rest.split_once(&format!("<!-- /{name} -->")).expect("the block's end");
    if block == table {
        return;
    }
    assert!(
        std::env::var("UPDATE").is_ok(),
        "README's table `{name}` is not what the code says; UPDATE=1 rewrites it"
    );
    fs::write(path, format!("{before}<!-- {name} -->\n{table}<!-- /{name} -->{after}")).unwrap();
}

fn schema() -> Value {
    serde_json::from_str(&fs::read_to_string(root().join("envoy/plugin.schema.json")).unwrap()).unwrap()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

#[test]
fn every_heading_that_the_readme_links_to_exists() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let anchors: BTreeMap<String, ()> = readme
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let anchor: String = title
                .chars()
                .filter(|c| c.is_alphanumeric() || " -".contains(*c))
                .map(|c| if c == ' ' { '-' } else { c })
                .collect();
            (anchor, ())
        })
        .collect();
    for link in readme.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        if let Some(anchor) = link.strip_prefix('#') {
            assert!(anchors.contains_key(anchor), "no heading for #{anchor}");
        } else if !link.starts_with("http") {
            assert!(root().join(link).exists(), "README links to {link}, which is not there");
        }
    }
}
