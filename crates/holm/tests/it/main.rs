//! The program as its users meet it, with real clients.

mod libnfs;
mod linux;
mod serve;
mod world;
