//! What must not compile does not, and says why.
#![cfg(not(any(loom, shuttle)))]

#[test]
fn misuse_does_not_compile() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/ui/whole_order.rs");
    for case in [
        "guard_on_another_thread",
        "level_not_held",
        "outer_token_while_guard_lives",
        "pernet_far_under_pernet",
        "pernet_under_rtnl",
        "published_value_kept_after_its_section",
        "rtnl_under_dev_base",
        "same_level_twice",
        "section_on_another_thread",
        "token_on_another_thread",
        "token_outlives_its_guard",
        "two_at_once_under_one_of_them",
        "value_destroyed_by_reference",
    ] {
        cases.compile_fail(format!("tests/ui/{case}.rs"));
    }
}
