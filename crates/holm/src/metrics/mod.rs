//! What the tenants do, in numbers: read from the server's parts, and shown as JSON and to Prometheus.

mod prometheus;
mod read;
mod statistics;

pub use prometheus::{CONTENT, text};
pub use statistics::{
    Errors, Files, Latency, LinkStatistics, Local, NamespaceStatistics, Operations, PoolStatistics,
    Statistics,
};
