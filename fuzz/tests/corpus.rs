//! What the fuzz targets kept is read again, and so are any other inputs.

use std::fs;

use proptest::prelude::{ProptestConfig, any, prop, proptest};

#[test]
fn the_corpus_is_read_without_a_panic() {
    for target in fuzz::TARGETS {
        fuzz::run(target, &[]);
        let folder = format!("{}/corpus/{target}", fuzz::FIXTURES);
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries {
            let path = entry.unwrap().path();
            let input = fs::read(&path).unwrap();
            eprintln!("{}", path.display());
            fuzz::run(target, &input);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn any_changes_are_read_without_a_panic(input in prop::collection::vec(any::<u8>(), 0..400)) {
        for target in fuzz::TARGETS {
            fuzz::run(target, &input);
        }
    }
}
