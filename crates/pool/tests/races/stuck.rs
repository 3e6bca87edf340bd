//! A worker that is stuck is replaced, once, and settles when it comes back, once.

use crate::harness::{fails, passes};
use crate::sketch;
use crate::stand::{World, does, in_pool};
use holm_pool::{Handle, Next, Workers};
use shuttle::sync::{Arc, Condvar, Mutex};
use shuttle::thread;

/// One worker, a namespace whose call blocks until it is let go, and another.
pub trait Office: Default + Send + Sync + 'static {
    /// The worker enters the call. Returns when it is in it.
    fn enter_call(&self);
    fn let_go(&self);
    /// The watchdog looks.
    fn look(&self);
    /// Has the other namespace served, and waits for that.
    fn serve_other(&self);
    /// Ends everything. How many are counted in the end: first group, and stuck.
    fn end(&self) -> (usize, usize);
}

fn replaced_while_stuck<O: Office>() {
    let office = O::default();
    office.enter_call();
    office.look();
    office.look();
    // If nobody has taken the worker's place this waits for ever: a deadlock.
    office.serve_other();
    office.let_go();
    assert_eq!(office.end(), (0, 0), "{COUNT}");
}

fn comes_back_while_looked_at<O: Office>() {
    let office = Arc::new(O::default());
    office.enter_call();
    office.look();
    let looks = thread::spawn({
        let office = office.clone();
        move || office.look()
    });
    office.let_go();
    looks.join().unwrap();
    office.serve_other();
    assert_eq!(office.end(), (0, 0), "{COUNT}");
}

#[test]
fn stuck_worker_is_replaced_and_settles_once() {
    passes("a stuck worker is replaced", replaced_while_stuck::<Real>);
    passes("return against being declared stuck", comes_back_while_looked_at::<Real>);
    let what = "a worker that looks whether it was declared, and not again";
    fails(what, &[COUNT], comes_back_while_looked_at::<sketch::LooksOnce>);
}

const COUNT: &str = "the count of workers is off";

struct Real {
    world: World,
    slow: Handle,
    other: Handle,
    call: Arc<Call>,
    served: Arc<Call>,
}

/// Something happens and is waited for.
#[derive(Default)]
pub struct Call {
    state: Mutex<(bool, bool)>,
    changed: Condvar,
}

impl Call {
    pub fn enter(&self) {
        let mut state = self.state.lock().unwrap();
        state.0 = true;
        self.changed.notify_all();
        while !state.1 {
            state = self.changed.wait(state).unwrap();
        }
    }

    pub fn wait_entered(&self) {
        let mut state = self.state.lock().unwrap();
        while !state.0 {
            state = self.changed.wait(state).unwrap();
        }
    }

    pub fn let_go(&self) {
        self.state.lock().unwrap().1 = true;
        self.changed.notify_all();
    }
}

impl Default for Real {
    fn default() -> Self {
        let world = World::new(1);
        let [call, served] = [(); 2].map(|()| Arc::new(Call::default()));
        served.let_go();
        let slow = {
            let ns = world.registry.create("slow").unwrap();
            let call = call.clone();
            let source = does(move |turn| {
                turn.may_block(|| call.enter());
                Next::Idle
            });
            in_pool(&ns, |pool| pool.add(source).unwrap())
        };
        let other = {
            let ns = world.registry.create("other").unwrap();
            let served = served.clone();
            let source = does(move |_| {
                served.enter();
                Next::Idle
            });
            in_pool(&ns, |pool| pool.add(source).unwrap())
        };
        Self { world, slow, other, call, served }
    }
}

impl Office for Real {
    fn enter_call(&self) {
        self.slow.wake();
        self.call.wait_entered();
    }

    fn let_go(&self) {
        self.call.let_go();
    }

    fn look(&self) {
        self.world.pool.look();
    }

    fn serve_other(&self) {
        self.other.wake();
        self.served.wait_entered();
    }

    fn end(&self) -> (usize, usize) {
        // Work of the slow one waits for the second group, whose workers the watchdog starts.
        self.slow.wake();
        self.world.pool.look();
        self.world.pool.look();
        self.world.end();
        let Workers { first, second, stuck, spare, .. } = self.world.pool.metrics().workers;
        assert_eq!((second, spare), (0, 0), "{COUNT}");
        (first, stuck)
    }
}
