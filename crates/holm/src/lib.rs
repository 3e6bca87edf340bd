//! holm, the program: one process that serves many tenants. Here its parts are joined; each of them
//! is a crate of its own.
//!
//! - [`admin`]: the API over which a running server is asked, and asked to change.
//! - [`cli`]: the commands that ask.
//! - [`files`]: the commands of a client, which copy and list files of any NFS server.
//! - [`metrics`]: what the tenants do, in numbers.
//! - [`caches`]: what keeps the file caches of all namespaces going.
//! - [`host`]: what systemd and rpcbind are told.
//! - [`kernel_netns`]: sockets inside containers, and when they have to go.
//! - [`local`]: the door by which programs on this machine come to files without the network.
//! - [`model`]: the nouns that configuration, API and command line have in common.
//! - [`privileges`]: what the program may do, cut down to what it needs.
//! - [`rpcbind`]: tells the host's rpcbind where we are.
//! - [`stack`]: what is served at the addresses of a namespace's own interfaces.
//! - [`server`]: the tenants of a running server, and every change of them.
//! - [`config`]: the configuration file.
//! - [`check`]: `holm check`, is a configuration right?
//! - [`serve`]: `holm serve`, from its first line to its last.

#![deny(unsafe_code)]

pub mod admin;
pub mod caches;
pub mod check;
pub mod cli;
pub mod config;
mod fields;
pub mod files;
pub mod host;
pub mod kernel_netns;
pub mod local;
pub mod log;
pub mod metrics;
pub mod model;
pub mod nfs;
pub mod output;
pub mod privileges;
pub mod rpcbind;
pub mod serve;
pub mod server;
mod socket_file;
pub mod spec;
mod spelling;
pub mod stack;
mod startup_code;
pub mod state;
