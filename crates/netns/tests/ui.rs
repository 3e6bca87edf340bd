//! What must not compile does not, and says why.
#![cfg(not(any(loom, shuttle)))]

#[test]
fn misuse_of_locks_and_of_the_namespace_list_does_not_compile() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/ui/whole_order.rs");
    for case in [
        "list_changed_with_only_pernet",
        "list_changed_with_only_rtnl",
        "list_walked_with_a_namespace_lock_alone",
        "list_walked_with_nothing",
        "namespace_locked_twice",
        "pernet_in_a_request",
        "rtnl_under_a_namespace_lock",
        "state_kept_after_leaving",
        "token_kept_after_its_request",
        "two_namespaces_without_rtnl",
    ] {
        cases.compile_fail(format!("tests/ui/{case}.rs"));
    }
}
