//! What tokens and images cost: the operator's prices, and behind them the list that comes with the plugin.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use serde::Deserialize;

use super::pattern::Pattern;
use crate::chat::Usage;
use crate::config::{Problems, teams};

/// The list that comes with the plugin: list prices on demand without the higher ones for very long prompts,
/// put together from the public price data of LiteLLM 1.109.1, where AWS's and Google's pages are gathered.
/// Prices change: whoever bills by them writes their own.
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

/// What a model costs, in billionths of a dollar for a token, or for an image.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Price {
    input: f64,
    output: f64,
    cache_read: f64,
    cache_write: f64,
    cache_write_hour: f64,
    image: f64,
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
        let mut price = |name: &str, usd: Option<f64>, nano: f64| {
            if usd.is_some_and(|usd| !(0.0..=1e6).contains(&usd)) {
                problems.add(
                    &format!("{path}.{name}"),
                    "must be zero or more, in US dollars for a million tokens",
                );
            }
            usd.map(|usd| usd * nano)
        };
        // A dollar for a million tokens is a thousand billionths for each.
        const TOKEN: f64 = 1e3;
        let input = price("input", written.input, TOKEN).unwrap_or_default();
        let output = price("output", written.output, TOKEN).unwrap_or_default();
        let cache_read = price("cache_read", written.cache_read, TOKEN).unwrap_or(input);
        let cache_write = price("cache_write", written.cache_write, TOKEN).unwrap_or(input);
        let cache_write_hour =
            price("cache_write_hour", written.cache_write_hour, TOKEN).unwrap_or(cache_write);
        let image = price("image", written.image, 1e9).unwrap_or_default();
        Self { input, output, cache_read, cache_write, cache_write_hour, image }
    }

    /// What a reply cost, in billionths of a dollar.
    pub fn of(&self, usage: &Usage, images: u64) -> u64 {
        let cached = usage.cache_read.saturating_add(usage.cache_write);
        let short = usage.cache_write.saturating_sub(usage.cache_write_hour);
        // A price for an image is that of the tokens that it is made of.
        let output = if images > 0 && self.image > 0.0 { 0 } else { usage.output };
        let parts = [
            (usage.input.saturating_sub(cached), self.input),
            (usage.cache_read, self.cache_read),
            (short, self.cache_write),
            (usage.cache_write_hour, self.cache_write_hour),
            (output, self.output),
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
        let input = |name: &str| prices.find(name).map(|price| price.input);
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
        assert_eq!(price.of(&usage, 0), 200_000 + 50_000 + 200_000 + 400_000 + 20_000);
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
