//! A server that takes mail.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use mail::Address;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::credentials::{Credentials, Login};
use super::error::ImapError;
use crate::RestoreError;

/// How to reach a server.
#[derive(Clone, Debug, Default)]
pub struct ImapOptions {
    /// A file of certificates (PEM) that are trusted besides the system's.
    pub ca: Option<PathBuf>,
    /// Log in without TLS where a server offers none.
    pub allow_cleartext: bool,
    /// How to log in.
    pub credentials: Credentials,
}

/// What is known of reaching a server.
#[derive(Debug, Default)]
pub(super) struct Reach {
    reached: AtomicBool,
    unreachable: AtomicBool,
}

impl Reach {
    /// Notes that there was a session.
    pub(super) fn note_reached(&self) {
        self.reached.store(true, Ordering::Relaxed);
    }

    /// Notes that somebody waited for it in vain. One that was there before may come back.
    pub(super) fn note_waited(&self) {
        if !self.reached.load(Ordering::Relaxed) {
            self.unreachable.store(true, Ordering::Relaxed);
        }
    }

    /// Whether waiting is in vain.
    pub(super) fn is_given_up(&self) -> bool {
        self.unreachable.load(Ordering::Relaxed)
    }
}

/// A server that takes mail.
#[derive(Clone)]
pub struct ImapTarget {
    host: String,
    port: u16,
    is_tls: bool,
    options: ImapOptions,
    /// Whether anybody reached it in this run, or nobody can.
    reach: Arc<Reach>,
    /// Made when it is first needed: reading the system's certificates takes a while.
    tls: Arc<OnceLock<Arc<ClientConfig>>>,
}

impl ImapTarget {
    /// Reads `imap://HOST[:PORT]` or `imaps://HOST[:PORT]`.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let (rest, is_tls) = match (text.strip_prefix("imap://"), text.strip_prefix("imaps://")) {
            (Some(rest), _) => (rest, false),
            (_, Some(rest)) => (rest, true),
            _ => return Err("it does not begin with imap:// or imaps://"),
        };
        if rest.contains('@') {
            return Err("it names a user: users and passwords stand in the credentials only");
        }
        let place = rest.strip_suffix('/').unwrap_or(rest);
        if place.contains(['/', '?', '#', ' ']) {
            return Err("it names a path: folders go below restored_emails in each account");
        }
        let (host, port) = match place
            .strip_prefix('[')
            .and_then(|rest| rest.split_once(']'))
        {
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, Some(port.strip_prefix(':').unwrap_or("?"))),
            None => match place.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (place, None),
            },
        };
        if host.is_empty() {
            return Err("it names no server");
        }
        let port = match port {
            None => Ok(if is_tls { 993 } else { 143 }),
            Some(port) => port.parse(),
        };
        Ok(Self {
            host: host.to_ascii_lowercase(),
            port: port.map_err(|_| "its port is no number")?,
            is_tls,
            options: ImapOptions::default(),
            reach: Arc::default(),
            tls: Arc::default(),
        })
    }

    /// The same, reached in another way.
    #[must_use]
    pub fn with(self, options: ImapOptions) -> Self {
        Self { options, ..self }
    }

    /// The server's name.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Its port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// What is known of reaching it.
    pub(super) fn reach(&self) -> &Reach {
        &self.reach
    }

    /// Whether TLS begins at once.
    pub(super) const fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// Whether a password may be sent without TLS: where it does not leave this machine, or
    /// somebody said so.
    pub(super) fn may_be_cleartext(&self) -> bool {
        let is_here = self.host == "localhost"
            || self
                .host
                .parse()
                .is_ok_and(|address: IpAddr| address.is_loopback());
        is_here || self.options.allow_cleartext
    }

    /// The identity of the target, which its ledger is filed under: the server's name, however it
    /// is reached. The ports 143 and 993 are one server, any other port is another.
    pub fn id(&self) -> String {
        let port = match self.port {
            143 | 993 => String::new(),
            port => format!(":{port}"),
        };
        let digest = blake3::hash(format!("imap:{}{port}", self.host).as_bytes());
        digest.to_hex().get(..16).unwrap_or_default().to_owned()
    }

    /// How an account logs in.
    pub(super) fn login(&self, account: &Address) -> Result<Login, RestoreError> {
        self.options.credentials.login(account)
    }

    /// The name by which the server knows an account.
    pub fn login_name(&self, account: &Address) -> String {
        self.options.credentials.name_of(account)
    }

    /// What is trusted.
    pub(super) fn tls(&self) -> Result<&Arc<ClientConfig>, ImapError> {
        if let Some(config) = self.tls.get() {
            return Ok(config);
        }
        let mut roots = RootCertStore::empty();
        let (_, _) =
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(path) = &self.options.ca {
            add_roots(&mut roots, path)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| ImapError::Tls(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(self.tls.get_or_init(|| Arc::new(config)))
    }

    /// Checks what can be checked without asking the server.
    pub(crate) fn check(&self) -> Result<(), RestoreError> {
        if self.options.ca.is_some() {
            self.tls().map_err(|error| RestoreError::Server {
                server: self.to_string(),
                error,
            })?;
        }
        Ok(())
    }
}

fn add_roots(roots: &mut RootCertStore, path: &Path) -> Result<(), ImapError> {
    let wrong = |why: String| ImapError::Tls(format!("{}: {why}", path.display()));
    let certificates =
        CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))?;
    let mut count = 0_u32;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        let added = roots.add(certificate);
        added.map_err(|error| wrong(error.to_string()))?;
        count = count.saturating_add(1);
    }
    if count == 0 {
        return Err(wrong("it holds no certificate".to_owned()));
    }
    Ok(())
}

impl fmt::Display for ImapTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "imaps" } else { "imap" };
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Debug for ImapTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl PartialEq for ImapTarget {
    fn eq(&self, other: &Self) -> bool {
        (&self.host, self.port, self.is_tls) == (&other.host, other.port, other.is_tls)
    }
}

impl Eq for ImapTarget {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_named_by_urls_without_users() {
        for (text, want) in [
            ("imap://Mail.example", "imap://mail.example:143"),
            ("imaps://mail.example/", "imaps://mail.example:993"),
            ("imap://127.0.0.1:1143", "imap://127.0.0.1:1143"),
            ("imaps://[::1]", "imaps://[::1]:993"),
            ("imaps://[::1]:9", "imaps://[::1]:9"),
        ] {
            assert_eq!(ImapTarget::parse(text).unwrap().to_string(), want);
        }
        for wrong in [
            "imap://ada:hunter2@mail.example",
            "imap://mail.example/INBOX",
            "imap://",
            "imap://:143",
            "imap://mail.example:",
            "imap://mail.example:99999",
            "imap://[::1]9",
            "http://mail.example",
        ] {
            let error = ImapTarget::parse(wrong).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_password_goes_in_the_clear_only_within_this_machine() {
        let target = |text: &str| ImapTarget::parse(text).unwrap();
        for here in ["imap://localhost", "imap://127.0.0.5:1143", "imap://[::1]"] {
            assert!(target(here).may_be_cleartext(), "{here}");
        }
        let away = target("imap://localhost.example");
        assert!(!away.may_be_cleartext());
        let options = ImapOptions {
            allow_cleartext: true,
            ..ImapOptions::default()
        };
        assert!(away.with(options).may_be_cleartext());
    }

    #[test]
    fn a_server_has_one_ledger_however_it_is_reached() {
        let id = |text: &str| ImapTarget::parse(text).unwrap().id();
        assert_eq!(id("imap://mail.example"), id("imaps://MAIL.example"));
        assert_ne!(id("imap://mail.example"), id("imap://mail.example:10143"));
        assert_ne!(id("imap://mail.example"), id("imap://mail2.example"));
    }
}
