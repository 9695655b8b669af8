//! What tokens and images cost: the operator's prices, and behind them the list that comes with the plugin.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use serde::Deserialize;

use super::pattern::Pattern;
use crate::chat::{Tier, Usage};
use crate::config::{Problems, teams};

/// The list that comes with the plugin: list prices on demand, with those of very long prompts and of service
/// tiers, put together from the public price data of LiteLLM 1.109.1, where AWS's and Google's pages are gathered.
/// Claude 4 and 4.1 on Vertex AI, which it has no more, cost what they do on Bedrock. Prices change: whoever bills by
/// them writes their own.
const SHIPPED: &str = include_str!("prices.json");

/// How many names of models are remembered with their price. Clients make up names under a rule such as
/// `bedrock/*`; when there are more, all are forgotten and looked up again.
const MOST_REMEMBERED: usize = 1024;

thread_local! {
    /// The list that comes with the plugin; compiled once, because it is the same for every configuration.
    static LIST: Result<Rc<List>, Problems> = List::compile().map(Rc::new);
}

/// Prices by patterns of full names.
#[derive(Debug, Default)]
pub struct Prices {
    /// The operator's.
    own: Vec<Rule>,
    /// Those that come with the plugin.
    list: Rc<List>,
    /// Names that were looked up.
    known: RefCell<HashMap<String, Option<Price>>>,
}

type Rule = (Pattern, Price);

#[derive(Debug, Default)]
struct List {
    as_of: String,
    rules: Vec<Rule>,
}

/// What a model costs.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Price {
    standard: Tariff,
    flex: Option<Tariff>,
    priority: Option<Tariff>,
    /// One image, in billionths of a dollar.
    image: f64,
}

/// What a service tier costs.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
struct Tariff {
    rates: Rates,
    /// What all tokens cost of a request whose input is longer than so many.
    long: Option<(u64, Rates)>,
}

/// What a token costs by its kind, in billionths of a dollar.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
struct Rates {
    input: f64,
    output: f64,
    cache_read: f64,
    cache_write: f64,
    cache_write_hour: f64,
}

#[derive(Deserialize)]
struct Shipped {
    as_of: String,
    prices: Vec<teams::Price>,
}

impl Prices {
    /// Checks the operator's prices; adds every problem with its path. They go before those of the plugin,
    /// and among each the pattern that says most goes first.
    pub fn compile(written: &[teams::Price], problems: &mut Problems) -> Self {
        let mut own = Vec::new();
        for (index, price) in written.iter().enumerate() {
            let again = written.iter().take(index).any(|other| other.model == price.model);
            if again {
                let problem = "is the pattern of another price too; remove one of them";
                problems.add(&format!("prices[{index}].model"), problem);
            }
            own.push((
                Pattern::new(&price.model),
                Price::compile(price, &format!("prices[{index}]"), problems),
            ));
        }
        own.sort_by_key(weightiest_first);
        let list = LIST.with(|list| match list {
            Ok(list) => Rc::clone(list),
            Err(faults) => {
                problems.0.extend(faults.0.iter().cloned());
                Rc::default()
            }
        });
        Self { own, list, known: RefCell::default() }
    }

    /// The price of a model by its full name, such as `bedrock/us.amazon.nova-lite-v1:0`.
    pub fn find(&self, name: &str) -> Option<Price> {
        let mut known = self.known.borrow_mut();
        if let Some(price) = known.get(name) {
            return *price;
        }
        let mut rules = self.own.iter().chain(&self.list.rules);
        let price = rules.find(|(pattern, _)| pattern.matches(name)).map(|(_, price)| *price);
        if known.len() >= MOST_REMEMBERED {
            known.clear();
        }
        known.insert(name.to_owned(), price);
        price
    }
}

impl List {
    fn compile() -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let shipped: Shipped = serde_json::from_str(SHIPPED).map_err(|error| {
            Problems(vec![("(the price list of the plugin)".to_owned(), format!("cannot be read: {error}"))])
        })?;
        let compile = |price: &teams::Price| {
            (Pattern::new(&price.model), Price::compile(price, "the price list", &mut problems))
        };
        let mut rules: Vec<Rule> = shipped.prices.iter().map(compile).collect();
        rules.sort_by_key(weightiest_first);
        if problems.0.is_empty() { Ok(Self { as_of: shipped.as_of, rules }) } else { Err(problems) }
    }
}

/// When the list that comes with the plugin was made: a date.
pub fn as_of() -> String {
    LIST.with(|list| list.as_ref().map_or_else(|_| String::new(), |list| list.as_of.clone()))
}

fn weightiest_first((pattern, _): &Rule) -> std::cmp::Reverse<usize> {
    std::cmp::Reverse(pattern.weight())
}

impl Price {
    fn compile(written: &teams::Price, path: &str, problems: &mut Problems) -> Self {
        let teams::Price { input, output, cache_read, cache_write, cache_write_hour, .. } = *written;
        let given = [input, output, cache_read, cache_write, cache_write_hour];
        let standard = Tariff::compile(given, written.long.as_ref(), None, path, problems);
        let mut tier = |name: &str, written: &Option<teams::Tariff>| {
            let written = written.as_ref()?;
            let teams::Tariff { input, output, cache_read, cache_write, cache_write_hour, .. } = *written;
            let given = [input, output, cache_read, cache_write, cache_write_hour];
            let path = format!("{path}.tiers.{name}");
            Some(Tariff::compile(given, written.long.as_ref(), Some(standard), &path, problems))
        };
        let flex = tier("flex", &written.tiers.flex);
        let priority = tier("priority", &written.tiers.priority);
        let image = nano(written.image, &format!("{path}.image"), problems).unwrap_or_default();
        Self { standard, flex, priority, image: image * 1e6 }
    }

    /// What a reply cost, in billionths of a dollar, by the tier that the cloud has named.
    pub fn of(&self, usage: &Usage, images: u64, tier: Option<Tier>) -> u64 {
        let tariff = match tier {
            Some(Tier::Flex) => self.flex,
            Some(Tier::Priority) => self.priority,
            // What is reserved was paid for in another way; what it would cost is nearest to the truth.
            Some(Tier::Standard | Tier::Reserved) | None => None,
        };
        self.by(tariff.unwrap_or(self.standard), usage, images)
    }

    /// The most that it may cost, in whatever tier.
    pub fn most(&self, usage: &Usage, images: u64) -> u64 {
        let tiers = [Some(self.standard), self.flex, self.priority];
        tiers.into_iter().flatten().map(|tariff| self.by(tariff, usage, images)).max().unwrap_or_default()
    }

    fn by(&self, tariff: Tariff, usage: &Usage, images: u64) -> u64 {
        let rates = tariff.rates(usage.input);
        let cached = usage.cache_read.saturating_add(usage.cache_write);
        let short = usage.cache_write.saturating_sub(usage.cache_write_hour);
        // A price for an image is that of the tokens that it is made of.
        let output = if images > 0 && self.image > 0.0 { 0 } else { usage.output };
        let parts = [
            (usage.input.saturating_sub(cached), rates.input),
            (usage.cache_read, rates.cache_read),
            (short, rates.cache_write),
            (usage.cache_write_hour, rates.cache_write_hour),
            (output, rates.output),
            (images, self.image),
        ];
        #[allow(clippy::cast_precision_loss, reason = "counts of tokens are far below 2^52")]
        let sum: f64 = parts.iter().map(|(count, price)| *count as f64 * price).sum();
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "no price is negative, and `as` stops at the largest number"
        )]
        let nano = sum.round() as u64;
        nano
    }
}

/// Prices as they are written, in the order of the fields of [`Rates`].
type Given = [Option<f64>; 5];

impl Tariff {
    /// `standard` is what a tier costs where it does not say; a tier's own prices are those of short requests.
    fn compile(
        given: Given,
        long: Option<&teams::Long>,
        standard: Option<Tariff>,
        path: &str,
        problems: &mut Problems,
    ) -> Self {
        let rates = Rates::compile(given, standard.map(|tariff| tariff.rates), path, problems);
        let long = long.map(|long| {
            let teams::Long { above, input, output, cache_read, cache_write, cache_write_hour } = *long;
            let given = [input, output, cache_read, cache_write, cache_write_hour];
            (above, Rates::compile(given, Some(rates), &format!("{path}.long"), problems))
        });
        Self { rates, long }
    }

    /// What a token costs of a request with so many tokens in its input.
    fn rates(&self, input: u64) -> Rates {
        self.long.filter(|(above, _)| input > *above).map_or(self.rates, |(_, rates)| rates)
    }
}

impl Rates {
    /// `other` has the prices that are not given. Without it tokens are free, and those of the cache cost what
    /// others of the input do.
    fn compile(given: Given, other: Option<Rates>, path: &str, problems: &mut Problems) -> Self {
        const NAMES: [&str; 5] = ["input", "output", "cache_read", "cache_write", "cache_write_hour"];
        let mut prices = NAMES.into_iter().zip(given);
        let mut next = |other: f64| {
            let (name, usd) = prices.next().unwrap_or_default();
            nano(usd, &format!("{path}.{name}"), problems).unwrap_or(other)
        };
        let fallback = other.unwrap_or_default();
        let (input, output) = (next(fallback.input), next(fallback.output));
        let cache_read = next(other.map_or(input, |other| other.cache_read));
        let cache_write = next(other.map_or(input, |other| other.cache_write));
        let cache_write_hour = next(other.map_or(cache_write, |other| other.cache_write_hour));
        Self { input, output, cache_read, cache_write, cache_write_hour }
    }
}

/// A price that is written in US dollars for a million, in billionths for one.
fn nano(usd: Option<f64>, path: &str, problems: &mut Problems) -> Option<f64> {
    if usd.is_some_and(|usd| !(0.0..=1e6).contains(&usd)) {
        problems.add(path, "must be zero or more, in US dollars for a million tokens");
    }
    usd.map(|usd| usd * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn price(model: &str, input: f64) -> teams::Price {
        teams::Price {
            model: model.to_owned(),
            input: Some(input),
            output: Some(2.0),
            cache_read: Some(0.1),
            cache_write: None,
            cache_write_hour: Some(4.0),
            image: None,
            long: None,
            tiers: teams::Tiers::default(),
        }
    }

    fn compile(written: &[teams::Price]) -> Prices {
        let mut problems = Problems::default();
        let prices = Prices::compile(written, &mut problems);
        assert_eq!(problems, Problems::default());
        prices
    }

    #[test]
    fn the_operators_price_goes_before_the_shipped_one_and_the_longer_pattern_before_the_shorter() {
        let prices = compile(&[price("bedrock/*", 7.0), price("bedrock/*nova*", 8.0)]);
        let input = |name: &str| prices.find(name).map(|price| price.standard.rates.input);
        assert_eq!(input("bedrock/us.amazon.nova-lite-v1:0"), Some(8000.0));
        assert_eq!(input("bedrock/us.anthropic.claude-sonnet-4-20250514-v1:0"), Some(7000.0));
        assert_eq!(input("nothing/x"), None);
        assert_eq!(input("nothing/x"), None, "remembered");
    }

    #[test]
    fn every_kind_of_token_has_its_price() {
        let price = compile(&[price("m", 1.0)]).find("m").unwrap();
        let usage = Usage {
            input: 1000,
            output: 10,
            cache_read: 500,
            cache_write: 300,
            cache_write_hour: 100,
            reasoning: 5,
        };
        // 200 x 1, 500 x 0.1, 200 x 1, 100 x 4, 10 x 2 dollars for a million.
        assert_eq!(price.of(&usage, 0, None), 200_000 + 50_000 + 200_000 + 400_000 + 20_000);
    }

    #[test]
    fn a_very_long_request_costs_more_from_its_first_token_on() {
        let long = teams::Long {
            above: 1000,
            input: Some(3.0),
            output: None,
            cache_read: None,
            cache_write: None,
            cache_write_hour: None,
        };
        let price = compile(&[teams::Price { long: Some(long), ..price("m", 1.0) }]).find("m").unwrap();
        let cost = |input, cache_read| {
            price.of(&Usage { input, output: 10, cache_read, ..Usage::default() }, 0, None)
        };
        assert_eq!(cost(1000, 0), 1_000_000 + 20_000);
        assert_eq!(cost(1001, 0), 3_003_000 + 20_000);
        // What comes from the cache makes it long, too.
        assert_eq!(cost(1001, 1000), 3000 + 100_000 + 20_000);
    }

    #[test]
    fn a_tier_has_prices_of_its_own_and_the_dearest_is_reserved() {
        let json = r#"{"model":"m","input":2,"output":8,"cache_read":0.5,"long":{"above":500,"input":4},
            "tiers":{"flex":{"input":1,"output":4},"priority":{"input":3,"output":12,"long":{"above":500,"output":20}}}}"#;
        let price = compile(&[serde_json::from_str(json).unwrap()]).find("m").unwrap();
        let cost = |input, tier| {
            price.of(&Usage { input, output: 10, cache_read: 100, ..Usage::default() }, 0, tier)
        };
        assert_eq!(cost(200, None), 200_000 + 50_000 + 80_000);
        for tier in [Tier::Standard, Tier::Reserved] {
            assert_eq!(cost(200, Some(tier)), cost(200, None), "{tier:?}");
        }
        assert_eq!(cost(200, Some(Tier::Flex)), 100_000 + 50_000 + 40_000);
        assert_eq!(cost(200, Some(Tier::Priority)), 300_000 + 50_000 + 120_000);
        assert_eq!(cost(600, None), 2_000_000 + 50_000 + 80_000);
        assert_eq!(cost(600, Some(Tier::Flex)), 500_000 + 50_000 + 40_000, "nobody told another");
        assert_eq!(cost(600, Some(Tier::Priority)), 1_500_000 + 50_000 + 200_000);
        let most = price.most(&Usage { input: 200, output: 10, cache_read: 100, ..Usage::default() }, 0);
        assert_eq!(most, cost(200, Some(Tier::Priority)));
    }

    #[test]
    fn a_price_that_cannot_be_meant_is_refused_by_its_path() {
        let json = r#"{"model":"m","input":-1,"tiers":{"flex":{"long":{"above":1,"output":1e9}}}}"#;
        let mut problems = Problems::default();
        Prices::compile(&[serde_json::from_str(json).unwrap()], &mut problems);
        let paths: Vec<&str> = problems.0.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(paths, ["prices[0].input", "prices[0].tiers.flex.long.output"]);
    }

    #[test]
    fn the_shipped_list_knows_long_requests_and_tiers() {
        let prices = compile(&[]);
        let usage = |input| Usage { input, ..Usage::default() };
        let gemini = prices.find("vertex_ai/gemini-2.5-pro").unwrap();
        assert_eq!(gemini.of(&usage(200_000), 0, None), 250_000_000);
        assert_eq!(gemini.of(&usage(200_001), 0, None), 500_002_500);
        let nova = prices.find("bedrock/us.amazon.nova-pro-v1:0").unwrap();
        let of = |tier| nova.of(&usage(1000), 0, Some(tier));
        assert_eq!([Tier::Flex, Tier::Standard, Tier::Priority].map(of), [400_000, 800_000, 1_400_000]);
    }

    #[test]
    fn the_shipped_list_can_be_read_and_is_dated() {
        let prices = compile(&[]);
        assert!(prices.find("bedrock/us.anthropic.claude-sonnet-4-20250514-v1:0").is_some());
        assert_eq!(as_of().len(), 10);
    }

    #[test]
    fn made_up_names_do_not_fill_the_memory() {
        let prices = compile(&[price("m*", 1.0)]);
        for number in 0..5000 {
            assert!(prices.find(&format!("m{number}")).is_some());
        }
        assert!(prices.known.borrow().len() <= MOST_REMEMBERED);
    }
}
