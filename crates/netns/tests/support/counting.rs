//! A global allocator that knows how much is allocated.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicIsize, Ordering};

/// The system's allocator, counted.
pub struct Counting;

/// In a cache line of its own: what is measured must not share it with whoever allocates.
#[repr(align(128))]
struct Line(AtomicIsize);

static BYTES: Line = Line(AtomicIsize::new(0));

/// How many bytes are allocated now.
pub fn allocated() -> isize {
    BYTES.0.load(Ordering::SeqCst)
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        BYTES.0.fetch_add(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        BYTES.0.fetch_sub(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}
