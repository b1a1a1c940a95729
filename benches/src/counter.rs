use serde::{Deserialize, Serialize};

/// The event of all runs: a small one, so that what is measured is the way and not the load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Counter {
    /// `{"type":"counter/inc","value":1}`
    #[serde(rename = "counter/inc")]
    Inc {
        /// By how much.
        value: u64,
    },
}
