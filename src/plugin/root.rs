//! The root context, one a worker: takes the configuration, fetches credentials, wakes those who wait.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{BufferType, ContextType, MapType};
use zeroize::{Zeroize, Zeroizing};

use super::abi;
use super::calls::{Calls, dispatch};
use super::doorstep::Doorstep;
use super::host::Envoy;
use super::latch::{Fitted, Latch, Queue};
use super::stream::{Parking, Shared, Stream};
use crate::base::host::{Callout, Host, Level};
use crate::config::Environment;
use crate::credential::Source;
use crate::pipeline::{Desk, Plan, Position, Trial, Whole};

/// How often a worker looks at least whether a credential is due, and who waits at its doorstep.
const IDLE: Duration = Duration::from_secs(1);

/// How often it looks while requests wait for one, which another worker may be fetching.
const WAITING: Duration = Duration::from_millis(20);

/// How much of an answer with a credential is read; real ones are below 8 kB.
const MOST_ANSWER: usize = 64 * 1024;

/// The places of this plugin in Envoy, by `root_id` (Istio: `pluginName`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Place {
    /// The whole way in one filter of the listener.
    #[default]
    Whole,
    /// In the listener, where the tries are made at [`Place::Attempt`].
    Gate,
    /// In a cluster: once for every try.
    Attempt,
    /// In the listener, directly behind [`Place::Whole`], for which it holds headers.
    Latch,
}

impl Place {
    const ALL: &[(&str, Place)] = &[
        ("fairlead", Place::Whole),
        ("fairlead.gate", Place::Gate),
        ("fairlead.attempt", Place::Attempt),
        ("fairlead.latch", Place::Latch),
    ];

    /// The place that a `root_id` names; none at all is the whole way.
    fn named(name: &[u8]) -> Option<Self> {
        if name.is_empty() {
            return Some(Place::default());
        }
        Self::ALL.iter().find(|(known, _)| known.as_bytes() == name).map(|(_, place)| *place)
    }
}

thread_local! {
    /// The tickets of this worker, which its gates and attempts share.
    static DESK: Rc<Desk> = Rc::default();
}

/// An upstream filter takes an EnvoyFilter, and that can set the flag as well.
const LATCHED_GATE: &str = "latch: is for the position fairlead alone; set allow_on_headers_stop_iteration at \
                            fairlead.gate and leave it out";

pub struct Root {
    id: u32,
    place: Place,
    plan: Option<Rc<Plan>>,
    sources: Vec<Rc<Source>>,
    /// Calls for credentials under way, and whose they are.
    fetches: HashMap<u32, Rc<Source>>,
    parking: Rc<RefCell<Parking>>,
    calls: Rc<RefCell<Calls>>,
    doorstep: Rc<RefCell<Doorstep>>,
    queue: Rc<Queue>,
    /// Present at the position of the latch.
    fitted: Option<Fitted>,
}

impl Root {
    pub fn new(id: u32) -> Self {
        let (sources, fetches) = (Vec::new(), HashMap::new());
        let (parking, calls, doorstep) = (Rc::default(), Rc::default(), Rc::default());
        Self {
            id,
            place: Place::default(),
            plan: None,
            sources,
            fetches,
            parking,
            calls,
            doorstep,
            queue: Rc::default(),
            fitted: None,
        }
    }

    /// Fetches what is due.
    fn fetch(&mut self) {
        for source in &self.sources {
            if let Some(call) = source.fetch(&Envoy) {
                Self::ask(&mut self.fetches, source, call);
            }
        }
    }

    /// Makes a source's call.
    fn ask(fetches: &mut HashMap<u32, Rc<Source>>, source: &Rc<Source>, call: Callout) {
        match dispatch(&call) {
            Some(token) => {
                fetches.insert(token, Rc::clone(source));
            }
            // No such cluster, or no host in it. After a failure there is no next call.
            None => {
                source.answered(&Envoy, None);
            }
        }
    }

    /// When to look again: sooner than usual for who waits, and for credentials with short lives.
    fn pace(&self) -> Duration {
        if !self.parking.borrow().is_empty() {
            return WAITING;
        }
        let due = self.sources.iter().map(|source| source.due_in(&Envoy)).min().unwrap_or(u64::MAX);
        Duration::from_millis(due).clamp(WAITING, IDLE)
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
    }
}

impl Context for Root {
    fn on_http_call_response(&mut self, token: u32, _headers: usize, size: usize, _trailers: usize) {
        if Calls::answered(&self.calls, token, size) {
            abi::act_for(self.id);
            return;
        }
        let Some(source) = self.fetches.remove(&token) else { return };
        // Without headers there was no answer, only a timeout or a reset.
        let headers = abi::headers(MapType::HttpCallResponseHeaders).filter(|headers| headers.status() != 0);
        let body = abi::buffer(BufferType::HttpCallResponseBody, size.min(MOST_ANSWER)).unwrap_or_default();
        let body = Zeroizing::new(body);
        match source.answered(&Envoy, headers.as_ref().map(|headers| (headers, body.as_slice()))) {
            Some(call) => Self::ask(&mut self.fetches, &source, call),
            None => {
                // Others may begin with what has come.
                self.fetch();
                self.wake();
                abi::tick_every(self.pace());
            }
        }
    }
}

impl RootContext for Root {
    fn on_configure(&mut self, size: usize) -> bool {
        let name = abi::property(&["plugin_root_id"]).unwrap_or_default();
        let Some(place) = Place::named(&name) else {
            let found = String::from_utf8_lossy(&name);
            let known: Vec<String> = Place::ALL.iter().map(|(known, _)| format!("`{known}`")).collect();
            let problem =
                format!("root_id (Istio: pluginName) is `{found}`; it must be {}", known.join(" or "));
            Envoy.log(Level::Error, &problem);
            return false;
        };
        self.place = place;
        if place == Place::Latch {
            self.fitted = Some(Fitted::new());
        }
        if place == Place::Attempt || place == Place::Latch {
            // All that it needs comes with each request from the gate, or from the filter before. Only who waits
            // must be looked after.
            abi::tick_every(IDLE);
            return true;
        }
        let json = Zeroizing::new(abi::buffer(BufferType::PluginConfiguration, size).unwrap_or_default());
        let mut environment: Environment = abi::environment()
            .iter()
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let plan = Plan::compile(&json, &environment);
        environment.values_mut().for_each(Zeroize::zeroize);
        match plan {
            Ok(plan) => {
                if plan.latch && place != Place::Whole {
                    Envoy.log(Level::Error, LATCHED_GATE);
                    return false;
                }
                plan.prepare(&Envoy);
                if place == Place::Gate {
                    plan.dead_ends().iter().for_each(|warning| Envoy.log(Level::Warn, warning));
                }
                Queue::prepare();
                self.sources = plan.sources();
                self.fetches.clear();
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
        if let Some(plan) = &self.plan {
            plan.look(&Envoy);
        }
        self.fetch();
        self.wake();
        if Doorstep::answer(&self.doorstep) {
            abi::act_for(self.id);
        }
        // Its message brings the turn earlier, unless it is lost.
        self.queue.let_go();
        abi::act_for(self.id);
        abi::tick_every(self.pace());
    }

    fn on_queue_ready(&mut self, _queue: u32) {
        self.queue.let_go();
        abi::act_for(self.id);
    }

    fn create_http_context(&self, id: u32) -> Option<Box<dyn HttpContext>> {
        let position = match self.place {
            Place::Latch => return Some(Box::new(Latch::new(id))),
            Place::Attempt => Some(shared(Trial::new(DESK.with(Rc::clone)))),
            Place::Gate => self.plan.clone().map(|plan| shared(Whole::gate(plan, DESK.with(Rc::clone)))),
            Place::Whole => self.plan.clone().map(|plan| shared(Whole::new(plan))),
        };
        Some(Box::new(Stream::new(
            id,
            position,
            Rc::clone(&self.parking),
            Rc::clone(&self.calls),
            Rc::clone(&self.doorstep),
            self.plan.as_ref().filter(|plan| plan.latch).map(|_| Rc::clone(&self.queue)),
        )))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

fn shared(position: impl Position + 'static) -> Shared {
    Rc::new(RefCell::new(position))
}
