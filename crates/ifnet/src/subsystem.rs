//! Interfaces as a part that every namespace has.

use crate::attic::Attic;
use crate::event::LinkEvent;
use crate::lagg::Watch;
use crate::lo::Lo;
use crate::tenant::{Existing, NsInterfaces, Tenant};
use holm_lifetime::sync::Arc;
use holm_lifetime::sync::atomic::AtomicU64;
use holm_netns::notifier::Chain;
use holm_netns::{Held, InitError, RegisterError, Registry, Subsystem, View};

/// Interfaces as a part that every namespace has; each is born with a loopback interface. Registered by
/// [`register`](Self::register), after the pool.
pub struct IfnetSubsystem(Arc<Shared>);

/// What the namespaces of a registry have in common.
pub(crate) struct Shared {
    pub(crate) next_index: AtomicU64,
    pub(crate) attic: Attic,
}

impl IfnetSubsystem {
    /// Gives each namespace of the registry interfaces, and returns the chain that tells what happens to
    /// them. The pool was registered before.
    ///
    /// # Errors
    ///
    /// They are registered already, or a namespace refused them.
    pub fn register(registry: &Registry) -> Result<Chain<LinkEvent>, RegisterError> {
        let chain = Chain::new("interfaces");
        let shared = Shared { next_index: AtomicU64::new(1), attic: Attic::default() };
        registry.register(chain.clone())?;
        // It is new, and refuses nothing. It hears of ports that go before everybody else does.
        let _ = chain.register(registry, Arc::new(Watch));
        registry.register(Self(Arc::new(shared)))?;
        Ok(chain)
    }
}

impl Subsystem for IfnetSubsystem {
    type State = NsInterfaces;

    /// A driver closes its descriptors, and closing a tap waits for the kernel.
    const EXIT_MAY_BLOCK: bool = true;

    fn name(&self) -> &str {
        "ifnet"
    }

    fn init(&self, view: &View<'_>, held: &mut Held<'_>) -> Result<NsInterfaces, InitError> {
        let ns = view.namespace();
        let member = view.get::<Chain<LinkEvent>>();
        let member = member.ok_or_else(|| InitError("interfaces have no chain".into()))?;
        let tenant = Arc::new(Tenant::new(ns.clone(), member.clone(), self.0.clone()));
        let mut rtnl = ns.rtnl(held);
        let mut guard = ns.lock(rtnl.token());
        member.set_source(Arc::new(Existing(Arc::downgrade(&tenant))));
        let born = Lo::bear(&tenant, guard.token());
        drop(guard);
        drop(rtnl);
        match born {
            Ok(()) => Ok(NsInterfaces(tenant)),
            Err(stillborn) => Err(InitError(stillborn.bury().to_string())),
        }
    }

    fn pre_exit(&self, _: &View<'_>, interfaces: &NsInterfaces) {
        interfaces.0.unlink_all();
    }

    fn exit(&self, _: &View<'_>, interfaces: NsInterfaces) {
        interfaces.0.wait_all_gone();
        self.0.attic.empty();
    }
}
