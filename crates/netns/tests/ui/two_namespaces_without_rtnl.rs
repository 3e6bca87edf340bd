use holm_lifetime::levels::Locked;
use holm_netns::Namespace;

fn both(one: &Namespace, other: &Namespace) {
    let mut held = Locked::nothing();
    one.lock_two(other, &mut held);
}

fn main() {}
