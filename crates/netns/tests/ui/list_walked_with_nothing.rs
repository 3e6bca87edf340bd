use holm_lifetime::levels::Locked;
use holm_netns::Registry;

fn walk(registry: &Registry) {
    registry.for_each(&mut Locked::nothing(), |_, _| true);
}

fn main() {}
