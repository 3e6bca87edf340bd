//! Who was asked for files and does not give them back is cut off, while the namespace lives.

use super::LocalClients;
use holm_pool::{Next, Source, Turn};
use std::sync::Arc;

/// Is woken whenever files were asked for, and then looks again when the first of them are due.
pub(super) struct Overdue(pub(super) Arc<LocalClients>);

impl Source for Overdue {
    fn run(&self, turn: &Turn<'_>) -> Next {
        if let Some(host) = self.0.host.get() {
            let look = || self.0.cut_off_overdue();
            turn.wake_at(host.serving.work(turn, host.ns.id, "cutting off local clients", look));
        }
        Next::Idle
    }
}
