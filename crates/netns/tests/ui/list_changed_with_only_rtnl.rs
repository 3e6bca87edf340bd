use holm_lifetime::levels::Locked;
use holm_netns::{Namespace, NsList, Registry};

fn change(registry: &Registry, list: &NsList, ns: &Namespace) {
    let mut held = Locked::nothing();
    let mut rtnl = registry.rtnl(&mut held);
    list.remove(ns, rtnl.token());
}

fn main() {}
