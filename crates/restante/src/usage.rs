//! Telling wrong usage from failure.

use std::process::ExitCode;

use case::CaseError;
use mail::account::{ListError, RulesError};
use restore::RestoreError;

/// Something that the person at the terminal asked for and that cannot be done as asked.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

impl Usage {
    /// An error that says what was wrong and what to do next.
    pub(crate) fn error(text: impl Into<String>) -> anyhow::Error {
        Self(text.into()).into()
    }
}

/// 2 for wrong usage, 1 for what failed.
pub(crate) fn exit_code(error: &anyhow::Error) -> ExitCode {
    let usage = error.chain().any(|cause| {
        cause.is::<Usage>()
            || cause.is::<RulesError>()
            || cause.is::<ListError>()
            || cause.is::<aggregate::Error>()
            || matches!(
                cause.downcast_ref(),
                Some(
                    CaseError::NotACase { .. }
                        | CaseError::NotEmpty { .. }
                        | CaseError::OtherFormat { .. }
                        | CaseError::Malformed { .. }
                )
            )
            || matches!(
                cause.downcast_ref(),
                Some(RestoreError::NoTarget { .. } | RestoreError::InsideCase { .. })
            )
            || matches!(
                cause.downcast_ref(),
                Some(evidence::Error::NotEvidence { .. })
            )
    });
    ExitCode::from(if usage { 2 } else { 1 })
}
