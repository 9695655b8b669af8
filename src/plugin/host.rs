//! The door to Envoy, opened: the core's `Host` by host calls.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::SystemTime;

use proxy_wasm::types::{LogLevel, MetricType};

use super::abi;
use crate::base::host::{Host, Level, Raced, Stamp};
use crate::base::metric::{Counter, Histogram};

thread_local! {
    /// The metrics of this VM by name; `None` for what Envoy did not want to count. A name is as bounded as
    /// the values of its labels are.
    static METRICS: RefCell<HashMap<String, Option<u32>>> = RefCell::default();
}

/// Envoy.
pub struct Envoy;

impl Host for Envoy {
    fn now(&self) -> SystemTime {
        abi::now()
    }

    fn shared(&self, key: &str) -> (Option<Vec<u8>>, Stamp) {
        abi::shared(key)
    }

    fn set_shared(&self, key: &str, value: &[u8], seen: Stamp) -> Result<(), Raced> {
        if abi::set_shared(key, value, seen) { Ok(()) } else { Err(Raced) }
    }

    fn property(&self, path: &[&str]) -> Option<Vec<u8>> {
        abi::property(path)
    }

    fn log(&self, level: Level, message: &str) {
        let level = match level {
            Level::Debug => LogLevel::Debug,
            Level::Info => LogLevel::Info,
            Level::Warn => LogLevel::Warn,
            Level::Error => LogLevel::Error,
        };
        abi::log(level, message);
    }

    fn count(&self, counter: Counter<'_>, by: u64) {
        let mut name = String::with_capacity(96);
        counter.write_name(&mut name);
        if let Some(metric) = metric(MetricType::Counter, name) {
            abi::add(metric, by);
        }
    }

    fn record(&self, histogram: Histogram<'_>, value: u64) {
        let mut name = String::with_capacity(96);
        histogram.write_name(&mut name);
        if let Some(metric) = metric(MetricType::Histogram, name) {
            abi::record(metric, value);
        }
    }

    fn set_property(&self, name: &str, value: &str) {
        abi::set_property(name, value);
    }
}

/// Envoy's number of a metric.
fn metric(kind: MetricType, name: String) -> Option<u32> {
    // Nothing that runs while it is borrowed counts.
    METRICS.with(|metrics| match metrics.try_borrow_mut() {
        Ok(mut metrics) => match metrics.get(name.as_str()) {
            Some(known) => *known,
            None => {
                let metric = abi::metric(kind, &name);
                metrics.insert(name, metric);
                metric
            }
        },
        Err(_) => None,
    })
}
