//! A session with a server: commands, and what is known of the server.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::credentials::Login;
use super::error::ImapError;
use super::stream::Stream;
use super::target::ImapTarget;
use super::wire::{Condition, Response, Status, Value};

/// A literal up to this length need not be waited for with `LITERAL-` (RFC 7888).
const SHORT: usize = 4096;
/// Responses to one command, at most: two for each message of the largest folders.
const MOST_RESPONSES: u64 = 100_000_000;

/// A part of a command.
pub(super) enum Part<'a> {
    /// As it is.
    Text(&'a str),
    /// The name of a folder or a user: quoted, or a literal.
    Name(&'a str),
    /// A literal.
    Bytes(&'a [u8]),
}

/// A session that is logged in.
pub(super) struct Session {
    stream: Stream,
    number: u64,
    capabilities: BTreeSet<String>,
    /// What the names of the account's own folders begin with, and what stands between levels.
    pub(super) prefix: String,
    pub(super) separator: char,
}

impl Session {
    /// Connects to `target` and logs in.
    pub(super) fn open(target: &ImapTarget, login: &Login) -> Result<Self, ImapError> {
        let mut stream = Stream::connect(target.host(), target.port())?;
        if target.is_tls() {
            stream = stream.encrypt(target.host(), target.tls()?)?;
        }
        let mut session = Self {
            stream,
            number: 0,
            capabilities: BTreeSet::new(),
            prefix: String::new(),
            separator: '/',
        };
        // A server that takes connections and says nothing is not there.
        let is_logged_in = session.greet().map_err(|error| match error {
            ImapError::Lost(error) => ImapError::Connect(error),
            other => other,
        })?;
        session.stream.be_patient()?;
        if !session.stream.is_encrypted() {
            session = session.start_tls(target)?;
        }
        if !is_logged_in {
            session.log_in(login)?;
        }
        session.ask_capabilities()?;
        if session.can("COMPRESS=DEFLATE") {
            let done = session.run("COMPRESS", &[Part::Text("COMPRESS DEFLATE")], &mut |_| ());
            match done {
                Ok(_) => session.stream.compress(),
                // It is compressed already, below.
                Err(ImapError::Refused { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        session.ask_namespace()?;
        Ok(session)
    }

    /// Whether the server has a capability, in upper case.
    pub(super) fn can(&self, capability: &str) -> bool {
        self.capabilities.contains(capability)
    }

    /// The number behind a capability, as in `APPENDLIMIT=35651584`.
    pub(super) fn limit(&self, capability: &str) -> Option<u64> {
        self.capabilities.iter().find_map(|known| {
            known
                .strip_prefix(capability)?
                .strip_prefix('=')?
                .parse()
                .ok()
        })
    }

    /// Reads the greeting: whether the server takes us for logged in already.
    fn greet(&mut self) -> Result<bool, ImapError> {
        match self.read()? {
            Response::Status(None, status) => match status.condition {
                Condition::Ok => {
                    self.take_capabilities(&status);
                    Ok(false)
                }
                Condition::PreAuth => Ok(true),
                _ => Err(ImapError::Bye(status.text)),
            },
            _ => Err(ImapError::Nonsense("no greeting".to_owned())),
        }
    }

    fn take_capabilities(&mut self, status: &Status) {
        if status.is("CAPABILITY") {
            self.capabilities = status
                .code
                .split(' ')
                .skip(1)
                .map(str::to_ascii_uppercase)
                .collect();
        }
    }

    fn ask_capabilities(&mut self) -> Result<(), ImapError> {
        let mut known = BTreeSet::new();
        self.run("CAPABILITY", &[Part::Text("CAPABILITY")], &mut |data| {
            if data.first().is_some_and(|word| word.is("CAPABILITY")) {
                known.extend(
                    data.iter()
                        .skip(1)
                        .filter_map(Value::bytes)
                        .map(|word| String::from_utf8_lossy(word).to_ascii_uppercase()),
                );
            }
        })?;
        self.capabilities = known;
        Ok(())
    }

    fn start_tls(mut self, target: &ImapTarget) -> Result<Self, ImapError> {
        self.ask_capabilities()?;
        if self.can("STARTTLS") {
            self.run("STARTTLS", &[Part::Text("STARTTLS")], &mut |_| ())?;
            self.stream = self.stream.encrypt(target.host(), target.tls()?)?;
            self.ask_capabilities()?;
            Ok(self)
        } else if target.may_be_cleartext() {
            Ok(self)
        } else {
            Err(ImapError::Cleartext)
        }
    }

    fn log_in(&mut self, login: &Login) -> Result<(), ImapError> {
        if self.capabilities.is_empty() {
            self.ask_capabilities()?;
        }
        let secret = login.secret.reveal();
        if login.is_token {
            if !self.can("AUTH=XOAUTH2") {
                return Err(ImapError::NoLogin("not XOAUTH2, for a token".to_owned()));
            }
            let text = format!("user={}\x01auth=Bearer {secret}\x01\x01", login.user);
            return self.authenticate("XOAUTH2", text.as_bytes());
        }
        if self.can("AUTH=PLAIN") {
            let text = format!("{}\0{}\0{secret}", login.authzid, login.user);
            return self.authenticate("PLAIN", text.as_bytes());
        }
        if !login.authzid.is_empty() || self.can("LOGINDISABLED") {
            return Err(ImapError::NoLogin(
                "neither SASL PLAIN nor LOGIN".to_owned(),
            ));
        }
        let parts = [
            Part::Text("LOGIN "),
            Part::Name(&login.user),
            Part::Text(" "),
            Part::Name(secret),
        ];
        self.run("LOGIN", &parts, &mut |_| ()).map(|_| ())
    }

    fn authenticate(&mut self, mechanism: &str, text: &[u8]) -> Result<(), ImapError> {
        let answer = BASE64.encode(text);
        let tag = self.tag();
        let first = if self.can("SASL-IR") {
            format!("{tag} AUTHENTICATE {mechanism} {answer}\r\n")
        } else {
            format!("{tag} AUTHENTICATE {mechanism}\r\n")
        };
        let mut to_send = (!self.can("SASL-IR")).then_some(answer);
        let mut challenge = None;
        self.stream.write(first.as_bytes())?;
        self.stream.flush()?;
        loop {
            match self.read()? {
                Response::Continue(text) => {
                    // A second one tells why a token is refused, and wants an empty line.
                    let line = to_send.take().unwrap_or_else(|| {
                        challenge = Some(text);
                        String::new()
                    });
                    self.stream.write(line.as_bytes())?;
                    self.stream.write(b"\r\n")?;
                    self.stream.flush()?;
                }
                Response::Status(Some(of), status) if of == tag => {
                    let refused = |error| match challenge.as_deref() {
                        Some(text) => ImapError::token(text, error),
                        None => error,
                    };
                    return outcome("the login", status).map(|_| ()).map_err(refused);
                }
                Response::Status(None, status) if status.condition == Condition::Bye => {
                    return Err(ImapError::Bye(status.text));
                }
                _ => {}
            }
        }
    }

    /// The first personal namespace (RFC 2342); without that extension the separator of the inbox.
    fn ask_namespace(&mut self) -> Result<(), ImapError> {
        let has_namespace = self.can("NAMESPACE");
        let command = if has_namespace {
            "NAMESPACE"
        } else {
            "LIST \"\" \"\""
        };
        let mut found = None;
        self.run("NAMESPACE", &[Part::Text(command)], &mut |data| {
            let word = |at: usize| data.get(at).and_then(Value::bytes);
            let of_list = |values: &[Value]| {
                let text = |at: usize| {
                    let bytes = values.get(at)?.bytes()?;
                    Some(String::from_utf8_lossy(bytes).into_owned())
                };
                Some((text(0)?, text(1)?))
            };
            match word(0) {
                Some(b"NAMESPACE") => {
                    found = data
                        .get(1)
                        .and_then(|personal| of_list(personal.list().first()?.list()));
                }
                Some(b"LIST") if !has_namespace => {
                    let separator =
                        word(2).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
                    found = separator.map(|separator| (String::new(), separator));
                }
                _ => {}
            }
        })?;
        if let Some((prefix, separator)) = found {
            self.prefix = prefix;
            self.separator = separator.chars().next().unwrap_or('/');
        }
        Ok(())
    }

    fn tag(&mut self) -> String {
        self.number = self.number.saturating_add(1);
        format!("R{}", self.number)
    }

    fn read(&mut self) -> Result<Response, ImapError> {
        let raw = self.stream.response()?;
        let shown = raw.line.get(..raw.line.len().min(80)).unwrap_or_default();
        let shown = String::from_utf8_lossy(shown).into_owned();
        Response::parse(raw).ok_or(ImapError::Nonsense(shown))
    }

    /// Sends a command and reads what comes, data to `on`, until it is done.
    pub(super) fn run(
        &mut self,
        name: &'static str,
        parts: &[Part<'_>],
        on: &mut dyn FnMut(&[Value]),
    ) -> Result<Status, ImapError> {
        let tag = self.tag();
        self.stream.write(tag.as_bytes())?;
        self.stream.write(b" ")?;
        for part in parts {
            let literal = match part {
                Part::Text(text) => {
                    self.stream.write(text.as_bytes())?;
                    continue;
                }
                Part::Name(text) => match quoted(text) {
                    Some(quoted) => {
                        self.stream.write(quoted.as_bytes())?;
                        continue;
                    }
                    None => text.as_bytes(),
                },
                Part::Bytes(bytes) => bytes,
            };
            let length = literal.len();
            let at_once = self.can("LITERAL+") || self.can("LITERAL-") && length <= SHORT;
            let plus = if at_once { "+" } else { "" };
            self.stream
                .write(format!("{{{length}{plus}}}\r\n").as_bytes())?;
            if !at_once {
                self.stream.flush()?;
                if let Some(status) = self.wait(&tag, true, on)? {
                    return outcome(name, status);
                }
            }
            self.stream.write(literal)?;
        }
        self.stream.write(b"\r\n")?;
        self.stream.flush()?;
        match self.wait(&tag, false, on)? {
            Some(status) => outcome(name, status),
            None => Err(ImapError::Nonsense(format!("{name} goes on without end"))),
        }
    }

    /// Reads until the command `tag` is done, or with `for_rest` until the server waits for the
    /// rest of it (then `None`).
    fn wait(
        &mut self,
        tag: &str,
        for_rest: bool,
        on: &mut dyn FnMut(&[Value]),
    ) -> Result<Option<Status>, ImapError> {
        let mut bye = None;
        for _ in 0..MOST_RESPONSES {
            let response = match (self.read(), bye.take()) {
                // What it said before it went is the better reason.
                (Err(ImapError::Lost(_)), Some(text)) => return Err(ImapError::Bye(text)),
                (response, before) => {
                    bye = before;
                    response?
                }
            };
            match response {
                Response::Continue(_) if for_rest => return Ok(None),
                Response::Status(Some(of), status) if of == tag => return Ok(Some(status)),
                Response::Status(None, status) if status.condition == Condition::Bye => {
                    bye = Some(status.text);
                }
                Response::Status(None, status) if !status.code.is_empty() => on(&coded(&status)),
                Response::Data(values) => on(&values),
                _ => {}
            }
        }
        Err(ImapError::Nonsense("answers without end".to_owned()))
    }
}

/// A response code as data: `PERMANENTFLAGS (\Seen \*)` comes as `* OK [...]`.
fn coded(status: &Status) -> Vec<Value> {
    let line = format!("* {}", status.code).into_bytes();
    let raw = super::wire::Raw {
        line,
        literals: Vec::new(),
    };
    match Response::parse(raw) {
        Some(Response::Data(values)) => values,
        _ => Vec::new(),
    }
}

fn outcome(name: &'static str, status: Status) -> Result<Status, ImapError> {
    match status.condition {
        Condition::Ok | Condition::PreAuth => Ok(status),
        Condition::No => Err(ImapError::refused(name, &status)),
        Condition::Bye => Err(ImapError::Bye(status.text)),
        Condition::Bad => Err(ImapError::Nonsense(format!("{name}: {}", status.text))),
    }
}

/// A quoted string, if the text can be one.
fn quoted(text: &str) -> Option<String> {
    let plain = text
        .bytes()
        .all(|byte| byte.is_ascii() && !matches!(byte, b'\r' | b'\n' | 0));
    plain.then(|| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")))
}
