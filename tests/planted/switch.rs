//! Which of the planted faults is at work. This file and the conditions that ask it are only in the
//! copy of the library that `tests/planted/run` makes.

use std::cell::Cell;

thread_local! {
    static FAULT: Cell<&'static str> = const { Cell::new("") };
}

/// Puts a fault to work in all that runs on this thread from now on; an empty name puts none.
pub fn plant(fault: &'static str) {
    FAULT.set(fault);
}

pub(crate) fn is(fault: &str) -> bool {
    FAULT.get() == fault
}
