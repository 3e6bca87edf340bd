//! The whole order, and every way to walk the list, is accepted.
use holm_lifetime::Deadline;
use holm_lifetime::levels::{DevBase, LevelMutex, Locked};
use holm_netns::{NsList, Registry};

fn main() {
    let registry = Registry::new().unwrap();
    let blue = registry.create("blue").unwrap();
    let green = registry.create("green").unwrap();
    let dev_base = LevelMutex::<DevBase, _>::new(());
    let list = NsList::new();

    let mut held = Locked::nothing();
    {
        let mut pernet = registry.pernet(&mut held);
        registry.for_each(pernet.token(), |_, _| true);
        let mut rtnl = registry.rtnl(pernet.token());
        list.insert(blue.clone(), rtnl.token());
        assert!(list.remove(&blue, rtnl.token()));
        let mut ns = blue.lock(rtnl.token());
        drop(dev_base.lock(ns.token()));
    }
    let mut rtnl = registry.rtnl(&mut held);
    registry.for_each(rtnl.token(), |ns, held| {
        let mut ns = ns.lock(held);
        registry.for_each(ns.token(), |_, _| true);
        true
    });
    drop(blue.lock_two(&green, rtnl.token()));
    drop(rtnl);
    registry.remove_all(Deadline::Never).unwrap();
}
