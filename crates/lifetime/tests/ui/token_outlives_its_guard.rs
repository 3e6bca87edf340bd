use holm_lifetime::levels::{Holding, LevelMutex, Locked, Nothing, Rtnl};

fn kept<'a>(rtnl: &'a LevelMutex<Rtnl, ()>, held: &'a mut Locked<'static>) -> Locked<'a, Holding<Rtnl, Nothing>> {
    let mut guard = rtnl.lock(held);
    guard.token().innermost()
}

fn main() {}
