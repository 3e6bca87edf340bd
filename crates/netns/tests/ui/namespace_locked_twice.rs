use holm_lifetime::levels::Locked;
use holm_netns::Namespace;

fn both(one: &Namespace, other: &Namespace) {
    let mut held = Locked::nothing();
    let mut guard = one.lock(&mut held);
    other.lock(guard.token());
}

fn main() {}
