//! Known faults that the tests plant, one at a time, to see that they are found. Without
//! `--cfg planted` each of these conditions is the constant `false`. `tests/simulation/planted.rs`
//! has the table.

#[cfg(planted)]
thread_local! {
    static FAULT: std::cell::Cell<&'static str> = const { std::cell::Cell::new("") };
}

/// Plants a fault in all that runs on this thread from now on; an empty name plants none.
#[cfg(planted)]
pub fn plant(fault: &'static str) {
    FAULT.set(fault);
}

#[cfg(planted)]
pub(crate) fn is(fault: &str) -> bool {
    FAULT.get() == fault
}

/// Whether this fault is planted.
macro_rules! planted {
    ($fault:literal) => {{
        #[cfg(planted)]
        let is_planted = crate::planted::is($fault);
        #[cfg(not(planted))]
        let is_planted = false;
        is_planted
    }};
}
pub(crate) use planted;
