//! Mail handed back to real servers: Dovecot and Cyrus, and servers that behave badly.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::common::{Incident, Shown, drill_truth, restante, succeed, top, words};

/// The accounts of the incident `drill`.
const ACCOUNTS: [&str; 6] = [
    "info@oakandash.example",
    "bruno@saltmarsh.example",
    "o'neill@quarry-press.example",
    "j_doe@quarry-press.example",
    "bruno@tidewater.example",
    "esther@tidewater.example",
];

/// A script that runs until its standard input ends.
struct Script {
    child: Child,
    /// Kept open, so that it may go on to write.
    _out: BufReader<ChildStdout>,
    /// Its first line.
    first: String,
}

impl Script {
    fn start(name: &str, arguments: &[&str]) -> Self {
        let mut child = Command::new("python3")
            .arg(top().join("scripts").join(name))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut first = String::new();
        out.read_line(&mut first).unwrap();
        assert!(
            !first.is_empty(),
            "{name} does not start; scripts/setup.sh installs what tests need"
        );
        Self {
            child,
            _out: out,
            first,
        }
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.child.stdin.take();
        let _ = self.child.wait();
    }
}

/// A server with the accounts of an incident.
struct Server {
    _script: Script,
    ready: Value,
    kind: &'static str,
    incident: Incident,
    credentials: PathBuf,
}

impl Server {
    /// Starts a server, and recovers the incident `drill` into a directory elsewhere.
    fn start(kind: &'static str, more: &[&str]) -> Self {
        let incident = Incident::new("drill");
        succeed(&mut incident.recover("case", "elsewhere", &[]));
        let folder = incident.path("server").display().to_string();
        let mut arguments = vec![kind, folder.as_str()];
        for account in ACCOUNTS {
            arguments.extend(["--user", account]);
        }
        arguments.extend(more);
        let script = Script::start("imap_server.py", &arguments);
        let ready: Value = serde_json::from_str(&script.first).unwrap();
        let credentials = incident.path("credentials.json");
        let text = json!({"master": ready["master"]}).to_string();
        write_private(&credentials, &text);
        Self {
            _script: script,
            ready,
            kind,
            incident,
            credentials,
        }
    }

    fn port(&self, name: &str) -> u64 {
        self.ready[name].as_u64().unwrap()
    }

    /// `COMMAND CASE --to URL` with credentials.
    fn command(&self, command: &str, url: &str) -> Command {
        let mut run = restante();
        run.args([command, "--json"])
            .arg(self.incident.path("case"))
            .args(["--to", url, "--ca"])
            .arg(self.ready["ca"].as_str().unwrap())
            .arg("--credentials")
            .arg(&self.credentials);
        run
    }

    fn plain(&self) -> String {
        format!("imap://127.0.0.1:{}", self.port("imap"))
    }

    /// Syncs, and gives whether all was done and what it said.
    fn sync(&self, url: &str, more: &[&str]) -> (bool, Value) {
        let output = self.command("sync", url).args(more).output().unwrap();
        let said = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
        (output.status.success(), said)
    }

    /// All restored messages, as an independent client sees them; every folder that holds some must
    /// be subscribed.
    fn shown(&self) -> Vec<Shown> {
        let mut shown = Vec::new();
        for account in ACCOUNTS {
            let master = self.ready["master"]["user"].as_str().unwrap();
            let mut fetch = Command::new("python3");
            fetch
                .arg(top().join("scripts/imap_fetch.py"))
                .arg(self.port("imap").to_string());
            if self.kind == "dovecot" {
                fetch.arg(format!("{account}*{master}"));
            } else {
                fetch.arg(account);
            }
            fetch.arg(self.ready["password"].as_str().unwrap());
            if self.kind == "cyrus" {
                fetch.args(["--master", master]);
            }
            let read: Value = serde_json::from_str(&succeed(&mut fetch)).unwrap();
            for folder in read["folders"].as_array().unwrap() {
                let name = folder["name"].as_str().unwrap();
                let name = name
                    .strip_prefix("INBOX.")
                    .unwrap_or(name)
                    .replace('/', ".");
                let messages = folder["messages"].as_array().unwrap();
                assert!(
                    messages.is_empty() || folder["subscribed"] == true,
                    "{account} {name}"
                );
                shown.extend(messages.iter().map(|message| {
                    (
                        account.to_owned(),
                        name.clone(),
                        message["sha256"].as_str().unwrap().to_owned(),
                        message["flags"].as_str().unwrap().to_owned(),
                        words(&message["keywords"]),
                        message["internaldate"].as_i64().unwrap(),
                    )
                }));
            }
        }
        shown.sort();
        shown
    }
}

/// What must be on the server: all that was in use, which comes back whole, and nothing twice.
fn check(shown: &[Shown], but_changed: usize) {
    let (wanted, deleted) = drill_truth();
    let known: BTreeSet<Shown> = wanted.union(&deleted).cloned().collect();
    let unique: BTreeSet<Shown> = shown.iter().cloned().collect();
    assert_eq!(unique.len(), shown.len(), "something is there twice");
    let missing: Vec<&Shown> = wanted.difference(&unique).collect();
    let strange: Vec<&Shown> = unique.difference(&known).collect();
    assert!(missing.len() <= but_changed, "missing: {missing:?}");
    assert!(strange.len() <= but_changed, "strange: {strange:?}");
}

fn write_private(path: &PathBuf, text: &str) {
    let mut file = fs::OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// Everything comes to the server once, is found there again by all the ways there are, and is
/// proved.
fn all_of_it(server: &Server, changed_by_server: usize) {
    let (done, said) = server.sync(&server.plain(), &[]);
    assert_eq!(done, changed_by_server == 0, "{said}");
    let added = said["totals"]["added"].as_u64().unwrap();
    assert!(added > 140, "{said}");
    check(&server.shown(), changed_by_server);
    let before = server.shown();
    // By TLS it is the same account, though another port: the ledger is another, and what is there
    // is known by its contents, what the server changed too.
    let tls = format!("imaps://localhost:{}", server.port("imaps"));
    let (done, said) = server.sync(&tls, &[]);
    assert!(done && said["totals"]["added"] == 0, "{said}");
    assert_eq!(said["totals"]["planned"]["already_restored"], added);
    let (done, said) = server.sync(&server.plain(), &[]);
    assert!(done && said["totals"]["added"] == 0, "{said}");
    assert_eq!(before, server.shown());
    let output = server.command("verify", &server.plain()).output().unwrap();
    let proved = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{proved}");
    assert!(
        proved.contains(&format!("{added} restored messages are where")),
        "{proved}"
    );
}

#[test]
fn dovecot_with_maildirs_gets_all_of_it_and_what_users_moved_or_deleted_stays_so() {
    let server = Server::start("dovecot", &[]);
    all_of_it(&server, 0);
    // Somebody moves one message and deletes another, by the Maildir's files.
    let inbox = "server/mail/info@oakandash.example/Maildir/.restored_emails/cur";
    let mut files: Vec<PathBuf> = fs::read_dir(server.incident.path(inbox))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let top = server
        .incident
        .path("server/mail/info@oakandash.example/Maildir/cur");
    fs::rename(&files[0], top.join(files[0].file_name().unwrap())).unwrap();
    fs::remove_file(&files[1]).unwrap();
    let (done, said) = server.sync(&server.plain(), &[]);
    assert!(done && said["totals"]["added"] == 0, "{said}");
    assert_eq!(said["totals"]["planned"]["moved_or_deleted"], 2, "{said}");
    // Without the ledger the one that was moved is known still.
    fs::remove_dir_all(server.incident.path("case/ledger")).unwrap();
    let (_, said) = server.sync(&server.plain(), &["--dry-run"]);
    let totals = &said["totals"]["planned"];
    assert_eq!(
        (&totals["already_live"], &totals["whole"]),
        (&1.into(), &1.into())
    );
}

#[test]
fn dovecot_with_mdbox_gets_all_of_it() {
    all_of_it(&Server::start("dovecot", &["--mdbox"]), 0);
}

#[test]
fn cyrus_gets_all_of_it_and_what_it_changes_is_said() {
    // Cyrus writes an X for every byte beyond ASCII in a header; three messages have some.
    all_of_it(&Server::start("cyrus", &[]), 3);
}

#[test]
fn cyrus_with_other_names_of_folders_gets_all_of_it() {
    all_of_it(&Server::start("cyrus", &["--alt"]), 3);
}

#[test]
fn runs_that_are_killed_at_any_call_lose_and_double_nothing() {
    let server = Server::start("dovecot", &[]);
    let mut killed = 0;
    for when in 1..=10 {
        // A kill before a message is sent, or before what the server said of it is noted.
        let call = ["write", "sendto", "fsync"][when % 3];
        // Calls are counted by thread, and a run that nobody kills leaves nothing to the next.
        let number = 2 + when / 3 * 2;
        let mut traced = Command::new("strace");
        traced
            .args(["-f", "-qq", "-o", "/dev/null", "-e"])
            .arg(format!("inject={call}:signal=SIGKILL:when={number}"))
            .arg(env!("CARGO_BIN_EXE_restante"));
        let run = server.command("sync", &server.plain());
        let status = traced.args(run.get_args()).stdout(Stdio::null()).status();
        killed += usize::from(!status.unwrap().success());
    }
    assert!(killed >= 4, "only {killed} runs were killed");
    let (done, said) = server.sync(&server.plain(), &[]);
    assert!(done, "{said}");
    check(&server.shown(), 0);
}

#[test]
fn a_quota_of_the_server_leaves_an_account_out_and_the_others_are_done() {
    let server = Server::start("dovecot", &["--mdbox", "--quota", "90"]);
    let (done, said) = server.sync(&server.plain(), &[]);
    assert!(!done);
    let poor = &said["accounts"]["info@oakandash.example"];
    assert!(poor["planned"]["no_room"].as_u64() > Some(40), "{poor}");
    assert_eq!(poor["added"], 0);
    assert_eq!(said["accounts"]["esther@tidewater.example"]["added"], 13);
}

/// A server that says `text` and nothing else, to whoever comes.
fn fake(text: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            while stream.write_all(text).is_ok() && text.len() > 4096 {}
        }
    });
    port
}

#[test]
fn what_goes_wrong_is_said_and_no_secret_with_it() {
    let server = Server::start("dovecot", &[]);
    let one = ["--account", "info@oakandash.example"];
    let failure = |url: &str, credentials: Option<&str>| {
        if let Some(text) = credentials {
            write_private(&server.credentials, text);
        }
        let output = server.command("sync", url).args(one).output().unwrap();
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        assert_eq!(output.status.code(), Some(1), "{url}: {said}");
        assert!(
            !said.contains("hunter2") && !said.contains("a-word-of"),
            "{said}"
        );
        said
    };
    static FLOOD: [u8; 65536] = [b'a'; 65536];
    let flood = fake(&FLOOD);
    let said = failure(&format!("imap://127.0.0.1:{flood}"), None);
    assert!(said.contains("a line without an end"), "{said}");
    let web = fake(b"HTTP/1.1 200 OK\r\n\r\n");
    let said = failure(&format!("imap://127.0.0.1:{web}"), None);
    assert!(said.contains("speaks another IMAP"), "{said}");
    let literal = fake(b"* OK {99999999999}\r\n");
    let said = failure(&format!("imap://127.0.0.1:{literal}"), None);
    assert!(said.contains("literals of"), "{said}");
    // Without --ca nobody vouches for the server.
    let mut strict = restante();
    strict
        .arg("sync")
        .arg(server.incident.path("case"))
        .args(one)
        .arg("--to")
        .arg(format!("imaps://localhost:{}", server.port("imaps")))
        .arg("--credentials")
        .arg(&server.credentials);
    let output = strict.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said.contains("TLS") && said.contains("UnknownIssuer"),
        "{said}"
    );
    let wrong = r#"{"accounts": {"info@oakandash.example": {"password": "hunter2"}}}"#;
    let said = failure(&server.plain(), Some(wrong));
    assert!(said.contains("AUTHENTICATIONFAILED"), "{said}");
    let own = r#"{"accounts": {"info@oakandash.example": {"password": "a-word-of-tests"}}}"#;
    write_private(&server.credentials, own);
    let (done, said) = server.sync(&server.plain(), &one);
    assert!(done, "an account's own password: {said}");
}

#[test]
fn a_token_that_dovecots_authority_knows_logs_in_and_another_is_said_to_be_refused_once() {
    let server = Server::start("dovecot", &[]);
    let account = "info@oakandash.example";
    let with = |token: &str, more: &[&str]| {
        let text = json!({"accounts": {account: {"token": token}}}).to_string();
        write_private(&server.credentials, &text);
        let one = ["--account", account];
        server.sync(&server.plain(), &[&one[..], more].concat())
    };
    let asked = || {
        let log = fs::read_to_string(server.incident.path("server/tokens.log"));
        log.unwrap_or_default()
            .lines()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let (done, said) = with("hunter2", &[]);
    assert!(!done, "{said}");
    assert_eq!(asked(), ["bad"], "it was tried more than once");
    let failures = said["accounts"][account]["failures"].to_string();
    assert!(!failures.contains("hunter2"), "{failures}");
    for wanted in [
        "the token was refused (",
        "put a new one into the credentials",
    ] {
        assert!(failures.contains(wanted), "{failures}");
    }
    // The token of another account is none of this one's.
    let tokens = &server.ready["tokens"];
    let (done, said) = with(tokens["bruno@tidewater.example"].as_str().unwrap(), &[]);
    assert!(!done && said["totals"]["added"] == 0, "{said}");
    let good = tokens[account].as_str().unwrap();
    let (done, said) = with(good, &[]);
    assert!(
        done && said["totals"]["added"].as_u64() > Some(40),
        "{said}"
    );
    let added = said["totals"]["added"].as_u64().unwrap();
    assert_eq!(asked().last().unwrap(), "good");
    let seen = server.shown();
    assert_eq!(seen.len() as u64, added);
    assert!(seen.iter().all(|message| message.0 == account));
}
