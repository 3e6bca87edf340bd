use holm_netns::{Registry, Subsystem};

fn kept<'a, S: Subsystem>(registry: &'a Registry) -> Option<&'a S::State> {
    let inside = registry.enter("blue")?;
    inside.get::<S>()
}

fn main() {}
