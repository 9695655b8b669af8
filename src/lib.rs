//! fairlead: an LLM gateway that lives inside Envoy.
pub mod base;
pub mod chat;
pub mod config;
pub mod dialect;
pub mod frame;
pub mod pipeline;
pub mod policy;
pub mod provider;

#[cfg(target_arch = "wasm32")]
mod plugin;
