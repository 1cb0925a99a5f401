//! What can go wrong with a server.

use std::io;

use super::wire::Status;

/// Why a server did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ImapError {
    /// It cannot be reached.
    #[error("it cannot be reached: {0}")]
    Connect(io::Error),
    /// The connection was lost.
    #[error("the connection was lost: {0}")]
    Lost(io::Error),
    /// It did not prove to be who it should be, or speaks no TLS that is safe.
    #[error("TLS: {0}. A certificate of your own authority is named by --ca FILE")]
    Tls(String),
    /// Nothing would hide a password from those who can read along.
    #[error(
        "it offers no TLS, so that a password could be read on the way: use imaps://, or say --allow-cleartext"
    )]
    Cleartext,
    /// It offers no way to log in that is known here.
    #[error("it offers no way to log in that is known here: {0}")]
    NoLogin(String),
    /// It refused a command.
    #[error("{command} was refused: {code}{text}")]
    Refused {
        /// The command's name.
        command: &'static str,
        /// The response code in brackets, with a space behind it, if there was one.
        code: String,
        /// Its words.
        text: String,
    },
    /// It ended the connection.
    #[error("it ended the connection: {0}")]
    Bye(String),
    /// It did not understand a command, or said what is no IMAP.
    #[error("it speaks another IMAP than this: {0}")]
    Nonsense(String),
}

impl ImapError {
    pub(super) fn refused(command: &'static str, status: &Status) -> Self {
        let code = match status.code.as_str() {
            "" => String::new(),
            code => format!("[{code}] "),
        };
        Self::Refused {
            command,
            code,
            text: status.text.clone(),
        }
    }

    /// Whether the server gave `code` as the reason of a refusal.
    pub(super) fn is(&self, name: &str) -> bool {
        matches!(self, Self::Refused { code, .. }
            if code.trim_matches(['[', ']', ' ']).split(' ').next() == Some(name))
    }

    /// Whether it is worth trying again later: the server is busy, or the connection was lost.
    pub(super) fn is_passing(&self) -> bool {
        let busy = ["UNAVAILABLE", "INUSE", "LIMIT", "SERVERBUG"];
        match self {
            Self::Connect(_) | Self::Lost(_) | Self::Bye(_) => true,
            Self::Refused { .. } => busy.iter().any(|name| self.is(name)),
            _ => false,
        }
    }
}
