use holm_lifetime::grace;

fn main() {
    let section = grace::section();
    std::thread::spawn(move || drop(section));
}
