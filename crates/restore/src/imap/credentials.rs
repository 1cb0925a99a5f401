//! How to log in: read from a file or from the environment, never shown.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use mail::Address;
use serde::Deserialize;

use crate::RestoreError;

/// The variable of the environment that holds credentials, in the form of a file of them.
pub const CREDENTIALS_VARIABLE: &str = "RESTANTE_IMAP_CREDENTIALS";
/// No file of credentials is longer.
const MOST_BYTES: u64 = 64 << 20;

/// A password or token. Nothing shows it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(super) struct Secret(String);

impl Secret {
    /// What it is, for the server alone.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// How a master user says for whom it logs in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum For {
    /// In one name: `account*master`, as Dovecot has it.
    #[default]
    Name,
    /// As SASL's authorization identity, as Cyrus and others have it.
    Authzid,
}

fn star() -> String {
    "*".to_owned()
}

fn whole_address() -> String {
    "{account}".to_owned()
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Master {
    user: String,
    password: Secret,
    /// What stands between the account and the master user.
    #[serde(default = "star")]
    separator: String,
    #[serde(default)]
    r#for: For,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Own {
    /// The login name, if it is another than `login` makes.
    user: Option<String>,
    password: Option<Secret>,
    /// An OAuth 2 access token.
    token: Option<Secret>,
}

/// The credentials of a server's accounts.
///
/// ```json
/// {
///   "login": "{account}",
///   "master": {"user": "restorer", "password": "…", "separator": "*", "for": "name"},
///   "accounts": {"ada@lindenhof.example": {"password": "…"}, "bo@lindenhof.example": {"token": "…"}}
/// }
/// ```
///
/// All are optional; an account of its own goes before the master user.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    #[serde(default = "whole_address")]
    login: String,
    master: Option<Master>,
    #[serde(default)]
    accounts: BTreeMap<String, Own>,
}

impl Default for Credentials {
    fn default() -> Self {
        Self {
            login: whole_address(),
            master: None,
            accounts: BTreeMap::new(),
        }
    }
}

/// What a session logs in with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Login {
    /// For whom, where that is another than who logs in.
    pub(super) authzid: String,
    /// Who logs in.
    pub(super) user: String,
    pub(super) secret: Secret,
    /// The secret is an OAuth 2 token.
    pub(super) is_token: bool,
}

impl Credentials {
    /// Reads them from `file`, or from [`CREDENTIALS_VARIABLE`] if none is named.
    pub fn read(file: Option<&Path>) -> Result<Self, RestoreError> {
        match file {
            Some(path) => Self::from_file(path),
            None => match std::env::var(CREDENTIALS_VARIABLE) {
                Ok(text) => Self::parse(&text, CREDENTIALS_VARIABLE),
                Err(_) => Err(RestoreError::Credentials(format!(
                    "an IMAP target needs credentials: name a file with --credentials, or put its \
                     text into {CREDENTIALS_VARIABLE}"
                ))),
            },
        }
    }

    fn from_file(path: &Path) -> Result<Self, RestoreError> {
        let io = |source| RestoreError::io(path, source);
        let file = File::open(path).map_err(io)?;
        let metadata = file.metadata().map_err(io)?;
        if metadata.is_file() && metadata.mode() & 0o077 != 0 {
            return Err(RestoreError::Credentials(format!(
                "{} can be read by others: chmod 600 it",
                path.display()
            )));
        }
        let mut text = String::new();
        file.take(MOST_BYTES)
            .read_to_string(&mut text)
            .map_err(io)?;
        Self::parse(&text, &path.display().to_string())
    }

    /// The text is not in the error: it holds passwords.
    fn parse(text: &str, place: &str) -> Result<Self, RestoreError> {
        let wrong = |why: String| RestoreError::Credentials(format!("{place}: {why}"));
        let read: Self = serde_json::from_str(text).map_err(|error| {
            wrong(format!(
                "no credentials at line {} column {}; docs/imap.md shows their form",
                error.line(),
                error.column()
            ))
        })?;
        let filled = read.login.replace("{account}", "").replace("{local}", "");
        if filled.contains(['{', '}']) || filled == read.login {
            return Err(wrong(format!(
                "`login` is {:?}: write it with {{account}} or {{local}}",
                read.login
            )));
        }
        for (name, own) in &read.accounts {
            if Address::parse(name).is_none() {
                return Err(wrong(format!(
                    "{name:?} is not an account like local@domain"
                )));
            }
            if own.password.is_some() == own.token.is_some() {
                return Err(wrong(format!("{name} needs a password or a token")));
            }
        }
        Ok(read)
    }

    /// The login name of an account.
    pub fn name_of(&self, account: &Address) -> String {
        let own = self.accounts.get(&account.to_string());
        own.and_then(|own| own.user.clone()).unwrap_or_else(|| {
            self.login
                .replace("{account}", &account.to_string())
                .replace("{local}", account.local())
        })
    }

    /// How to log in for an account.
    pub(super) fn login(&self, account: &Address) -> Result<Login, RestoreError> {
        let name = self.name_of(account);
        let own = self.accounts.get(&account.to_string());
        if let Some((secret, is_token)) = own.and_then(|own| {
            let token = own.token.clone().map(|token| (token, true));
            own.password.clone().map(|word| (word, false)).or(token)
        }) {
            return Ok(Login {
                authzid: String::new(),
                user: name,
                secret,
                is_token,
            });
        }
        let Some(master) = &self.master else {
            return Err(RestoreError::Credentials(format!(
                "the credentials name neither {account} nor a master user"
            )));
        };
        let (authzid, user) = match master.r#for {
            For::Name => (
                String::new(),
                format!("{name}{}{}", master.separator, master.user),
            ),
            For::Authzid => (name, master.user.clone()),
        };
        Ok(Login {
            authzid,
            user,
            secret: master.password.clone(),
            is_token: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(text: &str, account: &str) -> (String, String, String, bool) {
        let credentials = Credentials::parse(text, "test").unwrap();
        let login = credentials
            .login(&Address::parse(account).unwrap())
            .unwrap();
        let secret = login.secret.reveal().to_owned();
        (login.authzid, login.user, secret, login.is_token)
    }

    #[test]
    fn accounts_log_in_by_themselves_or_by_a_master_user() {
        let own = |authzid: &str, user: &str, secret: &str, is_token| {
            let [authzid, user, secret] = [authzid, user, secret].map(str::to_owned);
            (authzid, user, secret, is_token)
        };
        let text = r#"{"master": {"user": "m", "password": "pw"},
            "accounts": {"bo@x.example": {"token": "t0"}, "cy@x.example": {"user": "cyrus", "password": "p"}}}"#;
        assert_eq!(
            login(text, "ada@x.example"),
            own("", "ada@x.example*m", "pw", false)
        );
        assert_eq!(
            login(text, "bo@x.example"),
            own("", "bo@x.example", "t0", true)
        );
        assert_eq!(login(text, "cy@x.example"), own("", "cyrus", "p", false));
        let text =
            r#"{"login": "{local}", "master": {"user": "m", "password": "pw", "for": "authzid"}}"#;
        assert_eq!(login(text, "ada@x.example"), own("ada", "m", "pw", false));
    }

    #[test]
    fn nothing_shows_a_secret_and_mistakes_are_named_without_it() {
        let text = r#"{"master": {"user": "m", "password": "hunter2"}}"#;
        let credentials = Credentials::parse(text, "test").unwrap();
        let account = Address::parse("a@x.example").unwrap();
        let shown = format!("{credentials:?} {:?}", credentials.login(&account).unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
        for wrong in [
            r#"{"master": {"user": "m", "password": "hunter2""#,
            r#"{"hunter2": 1}"#,
            r#"{"login": "hunter"}"#,
            r#"{"login": "{user}"}"#,
            r#"{"accounts": {"hunter": {"password": "hunter2"}}}"#,
            r#"{"accounts": {"a@x.example": {}}}"#,
            r#"{"accounts": {"a@x.example": {"password": "hunter2", "token": "hunter2"}}}"#,
        ] {
            let error = Credentials::parse(wrong, "test").unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
        let none = Credentials::parse("{}", "test").unwrap().login(&account);
        assert!(none.unwrap_err().to_string().contains("neither"));
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("credentials.json");
        std::fs::write(&path, "{}").unwrap();
        for (mode, is_fine) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(Credentials::read(Some(&path)).is_ok(), is_fine, "{mode:o}");
        }
    }
}
