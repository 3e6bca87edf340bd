use holm_lifetime::levels::{LevelMutex, Locked, Rtnl};

fn sent(rtnl: &'static LevelMutex<Rtnl, ()>) {
    let mut held = Locked::nothing();
    std::thread::spawn(move || drop(rtnl.lock(&mut held)));
}

fn main() {}
