//! What the tests of this crate share: subsystems that record what is asked of them.
#![allow(dead_code)]

use holm_netns::{Event, Events, Heard, Held, InitError, NsId, Registry, Subsystem, View};
use std::sync::{Arc, Mutex};

/// What happened to the subsystems of one registry.
#[derive(Clone, Default)]
pub struct World {
    log: Arc<Mutex<Vec<String>>>,
    alive: Arc<()>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Call {
    Init,
    PreExit,
    Exit,
}

type Hook = Box<dyn Fn(&View<'_>) -> Result<(), InitError> + Send + Sync>;

/// Subsystem number `N`, called `sN`.
pub struct Probe<const N: usize> {
    name: String,
    world: World,
    hooks: Vec<(Call, Hook)>,
}

/// Its state in one namespace; counted.
pub struct State {
    pub ns: NsId,
    _alive: Arc<()>,
}

impl World {
    pub fn probe<const N: usize>(&self) -> Probe<N> {
        Probe { name: format!("s{N}"), world: self.clone(), hooks: Vec::new() }
    }

    /// What has been called since this was asked last: `init s1 blue@1`.
    pub fn log(&self) -> Vec<String> {
        std::mem::take(&mut self.log.lock().unwrap())
    }

    /// How many states there are.
    pub fn alive(&self) -> usize {
        Arc::strong_count(&self.alive) - 1 - self.probes_alive()
    }

    fn probes_alive(&self) -> usize {
        // Every clone of the world counts both.
        Arc::strong_count(&self.log) - 1
    }

    fn note(&self, what: &str, name: &str, ns: &NsId) {
        self.log.lock().unwrap().push(format!("{what} {name} {ns}"));
    }
}

impl<const N: usize> Probe<N> {
    /// Calls `hook` in the callback, after it was recorded.
    pub fn at(
        mut self,
        call: Call,
        hook: impl Fn(&View<'_>) -> Result<(), InitError> + Send + Sync + 'static,
    ) -> Self {
        self.hooks.push((call, Box::new(hook)));
        self
    }

    fn run(&self, call: Call, ns: &View<'_>) -> Result<(), InitError> {
        self.hooks.iter().filter(|(at, _)| *at == call).try_for_each(|(_, hook)| hook(ns))
    }
}

impl<const N: usize> Subsystem for Probe<N> {
    type State = State;

    fn name(&self) -> &str {
        &self.name
    }

    fn init(&self, ns: &View<'_>, _: &mut Held<'_>) -> Result<State, InitError> {
        self.world.note("init", &self.name, ns.namespace().id());
        self.run(Call::Init, ns)?;
        Ok(State { ns: ns.namespace().id().clone(), _alive: self.world.alive.clone() })
    }

    fn pre_exit(&self, ns: &View<'_>, state: &State) {
        assert_eq!(state.ns, *ns.namespace().id());
        self.world.note("pre_exit", &self.name, ns.namespace().id());
        self.run(Call::PreExit, ns).expect("only init may refuse");
    }

    fn exit(&self, ns: &View<'_>, state: State) {
        assert_eq!(state.ns, *ns.namespace().id());
        self.world.note("exit", &self.name, ns.namespace().id());
        self.run(Call::Exit, ns).expect("only init may refuse");
    }
}

/// All events up to now.
pub fn heard(events: &mut Events) -> Vec<String> {
    let mut all = Vec::new();
    while let Some(heard) = events.try_next() {
        all.push(match heard {
            Heard::Event(event) => event.to_string(),
            Heard::Missed(count) => format!("missed {count}"),
        });
    }
    all
}

/// Waits until this namespace is gone.
pub fn wait_for_gone(events: &mut Events, ns: &NsId) {
    loop {
        match events.wait().expect("the registry is there") {
            Heard::Event(Event::Gone(gone)) if gone == *ns => return,
            Heard::Event(_) => {}
            Heard::Missed(count) => panic!("missed {count}"),
        }
    }
}

/// A registry with subsystems `s1`, `s2` and `s3`.
pub fn three(world: &World) -> Registry {
    let registry = Registry::new().expect("a worker thread");
    registry.register(world.probe::<1>()).expect("no namespaces");
    registry.register(world.probe::<2>()).expect("no namespaces");
    registry.register(world.probe::<3>()).expect("no namespaces");
    registry
}

/// What tear-down of a namespace with these subsystems calls.
pub fn torn_down(subsystems: &[&str], ns: &str) -> Vec<String> {
    let each = |what| subsystems.iter().rev().map(move |s| format!("{what} {s} {ns}"));
    each("pre_exit").chain(each("exit")).collect()
}
