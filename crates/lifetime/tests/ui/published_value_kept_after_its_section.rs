use holm_lifetime::{Published, grace};

fn kept(published: &Published<String>) -> Option<&String> {
    let section = grace::section();
    published.get(&section)
}

fn main() {}
