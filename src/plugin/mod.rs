//! The only code that knows proxy-wasm: Envoy's callbacks in, host calls out. For wasm32 alone.

mod abi;
mod calls;
mod doorstep;
mod host;
mod latch;
mod root;
mod stream;

use proxy_wasm::types::LogLevel;

/// What Envoy calls first: hands over the maker of root contexts.
#[allow(unsafe_code, reason = "an exported name cannot be had otherwise")]
#[unsafe(no_mangle)]
pub extern "C" fn _initialize() {
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|id| Box::new(root::Root::new(id)));
}
