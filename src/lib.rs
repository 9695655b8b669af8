//! fairlead: an LLM gateway that lives inside Envoy. OpenAI's and Anthropic's APIs in front, the clouds' own behind.
//!
//! # The way of a request
//!
//! ```text
//! configure   config ─► provider, policy ─► Plan (shared by all streams of a worker)
//! headers     route: ours? ─► wait for the body
//! body        Client::parse ─► chat::Request ─► resolve ─► fates ─► Upstream::write
//!             ─► Backend::authorise ─► Forward, or Park until a token is there, or Call:
//!             several calls where one cannot hold all, whose answers are made one
//! upstream    …
//! headers     stream, whole reply or refusal?
//! chunk       frame ─► decode ─► chat::Event ─► client's writer ─► bytes to the client
//! ```
//!
//! That is the position `fairlead`, one filter for all. Where a request may be tried at several backends it is two,
//! and each does its part of the same: `fairlead.gate` in the listener, up to the choice of Envoy's cluster, and
//! `fairlead.attempt` in the clusters, from there on, once for every try. They share a `pipeline::Desk`.
//!
//! # Modules
//!
//! - [`base`]: words that everyone uses: errors, headers, JSON at the edges, the door to the host.
//! - [`config`]: what the operator writes.
//! - [`chat`]: the vocabulary between the edges: requests, and the events of a reply.
//! - [`embedding`]: the same for embeddings: texts, and their vectors.
//! - [`image`]: the same for images.
//! - [`frame`]: bytes of a stream to whole frames: server-sent events, AWS event-stream.
//! - [`dialect`]: JSON to vocabulary and back, a folder for each dialect; the fates of all fields.
//! - [`credential`]: the right to call a cloud: keys, signatures, tokens; where they are fetched and how they stay fresh.
//! - [`provider`]: where a model lives and how to knock: hosts and paths.
//! - [`policy`]: who may ask, for what and how much; which backends serve which model, and in which order.
//! - [`pipeline`]: the steps above, as plain data in and out.
//! - `plugin`: the only code that knows proxy-wasm; for wasm32 alone.
//!
//! # Layers
//!
//! A module uses those that stand behind its colon, and no others; `tests/layers.rs` reads this table.
//!
//! ```text
//! base:
//! config: base
//! chat: base
//! embedding: base chat
//! image: base chat
//! frame:
//! dialect: base chat embedding frame image
//! credential: base config
//! provider: base config credential dialect
//! policy: base chat config
//! pipeline: base chat config credential dialect embedding image policy provider
//! plugin: base config credential pipeline
//! ```

pub mod base;
pub mod chat;
pub mod config;
pub mod credential;
pub mod dialect;
pub mod embedding;
pub mod frame;
pub mod image;
pub mod pipeline;
pub mod policy;
pub mod provider;

#[cfg(target_arch = "wasm32")]
mod plugin;
