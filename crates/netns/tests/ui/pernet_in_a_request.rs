use holm_lifetime::levels::Locked;
use holm_netns::{Namespace, Registry};

fn inverted(registry: Registry, ns: &Namespace) {
    let _ = ns.request(&mut Locked::nothing(), move |in_ns| {
        registry.pernet(&mut in_ns.held);
    });
}

fn main() {}
