//! An NFSv3 load generator that checks every byte, and the server that does the least.
//!
//! What a server is worth is what a stranger measures. This crate calls a server as a kernel
//! client would, only faster, and shares nothing with the crates that it measures: it has its own
//! few lines of XDR, so that a mistake in theirs is seen and not repeated. It never sends to
//! anywhere but the [`Target`] it is given.
//!
//! # The pieces
//!
//! - [`Load`] is a [`Workload`] with its sizes; run with a [`Plan`] (connections, calls outstanding
//!   on each, time) it gives a [`Measurement`]: operations and bytes per second, latencies, what
//!   client and server used of the CPU, and every error by name.
//! - [`compare()`] lets several servers take turns in [`Case`]s and reports medians and ratios;
//!   [`Peer`] starts what there is to compare with.
//! - [`Figures`] does that with holm and all of them, and says which goals are met.
//! - [`LimitServer`] answers without touching a file: the most that a user-space server can reach.
//! - [`Integrity`] writes, reads and verifies. With a journal, [`check`] tells after a crash which
//!   acknowledged bytes are missing.
//! - [`Witness`]: clients that write down what was acknowledged, directory operations too, while
//!   their server is killed under them, and go on after it.
//! - [`Churn`], [`start_up`] and [`Neighbours`]: clients that come and go, the time to the first
//!   answer, and what a quiet client notices of a flooding one.
//!
//! # How it measures
//!
//! One thread drives all connections over epoll, each with its calls outstanding; replies are
//! matched by xid, in any order. All that is ready on a connection is received and sent at once.
//! The payload of large READs is dropped by the kernel unless it is verified: the figures are those
//! of the server and of TCP, not of a client's copying. On loopback the kernel may charge the work
//! of receiving to the sender, so CPU times of client and server are to be read together.
//!
//! Files are kept below `nfsload` in the export, and used again by the next run.

mod alone;
mod churn;
mod client;
mod compare;
mod connection;
mod disk;
mod driver;
mod engine;
mod error;
mod figures;
mod integrity;
mod journal;
mod limit;
mod links;
mod names;
mod neighbours;
mod nfs;
mod outgoing;
mod pattern;
mod peers;
mod process;
mod record;
mod rpc;
mod target;
mod witness;
mod workload;
mod xdr;

pub use self::{
    alone::Alone,
    churn::{Churn, ChurnMeasurement, StartUp, start_up},
    client::{Client, Handle},
    compare::{Case, CaseResult, Comparison, Entrant, EntrantResult, Medians, compare},
    disk::Disk,
    engine::{Cost, Measurement, Plan},
    error::Error,
    figures::{Figures, FiguresMeasurement, Life},
    integrity::{Integrity, MAX_DAMAGE, Verdict, check},
    journal::Promise,
    limit::{Content, LimitOptions, LimitServer},
    links::Links,
    neighbours::{Neighbours, NeighboursMeasurement},
    nfs::Written,
    peers::Peer,
    process::{Cpus, Pinned, Process},
    record::Latency,
    rpc::Refusal,
    target::Target,
    witness::{Loss, Testimony, Witness, WitnessOptions},
    workload::{Load, Workload},
};
