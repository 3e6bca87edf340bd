use holm_lifetime::levels::{LevelMutex, Locked, NsRtnl};

fn three(one: &LevelMutex<NsRtnl, ()>, two: &LevelMutex<NsRtnl, ()>, three: &LevelMutex<NsRtnl, ()>) {
    let mut held = Locked::nothing();
    let mut guard = one.lock(&mut held);
    LevelMutex::lock_two(two, three, guard.token());
}

fn main() {}
