//! What the documents say of the tests is true.

use std::fs;
use std::path::Path;

#[test]
fn every_test_that_is_named_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = fs::read_to_string(root.join("docs/protocol.md")).unwrap();
    // In backquotes: crate/file::test.
    let named = page.split('`').skip(1).step_by(2).filter_map(|text| {
        let (file, test) = text.split_once("::")?;
        Some((file.split_once('/')?, test))
    });
    let mut count = 0;
    for ((package, file), test) in named.filter(|(_, test)| *test != "test") {
        let crate_ = root.join("crates").join(package);
        let places = ["tests/it", "tests/program", "tests", "src", "src/nfs3"]
            .map(|folder| crate_.join(folder));
        let is_there = places.iter().any(|folder| {
            let source = fs::read_to_string(folder.join(format!("{file}.rs"))).unwrap_or_default();
            source.contains(&format!("fn {test}("))
        });
        assert!(is_there, "{package}/{file}::{test}");
        count += 1;
    }
    assert!(count > 80, "{count}");
}
