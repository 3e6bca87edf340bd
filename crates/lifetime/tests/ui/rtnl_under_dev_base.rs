use holm_lifetime::levels::{DevBase, LevelMutex, Locked, Rtnl};

fn inverted(rtnl: &LevelMutex<Rtnl, ()>, dev_base: &LevelMutex<DevBase, ()>) {
    let mut held = Locked::nothing();
    let mut dev_base = dev_base.lock(&mut held);
    rtnl.lock(dev_base.token());
}

fn main() {}
