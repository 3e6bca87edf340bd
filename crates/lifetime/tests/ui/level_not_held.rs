use holm_lifetime::levels::{DevBase, Holds, LevelMutex, Locked, NsRtnl, Rtnl};

fn needs_ns_rtnl<H: Holds<NsRtnl>>(_: &mut Locked<'_, H>) {}

fn without(rtnl: &LevelMutex<Rtnl, ()>, dev_base: &LevelMutex<DevBase, ()>) {
    let mut held = Locked::nothing();
    let mut rtnl = rtnl.lock(&mut held);
    let mut dev_base = dev_base.lock(rtnl.token());
    needs_ns_rtnl(dev_base.token());
}

fn main() {}
