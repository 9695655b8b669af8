//! Envoy as far as the core can see it: a clock that stands, shared data that can be raced for, a log.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fairlead::base::host::{Host, Level, Raced, Stamp};
use fairlead::base::metric::{Counter, Histogram};

/// When every test begins: 2026-01-02 03:04:05 UTC.
pub const NOW: Duration = Duration::from_secs(1_767_323_045);

/// One worker thread of an Envoy process.
pub struct FakeHost {
    process: Rc<Process>,
    properties: RefCell<BTreeMap<String, Vec<u8>>>,
    log: RefCell<Vec<(Level, String)>>,
}

/// What all workers of a process have in common.
struct Process {
    now: Cell<SystemTime>,
    shared: RefCell<BTreeMap<String, (Vec<u8>, Stamp)>>,
    counts: RefCell<BTreeMap<String, u64>>,
    /// How many writes will find that somebody else was quicker.
    races: Cell<usize>,
    writes: Cell<u32>,
}

impl FakeHost {
    /// The first worker of a new process.
    pub fn new() -> Self {
        let process = Process {
            now: Cell::new(UNIX_EPOCH + NOW),
            shared: RefCell::default(),
            counts: RefCell::default(),
            races: Cell::new(0),
            writes: Cell::new(0),
        };
        Self { process: Rc::new(process), properties: RefCell::default(), log: RefCell::default() }
    }

    /// Another worker of the same process.
    pub fn worker(&self) -> Self {
        let process = Rc::clone(&self.process);
        Self { process, properties: RefCell::default(), log: RefCell::default() }
    }

    pub fn advance(&self, time: Duration) {
        self.process.now.set(self.process.now.get() + time);
    }

    /// Lets the next writes lose, of whatever worker.
    pub fn lose(&self, races: usize) {
        self.process.races.set(races);
    }

    /// How many of them have not been written yet.
    pub fn races_left(&self) -> usize {
        self.process.races.get()
    }

    /// An attribute, its path joined by dots.
    pub fn set_attribute(&self, path: &str, value: impl Into<Vec<u8>>) {
        self.properties.borrow_mut().insert(path.to_owned(), value.into());
    }

    /// The keys of all shared data.
    pub fn shared_keys(&self) -> Vec<String> {
        self.process.shared.borrow().keys().cloned().collect()
    }

    /// What was left for the access log.
    pub fn field(&self, name: &str) -> Option<String> {
        let value = self.properties.borrow().get(&format!("filter_state.wasm.fairlead.{name}"))?.clone();
        String::from_utf8(value).ok()
    }

    /// All counters of the process, and the sums of its histograms, by name.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        self.process.counts.borrow().clone()
    }

    /// What this worker has logged, and forgets it.
    pub fn take_log(&self) -> Vec<(Level, String)> {
        self.log.take()
    }
}

impl Host for FakeHost {
    fn now(&self) -> SystemTime {
        self.process.now.get()
    }

    fn shared(&self, key: &str) -> (Option<Vec<u8>>, Stamp) {
        match self.process.shared.borrow().get(key) {
            Some((value, stamp)) => (Some(value.clone()), *stamp),
            None => (None, Stamp::NOTHING),
        }
    }

    /// As Envoy's `setSharedData`: a write with the stamp 0 always succeeds.
    fn set_shared(&self, key: &str, value: &[u8], seen: Stamp) -> Result<(), Raced> {
        let mut shared = self.process.shared.borrow_mut();
        let stamp = Stamp(self.process.writes.replace(self.process.writes.get() + 1) + 1);
        let entry = shared.entry(key.to_owned()).or_insert_with(|| (Vec::new(), Stamp::NOTHING));
        if seen != Stamp::NOTHING {
            let races = self.process.races.get();
            if races > 0 {
                // Somebody else writes what was there.
                self.process.races.set(races - 1);
                entry.1 = stamp;
                return Err(Raced);
            }
            if entry.1 != seen {
                return Err(Raced);
            }
        }
        *entry = (value.to_vec(), stamp);
        Ok(())
    }

    fn property(&self, path: &[&str]) -> Option<Vec<u8>> {
        self.properties.borrow().get(&path.join(".")).cloned()
    }

    fn log(&self, level: Level, message: &str) {
        self.log.borrow_mut().push((level, message.to_owned()));
    }

    fn count(&self, counter: Counter<'_>, by: u64) {
        let mut name = String::new();
        counter.write_name(&mut name);
        *self.process.counts.borrow_mut().entry(name).or_default() += by;
    }

    fn record(&self, histogram: Histogram<'_>, value: u64) {
        let mut name = String::new();
        histogram.write_name(&mut name);
        *self.process.counts.borrow_mut().entry(name).or_default() += value;
    }

    fn set_property(&self, name: &str, value: &str) {
        self.properties.borrow_mut().insert(format!("filter_state.wasm.{name}"), value.into());
    }
}
