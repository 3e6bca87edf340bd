//! A server in this process, with clients of its own.

mod config;
mod container;
mod containers;
mod kernel_netns;
mod listeners;
mod rpcbind;
mod teardown;
mod tenants;
mod world;
