//! `zcn stack up` against the kernel's stack and programs that know nothing of it, in
//! network namespaces that the tests make: over TAP with super-frames and with single
//! packets, over a packet socket on a veth pair with the kernel's offloads on and off.
//!
//! Where a test moves little, tshark reads everything that the stack saw. The long ones
//! run with `ZCN_LONG_TESTS=1 cargo test --release -p zcn-cli --test stack_interop`.

mod ecn;
mod errors;
mod http;
mod listeners;
mod mtus;
mod ping;
mod probes;
mod rig;
mod ss;
mod streams;
mod wire;
