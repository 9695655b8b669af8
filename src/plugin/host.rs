//! The door to Envoy, opened: the core's `Host` by host calls.

use std::time::SystemTime;

use proxy_wasm::types::LogLevel;

use super::abi;
use crate::base::host::{Host, Level, Raced, Stamp};

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
}
