//! Frames that pass, who reads of them, and the interface that goes meanwhile.

use crate::harness::{fails, passes};
use crate::sketch;
use crate::world::{Probe, State, World, enter, named, new};
use holm_ifnet::{Capture, Request};
use holm_lifetime::Deadline;
use holm_netns::Namespace;
use shuttle::sync::{Arc, Mutex};
use shuttle::thread;

/// A capture, with room for a few frames.
pub trait Films: Default + Send + Sync + 'static {
    /// A frame passes.
    fn pass(&self);
    /// Nothing will pass any more.
    fn gone(&self);
    /// Reads to the end: how many frames were kept, and how many were not.
    fn read(&self) -> (u64, u64);
    fn end(&self) {}
}

fn every_frame_is_kept_or_counted<F: Films>() {
    let films = Arc::new(F::default());
    let reader = thread::spawn({
        let films = films.clone();
        move || films.read()
    });
    let passes = thread::spawn({
        let films = films.clone();
        move || (0..2).for_each(|_| films.pass())
    });
    films.pass();
    films.pass();
    passes.join().unwrap();
    films.gone();
    let (kept, dropped) = reader.join().unwrap();
    assert_eq!(kept + dropped, 4, "{LOST}");
    films.end();
}

/// What is said of frames that nobody has counted.
const LOST: &str = "frames were lost";

#[test]
fn capture_is_read_to_the_end() {
    passes("capture of an interface that goes", every_frame_is_kept_or_counted::<Real>);
    let what = "the reader looks, and then says that it waits";
    fails(what, &["deadlock"], every_frame_is_kept_or_counted::<sketch::LooksThenWaits>);
    let what = "the end throws away what was not read";
    fails(what, &[LOST], every_frame_is_kept_or_counted::<sketch::EndsEmpty>);
}

#[test]
fn captures_begin_and_end_while_the_interface_goes() {
    passes("captures that come and go, and an interface that goes", || {
        let real = Arc::new(Real::default());
        let captures = thread::spawn({
            let real = real.clone();
            move || {
                let (_inside, interfaces) = enter(&real.ns).unwrap();
                for _ in 0..2 {
                    let Some(interface) = interfaces.find(named("a")) else { return };
                    let capture = interface.capture(20);
                    drop(interface);
                    drop(capture);
                }
            }
        });
        real.pass();
        real.gone();
        captures.join().unwrap();
        drop(real.capture.lock().unwrap().take());
        real.end();
    });
}

/// An interface under capture.
struct Real {
    world: World,
    ns: Namespace,
    capture: Mutex<Option<Capture>>,
}

impl Default for Real {
    fn default() -> Self {
        let world = World::new();
        let ns = world.registry.create("blue").unwrap();
        let (_inside, interfaces) = enter(&ns).unwrap();
        let interface = interfaces.create(new("a"), Probe(Arc::<State>::default())).unwrap();
        interfaces.request(named("a"), &Request::SetUp(true)).unwrap();
        let capture = Mutex::new(Some(interface.capture(20)));
        Self { world, ns, capture }
    }
}

impl Films for Real {
    fn pass(&self) {
        let (_inside, interfaces) = enter(&self.ns).unwrap();
        let interface = interfaces.find(named("a")).unwrap();
        interface.transmit(&mut vec![vec![0; 60].into()]);
    }

    fn gone(&self) {
        let (_inside, interfaces) = enter(&self.ns).unwrap();
        interfaces.destroy(named("a"), Deadline::Never).unwrap();
    }

    fn read(&self) -> (u64, u64) {
        let mut capture = self.capture.lock().unwrap().take().unwrap();
        let mut file = Vec::new();
        shuttle::future::block_on(async {
            while let Some(more) = capture.next().await {
                file.extend(more);
            }
        });
        count(&file)
    }

    fn end(&self) {
        self.world.end();
    }
}

/// The frames of a file, and those that it says are not in it.
fn count(mut file: &[u8]) -> (u64, u64) {
    let (mut kept, mut dropped) = (0, 0);
    while let Some(head) = file.get(..8) {
        let [kind, len] = [0, 4].map(|at| u32::from_le_bytes(head[at..at + 4].try_into().unwrap()));
        let (block, rest) = file.split_at(len as usize);
        match kind {
            5 => dropped = u64::from_le_bytes(block[36..44].try_into().unwrap()),
            6 => kept += 1,
            _ => {}
        }
        file = rest;
    }
    (kept, dropped)
}
