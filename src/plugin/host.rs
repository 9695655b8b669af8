//! The door to Envoy, opened: the core's `Host` by host calls.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::SystemTime;

use proxy_wasm::types::LogLevel;

use super::abi;
use crate::base::host::{Host, Level, Raced, Stamp};
use crate::base::metric::Counter;

thread_local! {
    /// The counters of this VM by name; `None` for what Envoy did not want to count. A name is as bounded as
    /// the values of its labels are.
    static COUNTERS: RefCell<HashMap<String, Option<u32>>> = RefCell::default();
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
        let mut name = String::with_capacity(64);
        counter.write_name(&mut name);
        // Nothing that runs while it is borrowed counts.
        let metric = COUNTERS.with(|counters| match counters.try_borrow_mut() {
            Ok(mut counters) => match counters.get(name.as_str()) {
                Some(known) => *known,
                None => {
                    let metric = abi::counter(&name);
                    counters.insert(name, metric);
                    metric
                }
            },
            Err(_) => None,
        });
        if let Some(metric) = metric {
            abi::add(metric, by);
        }
    }
}
