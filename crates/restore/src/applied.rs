//! How it came out when a plan was carried out.

use crate::{RestoreError, Warning};

/// What was written, and what could not be.
#[derive(Debug, Default)]
pub struct Applied {
    /// How many messages were added.
    pub added: u64,
    /// How many bytes they have.
    pub bytes: u64,
    /// What could not be added, a message or a whole folder, and why.
    pub failed: Vec<RestoreError>,
    /// What the administrator should know though no mail is missing.
    pub warnings: Vec<Warning>,
    /// Keywords for which the folder has no letter left.
    pub keywords_left_out: u64,
}
