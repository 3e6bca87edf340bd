use holm_lifetime::levels::Locked;
use holm_netns::{Namespace, Registry};

fn walk(registry: &Registry, ns: &Namespace) {
    let mut held = Locked::nothing();
    let mut guard = ns.lock(&mut held);
    registry.for_each(guard.token(), |_, _| true);
}

fn main() {}
