//! The layer that touches file systems, on real ones.

mod ahead;
mod attacks;
mod batches;
mod cache;
mod calls;
mod clients;
mod confinement;
mod durability;
mod handles;
mod identities;
mod kept;
mod listed_again;
mod listings;
mod local;
mod local_attacks;
mod local_client;
mod local_in_process;
mod mounting;
mod operations;
mod owners;
mod procedures;
mod readdir;
mod retransmissions;
mod statistics;
mod wire;
mod world;
