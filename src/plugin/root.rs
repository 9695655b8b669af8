//! The root context, one a worker: takes the configuration, fetches tokens, wakes those who wait.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{BufferType, ContextType, MapType};

use super::abi;
use super::calls::{Calls, dispatch};
use super::doorstep::Doorstep;
use super::host::Envoy;
use super::latch::{Fitted, Latch, Queue};
use super::stream::{Parking, Stream};
use crate::base::host::{Host, Level};
use crate::config::Environment;
use crate::pipeline::Plan;
use crate::provider::token::Source;

/// How often a worker looks whether a token is due, and who waits at its doorstep.
const IDLE: Duration = Duration::from_secs(1);

/// How often it looks while requests wait for one, which another worker may be fetching.
const WAITING: Duration = Duration::from_millis(20);

/// How much of a token answer is read; real ones are below 4 kB.
const MOST_ANSWER: usize = 64 * 1024;

/// A place of this plugin in Envoy.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// The whole way in one filter.
    Whole,
    /// Holds headers for the filter before it.
    Latch,
}

impl Position {
    const ALL: &[Self] = &[Self::Whole, Self::Latch];

    /// The `root_id` (Istio: `pluginName`) that chooses it.
    const fn name(self) -> &'static str {
        match self {
            Self::Whole => "fairlead",
            Self::Latch => "fairlead.latch",
        }
    }

    /// The position of this filter; `Err`: what is written there and known to nobody.
    fn of_this_filter() -> Result<Self, String> {
        let id = abi::property(&["plugin_root_id"]).unwrap_or_default();
        if id.is_empty() {
            return Ok(Self::Whole);
        }
        let known = Self::ALL.iter().find(|position| position.name().as_bytes() == id);
        known.copied().ok_or_else(|| String::from_utf8_lossy(&id).into_owned())
    }
}

pub struct Root {
    id: u32,
    plan: Option<Rc<Plan>>,
    sources: Vec<Source>,
    /// Calls for tokens under way, and the index of their source.
    fetches: HashMap<u32, usize>,
    parking: Rc<RefCell<Parking>>,
    calls: Rc<RefCell<Calls>>,
    doorstep: Rc<RefCell<Doorstep>>,
    queue: Rc<Queue>,
    /// Present at the position of the latch.
    latch: Option<Fitted>,
    /// The first tick comes early; then the usual pace begins.
    started: bool,
}

impl Root {
    pub fn new(id: u32) -> Self {
        let (sources, fetches) = (Vec::new(), HashMap::new());
        let (parking, calls, doorstep) = (Rc::default(), Rc::default(), Rc::default());
        let (queue, latch) = (Rc::default(), None);
        Self { id, plan: None, sources, fetches, parking, calls, doorstep, queue, latch, started: false }
    }

    fn fetch(&mut self) {
        for (index, source) in self.sources.iter().enumerate() {
            let Some(call) = source.fetch(&Envoy) else { continue };
            match dispatch(&call) {
                Some(token) => {
                    self.fetches.insert(token, index);
                }
                None => source.answered(&Envoy, None),
            }
        }
    }

    /// Lets every waiting request look again, in its own name.
    fn wake(&mut self) {
        // The list is taken, because waking may answer and so end a stream.
        let waiting = self.parking.borrow_mut().take();
        if waiting.is_empty() {
            return;
        }
        for stream in waiting {
            if abi::act_for(stream.id()) && stream.wake(&self.calls) {
                self.parking.borrow_mut().keep(stream);
            }
        }
        abi::act_for(self.id);
        abi::tick_every(if self.parking.borrow().is_empty() { IDLE } else { WAITING });
    }
}

impl Context for Root {
    fn on_http_call_response(&mut self, token: u32, _headers: usize, size: usize, _trailers: usize) {
        if Calls::answered(&self.calls, token, size) {
            abi::act_for(self.id);
            return;
        }
        let Some(source) = self.fetches.remove(&token).and_then(|index| self.sources.get(index)) else {
            return;
        };
        let status = abi::headers(MapType::HttpCallResponseHeaders).map_or(0, |headers| headers.status());
        let body = abi::buffer(BufferType::HttpCallResponseBody, size.min(MOST_ANSWER)).unwrap_or_default();
        // Without headers there was no answer, only a timeout or a reset.
        let answer = (status != 0).then_some((status, body.as_slice()));
        source.answered(&Envoy, answer);
        self.wake();
    }
}

impl RootContext for Root {
    fn on_configure(&mut self, size: usize) -> bool {
        match Position::of_this_filter() {
            Ok(Position::Whole) => {}
            Ok(Position::Latch) => {
                // It needs none of the configuration.
                self.latch = Some(Fitted::new());
                return true;
            }
            Err(found) => {
                let names: Vec<&str> = Position::ALL.iter().map(|position| position.name()).collect();
                let names = names.join("` or `");
                let problem = format!("root_id (Istio: pluginName) is `{found}`; it must be `{names}`");
                Envoy.log(Level::Error, &problem);
                return false;
            }
        }
        let json = abi::buffer(BufferType::PluginConfiguration, size).unwrap_or_default();
        let environment: Environment = abi::environment()
            .iter()
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        match Plan::compile(&json, &environment) {
            Ok(plan) => {
                plan.prepare(&Envoy);
                Queue::prepare();
                self.sources = plan.token_sources();
                self.fetches.clear();
                self.started = false;
                self.plan = Some(Rc::new(plan));
                // The first look comes at once, so that the first request finds a token.
                abi::tick_every(WAITING);
                true
            }
            Err(problems) => {
                Envoy.log(Level::Error, &problems.to_string());
                false
            }
        }
    }

    fn on_tick(&mut self) {
        self.fetch();
        self.wake();
        if Doorstep::answer(&self.doorstep) {
            abi::act_for(self.id);
        }
        // Its message brings the turn earlier, unless it is lost.
        self.queue.let_go();
        abi::act_for(self.id);
        if !std::mem::replace(&mut self.started, true) && self.parking.borrow().is_empty() {
            abi::tick_every(IDLE);
        }
    }

    fn on_queue_ready(&mut self, _queue: u32) {
        self.queue.let_go();
        abi::act_for(self.id);
    }

    fn create_http_context(&self, id: u32) -> Option<Box<dyn HttpContext>> {
        if self.latch.is_some() {
            return Some(Box::new(Latch::new(id)));
        }
        let plan = self.plan.clone();
        Some(Box::new(Stream::new(
            id,
            plan,
            Rc::clone(&self.parking),
            Rc::clone(&self.calls),
            Rc::clone(&self.doorstep),
            Rc::clone(&self.queue),
        )))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}
