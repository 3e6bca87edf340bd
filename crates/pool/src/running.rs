//! Whether a thread waits for something, or for nothing but a CPU.

use std::fs;

/// The number by which the kernel knows the calling thread; 0 under a model checker, which has
/// threads of its own.
pub(crate) fn own_thread() -> u32 {
    if cfg!(shuttle) { 0 } else { rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs() }
}

/// Whether a thread of this process runs, or would if there were a CPU for it (proc(5): state `R`).
/// Where that can't be seen it is taken to wait.
pub(crate) fn is_runnable(thread: u32) -> bool {
    let stat = fs::read(format!("/proc/self/task/{thread}/stat")).unwrap_or_default();
    // The name before it may hold anything, and ends with the last parenthesis.
    let name = stat.iter().rposition(|byte| *byte == b')');
    name.is_some_and(|end| stat.get(end + 2) == Some(&b'R'))
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc;

    #[test]
    fn a_thread_that_waits_is_told_from_one_that_does_not() {
        assert!(is_runnable(own_thread()));
        assert!(!is_runnable(0), "there is none");

        let (tell, told) = mpsc::channel();
        let (end, wait) = mpsc::channel::<()>();
        let waiting = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let waiting = &waiting;
            scope.spawn(move || {
                tell.send(own_thread()).unwrap();
                waiting.store(true, Ordering::SeqCst);
                wait.recv().unwrap_err();
            });
            let thread = told.recv().unwrap();
            // It has nothing left to do but to wait, and gets there.
            while !waiting.load(Ordering::SeqCst) || is_runnable(thread) {
                std::thread::yield_now();
            }
            drop(end);
        });
    }
}
