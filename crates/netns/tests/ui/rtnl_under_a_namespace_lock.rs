use holm_lifetime::levels::Locked;
use holm_netns::{Namespace, Registry};

fn inverted(registry: &Registry, ns: &Namespace) {
    let mut held = Locked::nothing();
    let mut guard = ns.lock(&mut held);
    registry.rtnl(guard.token());
}

fn main() {}
