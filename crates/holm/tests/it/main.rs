//! A server in this process, with clients of its own.

mod config;
mod listeners;
mod teardown;
mod tenants;
mod world;
