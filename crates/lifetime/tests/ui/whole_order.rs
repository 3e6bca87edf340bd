//! The whole order, and levels left out of it, is accepted.
use holm_lifetime::levels::{DevBase, Holds, LevelMutex, Locked, NsRtnl, Pernet, Rtnl};

fn needs<H: Holds<Pernet> + Holds<Rtnl> + Holds<NsRtnl> + Holds<DevBase>>(_: &mut Locked<'_, H>) {}

fn main() {
    let pernet = LevelMutex::<Pernet, _>::new(1);
    let rtnl = LevelMutex::<Rtnl, _>::new(2);
    let (ns, other) = (LevelMutex::<NsRtnl, _>::new(3), LevelMutex::<NsRtnl, _>::new(3));
    let dev_base = LevelMutex::<DevBase, _>::new(4);

    let mut held = Locked::nothing();
    {
        let mut pernet = pernet.lock(&mut held);
        let mut rtnl = rtnl.lock(pernet.token());
        {
            let mut both = LevelMutex::lock_two(&ns, &other, rtnl.token());
            let mut dev_base = dev_base.lock(both.token());
            needs(dev_base.token());
        }
        assert!(dev_base.try_lock(rtnl.token()).is_some());
    }
    let mut rtnl = rtnl.lock(&mut held);
    let mut ns = ns.lock(rtnl.token());
    let mut alone = ns.token().innermost();
    drop(dev_base.lock(&mut alone));
}
