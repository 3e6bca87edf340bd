//! A server in this process, with clients of its own.

mod config;
mod config_links;
mod container;
mod containers;
mod door;
mod host;
mod kernel_links;
mod kernel_netns;
mod link_limits;
mod links;
mod listeners;
mod local;
mod neighbour;
mod rpcbind;
mod tenants;
mod world;
