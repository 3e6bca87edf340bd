//! The program as its users meet it, with real clients, and attacked.

mod attacks;
mod bonds;
#[path = "../../../nfsd/tests/it/calls.rs"]
mod calls;
#[allow(dead_code, reason = "each test program uses its part")]
#[path = "../it/container.rs"]
mod container;
mod docs;
mod files;
mod host_kernel;
mod libnfs;
mod linux;
mod own_links;
#[allow(dead_code, reason = "each test program uses its part")]
#[path = "../../../localio/tests/it/proxy.rs"]
mod proxy;
mod rpc;
#[path = "../admin/running.rs"]
mod running;
mod serve;
mod strangers;
mod stuck;
mod wedge;
mod world;
