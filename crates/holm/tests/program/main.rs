//! The program as its users meet it, with real clients, and attacked.

mod attacks;
#[path = "../../../nfsd/tests/it/calls.rs"]
mod calls;
mod docs;
mod libnfs;
mod linux;
mod own_links;
mod rpc;
#[path = "../admin/running.rs"]
mod running;
mod serve;
mod strangers;
mod stuck;
mod wedge;
mod world;
