use holm_lifetime::{Deadline, Owner};

fn destroy(_: String) {}

fn main() {
    let owner = Owner::new(String::new());
    let held = owner.get();
    destroy(*held);
    let retired = owner.retire();
    owner.get();
    drop(retired.wait(Deadline::Never));
}
