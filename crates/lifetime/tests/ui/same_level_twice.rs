use holm_lifetime::levels::{LevelMutex, Locked, NsRtnl};

fn twice(one: &LevelMutex<NsRtnl, ()>, two: &LevelMutex<NsRtnl, ()>) {
    let mut held = Locked::nothing();
    let mut guard = one.lock(&mut held);
    two.lock(guard.token());
}

fn main() {}
