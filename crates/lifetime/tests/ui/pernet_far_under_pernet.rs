use holm_lifetime::levels::{LevelMutex, Locked, NsRtnl, Pernet};

fn inverted(pernet: &LevelMutex<Pernet, ()>, other: &LevelMutex<Pernet, ()>, ns: &LevelMutex<NsRtnl, ()>) {
    let mut held = Locked::nothing();
    let mut pernet = pernet.lock(&mut held);
    let mut ns = ns.lock(pernet.token());
    other.try_lock(ns.token());
}

fn main() {}
