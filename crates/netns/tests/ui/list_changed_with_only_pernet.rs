use holm_lifetime::levels::Locked;
use holm_netns::{Namespace, NsList, Registry};

fn change(registry: &Registry, list: &NsList, ns: Namespace) {
    let mut held = Locked::nothing();
    let mut pernet = registry.pernet(&mut held);
    list.insert(ns, pernet.token());
}

fn main() {}
