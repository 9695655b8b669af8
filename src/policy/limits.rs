//! From limits as the operator writes them to limits that can be counted.

use super::quota::{Budget, Limits, NANO_USD};
use super::window::Span;
use crate::config::Problems;
use crate::config::teams::{self, Quota};

/// Checks limits; adds every problem with its path.
pub fn compile(written: &Quota, path: &str, problems: &mut Problems) -> Limits {
    let mut count = |name: &str, value: Option<u64>| {
        if value == Some(0) {
            problems.add(
                &format!("{path}.{name}"),
                "is zero, which would refuse everything; leave it out for no limit",
            );
        }
        value
    };
    Limits {
        requests_per_minute: count("requests_per_minute", written.requests_per_minute),
        tokens_per_minute: count("tokens_per_minute", written.tokens_per_minute),
        concurrent_requests: count("concurrent_requests", written.concurrent_requests),
        budget: written.budget.as_ref().and_then(|budget| compile_budget(budget, path, problems)),
    }
}

fn compile_budget(written: &teams::Budget, path: &str, problems: &mut Problems) -> Option<Budget> {
    let span = span(&written.per);
    if span.is_none() {
        let problem = "must be a time such as `30s`, `1h`, `1d` or `30d`, a year at most, or `1mo` for the calendar month";
        problems.add(&format!("{path}.budget.per"), problem);
    }
    let nano_usd = nano_usd(written.usd);
    if nano_usd.is_none_or(|amount| amount == 0) {
        problems.add(&format!("{path}.budget.usd"), "must be more than zero and less than a billion dollars");
    }
    Some(Budget { nano_usd: nano_usd?, span: span?, per: written.per.clone() })
}

/// Dollars in the unit in which they are counted.
pub fn nano_usd(usd: f64) -> Option<u64> {
    const MOST: f64 = 1e9;
    if !(0.0..MOST).contains(&usd) {
        return None;
    }
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "within 0 and 1e18, as checked above"
    )]
    let amount = (usd * NANO_USD as f64).round() as u64;
    Some(amount)
}

/// A year is enough, and far from any overflow.
const LONGEST: u64 = 366 * 86_400;

fn span(text: &str) -> Option<Span> {
    if text == "1mo" {
        return Some(Span::Month);
    }
    let unit = match text.as_bytes().last()? {
        b's' => 1,
        b'm' => 60,
        b'h' => 3600,
        b'd' => 86_400,
        _ => return None,
    };
    let digits = text.get(..text.len() - 1)?;
    let number: u64 = digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())??;
    let seconds = number.checked_mul(unit)?;
    (1..=LONGEST).contains(&seconds).then_some(Span::Seconds(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_as_they_are_written() {
        for (text, seconds) in [("30s", 30), ("5m", 300), ("1h", 3600), ("1d", 86_400), ("30d", 2_592_000)] {
            assert_eq!(span(text), Some(Span::Seconds(seconds)), "{text}");
        }
        assert_eq!(span("1mo"), Some(Span::Month));
        for text in
            ["", "s", "0s", "1", "1y", "-1s", "+1s", "1.5h", "2mo", "é", "367d", "99999999999999999999d"]
        {
            assert_eq!(span(text), None, "{text}");
        }
    }

    #[test]
    fn dollars_are_counted_in_billionths() {
        assert_eq!(nano_usd(0.1), Some(100_000_000));
        assert_eq!(nano_usd(100.0), Some(100_000_000_000));
        for usd in [-1.0, f64::NAN, f64::INFINITY, 1e9] {
            assert_eq!(nano_usd(usd), None, "{usd}");
        }
    }
}
