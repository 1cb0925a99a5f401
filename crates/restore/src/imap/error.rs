//! What can go wrong with a server.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;

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
    /// It takes no such OAuth 2 token.
    #[error(
        "the token was refused{status}{scope}: {text}; tokens end after a while: put a new one into the \
         credentials, made for this server and this account, and run the same command again"
    )]
    Token {
        /// What kind of refusal it is, by its own name.
        status: String,
        /// The scope that the token needs, where the server says so.
        scope: String,
        /// The words of the server.
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

    /// The refusal `error` of a token, with what the challenge before it says. One that will pass, and one
    /// of a server that speaks no JSON there, stays what it is.
    pub(super) fn token(challenge: &str, error: Self) -> Self {
        let said = BASE64
            .decode(challenge)
            .ok()
            .and_then(|json| serde_json::from_slice::<Challenge>(&json).ok());
        match (said, error) {
            (Some(said), Self::Refused { code, text, .. })
                if !BUSY.iter().any(|name| has_code(&code, name)) =>
            {
                Self::Token {
                    status: format!(" ({})", said.status),
                    scope: match said.scope.as_deref() {
                        None | Some("") => String::new(),
                        Some(scope) => format!(", which must be for the scope {scope}"),
                    },
                    text: format!("{code}{text}"),
                }
            }
            (_, error) => error,
        }
    }

    /// Whether the server gave `code` as the reason of a refusal.
    pub(super) fn is(&self, name: &str) -> bool {
        matches!(self, Self::Refused { code, .. } if has_code(code, name))
    }

    /// Whether it is worth trying again later: the server is busy, or the connection was lost.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Connect(_) | Self::Lost(_) | Self::Bye(_) => true,
            Self::Refused { .. } => BUSY.iter().any(|name| self.is(name)),
            _ => false,
        }
    }
}

/// The response codes of a server that may do later what it does not do now.
const BUSY: [&str; 4] = ["UNAVAILABLE", "INUSE", "LIMIT", "SERVERBUG"];

/// Whether a response code in brackets is `name`, with whatever follows it.
fn has_code(code: &str, name: &str) -> bool {
    code.trim_matches(['[', ']', ' ']).split(' ').next() == Some(name)
}

/// What a server says in base64 before it refuses a token (RFC 7628, section 3.2.2; the same for XOAUTH2).
#[derive(Deserialize)]
struct Challenge {
    status: String,
    scope: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: &str) -> ImapError {
        ImapError::Refused {
            command: "the login",
            code: code.to_owned(),
            text: "Failed.".to_owned(),
        }
    }

    #[test]
    fn the_challenge_before_a_refusal_says_why_a_token_is_not_taken() {
        let json = r#"{"status":"invalid_token","schemes":"bearer","scope":"mail"}"#;
        let error = ImapError::token(&BASE64.encode(json), refused("[AUTHENTICATIONFAILED] "));
        let said = error.to_string();
        assert!(!error.is_passing());
        let wanted = "the token was refused (invalid_token), which must be for the scope mail: \
                      [AUTHENTICATIONFAILED] Failed.; tokens ";
        assert!(said.starts_with(wanted), "{said}");
        let json = BASE64.encode(r#"{"status":"401","scope":""}"#);
        let said = ImapError::token(&json, refused("")).to_string();
        assert!(
            said.starts_with("the token was refused (401): Failed.; tokens "),
            "{said}"
        );
        assert!(ImapError::token(&json, refused("[UNAVAILABLE] ")).is_passing());
        for nonsense in ["", "=", "bm8=", "e30="] {
            let error = ImapError::token(nonsense, refused(""));
            assert!(matches!(error, ImapError::Refused { .. }), "{nonsense}");
        }
    }
}
