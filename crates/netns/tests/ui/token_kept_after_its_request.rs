use holm_lifetime::levels::{Holding, Locked, Nothing, NsRtnl};
use holm_netns::Namespace;

fn kept(ns: &Namespace) {
    let mut kept: Option<Locked<'static, Holding<NsRtnl, Nothing>>> = None;
    ns.request_then(&mut Locked::nothing(), |in_ns| kept = Some(in_ns.held.innermost()), |_| ());
}

fn main() {}
