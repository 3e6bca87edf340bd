//! Calls that are not to be done twice.

use super::{Scope, Service};
use holm_sunrpc::duplicates::{Seen, Ticket};
use holm_sunrpc::{Answer, Call};
use holm_xdr::Encoder;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

/// A call that is not to be done twice, in progress.
#[derive(Debug)]
pub(crate) struct Remembered {
    service: Arc<Service>,
    ticket: Option<Ticket<IpAddr>>,
}

impl Remembered {
    /// Begins a call; if it is known, gives what is to be answered.
    pub(crate) fn begin<B>(
        scope: &Scope<'_, B>,
        call: &Call<'_>,
        results: &mut Encoder,
    ) -> Result<Self, Answer> {
        let service = &scope.attended.service;
        let mut cache = service.duplicates();
        let key = cache.key(scope.attended.peer.address(), call);
        let ticket = match cache.begin(key, Instant::now()) {
            Seen::New(ticket) => Some(ticket),
            Seen::Full => None,
            Seen::InProgress => return Err(Answer::Elsewhere),
            Seen::Done(known) => {
                results.raw(known);
                return Err(Answer::Now);
            }
        };
        Ok(Self { service: service.clone(), ticket })
    }

    /// From here on whoever sends it again is answered.
    pub(crate) fn finish(mut self, results: &[u8]) {
        if let Some(ticket) = self.ticket.take() {
            self.service.duplicates().finish(ticket, results, Instant::now());
        }
    }
}

/// It came to nothing: sent again, it is done again.
impl Drop for Remembered {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.service.duplicates().abandon(ticket);
        }
    }
}
