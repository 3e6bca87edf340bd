use holm_lifetime::levels::{LevelMutex, Locked, Pernet, Rtnl};

fn goes_round(pernet: &LevelMutex<Pernet, ()>, rtnl: &LevelMutex<Rtnl, ()>) {
    let mut held = Locked::nothing();
    let inner = rtnl.lock(&mut held);
    let outer = pernet.lock(&mut held);
    drop(inner);
    drop(outer);
}

fn main() {}
