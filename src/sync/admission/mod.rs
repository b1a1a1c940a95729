//! Who may come in, and from which cursors.
//!
//! - [`Login`]: who wants to, as the user is told; [`Access`]: what the user answers;
//! - `refusals`: who was refused too often to be asked about; [`Quota`]: how much one may send that was let in;
//! - `places`: how many peers are served at once, and whose connection ends for the sake of another's;
//! - `admission`: the user's answers, what the store knows, and both for one connection.

mod access;
#[expect(clippy::module_inception, reason = "the room's own file, beside its parts")]
mod admission;
mod login;
mod places;
mod quota;
mod refusals;

pub use access::Access;
pub(crate) use access::Undecided;
pub(crate) use admission::{Admission, Policy};
pub use login::Login;
pub(crate) use places::{Displaced, Place, Places};
pub use quota::Quota;
pub(crate) use quota::{Cost, Payer};
pub use refusals::RefusalLimit;
