use holm_lifetime::levels::{LevelMutex, Locked, Rtnl};

fn sent(rtnl: &LevelMutex<Rtnl, ()>) {
    let mut held = Locked::nothing();
    let guard = rtnl.lock(&mut held);
    std::thread::scope(|scope| {
        scope.spawn(move || drop(guard));
    });
}

fn main() {}
