//! This process as one replica of the ledger: it loads the rows, follows the log, and is the only one that writes the
//! index. It knows `store` and `check`, and nobody's request.

mod follow;
pub mod protocol;

pub use follow::{Ledger, follow};
