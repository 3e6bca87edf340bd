use holm_lifetime::levels::{LevelMutex, Locked, Pernet, Rtnl};

fn inverted(pernet: &LevelMutex<Pernet, ()>, rtnl: &LevelMutex<Rtnl, ()>) {
    let mut held = Locked::nothing();
    let mut rtnl = rtnl.lock(&mut held);
    pernet.lock(rtnl.token());
}

fn main() {}
