//! What the tests of the whole pipeline share: a stand-in for Envoy, clients, and the golden cases.
#![allow(dead_code, reason = "every test binary compiles all of this and uses a part")]

pub mod aws;
pub mod blocks;
pub mod cases;
pub mod client;
pub mod damage;
pub mod envoy;
pub mod layout;
pub mod strict;
