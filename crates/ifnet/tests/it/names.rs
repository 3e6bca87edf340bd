//! Names and units, whatever happens to them.

use crate::world::{Idle, World, named};
use holm_ifnet::{NewInterface, Request};
use holm_lifetime::Deadline;
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Debug, Clone)]
enum Step {
    Create(Option<String>),
    Rename(usize, String),
    Destroy(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Few enough that they meet.
    let name = || prop_oneof![(0..5_u32).prop_map(|unit| format!("idle{unit}")), "[a-c]"];
    let step = prop_oneof![
        3 => prop::option::of(name()).prop_map(Step::Create),
        2 => (any::<usize>(), name()).prop_map(|(which, name)| Step::Rename(which, name)),
        2 => any::<usize>().prop_map(Step::Destroy),
    ];
    prop::collection::vec(step, 1..60)
}

/// What there should be: units by name.
type Model = BTreeMap<String, u32>;

fn free_unit(model: &Model) -> u32 {
    let taken = |unit: u32| {
        model.contains_key(&format!("idle{unit}")) || model.values().any(|other| *other == unit)
    };
    (0..).find(|unit| !taken(*unit)).unwrap()
}

fn nth(model: &Model, which: usize) -> Option<String> {
    model.keys().nth(which % model.len().max(1)).cloned()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn names_and_units_are_those_of_the_model(steps in steps()) {
        let world = World::new();
        let ns = world.create("blue");
        let mut model = Model::new();
        for step in steps {
            match step {
                Step::Create(name) => {
                    let new = name.as_deref().map(named);
                    let made = ns.create(NewInterface { name: new, ..NewInterface::default() },
                        Idle::default());
                    let expected = name.unwrap_or_else(|| format!("idle{}", free_unit(&model)));
                    prop_assert_eq!(made.is_ok(), !model.contains_key(&expected));
                    if let Ok(made) = made {
                        let own = expected.strip_prefix("idle").map(|unit| unit.parse().unwrap());
                        let own = own.filter(|own| !model.values().any(|unit| unit == own));
                        let unit = own.unwrap_or_else(|| free_unit(&model));
                        prop_assert_eq!((made.name().to_string(), made.unit()), (expected.clone(), unit));
                        model.insert(expected, unit);
                    }
                }
                Step::Rename(which, to) => {
                    let Some(name) = nth(&model, which) else { continue };
                    let renamed = ns.ask(&name, Request::Rename(named(&to)));
                    prop_assert_eq!(renamed.is_ok(), !model.contains_key(&to));
                    if renamed.is_ok() {
                        let unit = model.remove(&name).unwrap();
                        model.insert(to, unit);
                    }
                }
                Step::Destroy(which) => {
                    let Some(name) = nth(&model, which) else { continue };
                    ns.destroy(named(&name), Deadline::Never).unwrap();
                    model.remove(&name);
                }
            }
            let mut is: Vec<_> = ns.list().iter().map(|i| (i.name().to_string(), i.unit())).collect();
            is.retain(|(name, _)| name != "lo");
            prop_assert_eq!(is, model.clone().into_iter().collect::<Vec<_>>());
            for name in model.keys() {
                prop_assert!(ns.find(named(name)).is_some());
            }
        }
    }
}
