//! Mail handed back to real servers over a line that is severed, by runs that are killed, beside
//! users at work; and servers that mean harm.
//!
//! What was handed back is judged by `scripts/imap_proof.py`, which knows nothing of the program.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::common::{Incident, restante, succeed, top};

/// Recovers the incident `drill`, and proves that a server gets it once and whole.
fn prove(server: &str, more: &[&str]) -> Value {
    let incident = Incident::new("drill");
    succeed(&mut incident.recover("case", "elsewhere", &[]));
    let mut command = Command::new("python3");
    command
        .arg(top().join("scripts/imap_proof.py"))
        .arg(incident.path("case"))
        .arg(top().join("fixtures/incidents/drill/truth.json"))
        .args(["--server", server, "--restante"])
        .arg(env!("CARGO_BIN_EXE_restante"))
        .args(more);
    let found: Value = serde_json::from_str(&succeed(&mut command)).unwrap();
    let gone = found["owner"]["gone"].as_u64().unwrap_or_default();
    assert!(found["exact"].as_u64().unwrap() + gone >= 138, "{found}");
    found
}

fn sum(counts: &Value) -> u64 {
    let counts = counts.as_object().unwrap().values();
    counts.map(|count| count.as_u64().unwrap()).sum()
}

#[test]
fn dovecot_gets_all_of_it_once_over_a_severed_line_by_killed_runs() {
    let found = prove("dovecot", &["--cuts", "7", "--kills", "10", "--seed", "3"]);
    assert_eq!(found["changed"], 0, "{found}");
    assert!(sum(&found["cuts"]) >= 5, "{found}");
    assert!(found["kills"].as_u64() >= Some(3), "{found}");
}

#[test]
fn what_users_do_meanwhile_stays_done() {
    let found = prove("mdbox", &["--beside", "--cuts", "3", "--seed", "1"]);
    assert!(found["owner"]["gone"].as_u64() > Some(4), "{found}");
    assert!(found["owner"]["delivered"].as_u64() > Some(6), "{found}");
}

/// A case with mail to hand back, and a password that must stay secret.
struct Victim {
    incident: Incident,
    credentials: PathBuf,
}

const SECRET: &str = "hunter2";
const ACCOUNT: &str = "esther@tidewater.example";
/// `\0esther@tidewater.example\0hunter2`, as SASL PLAIN sends it.
const ON_THE_WIRE: &str = "AGVzdGhlckB0aWRld2F0ZXIuZXhhbXBsZQBodW50ZXIy";

impl Victim {
    fn new() -> Self {
        let incident = Incident::new("drill");
        succeed(&mut incident.recover("case", "elsewhere", &[]));
        let credentials = incident.path("credentials.json");
        let text = format!(r#"{{"accounts": {{"{ACCOUNT}": {{"password": "{SECRET}"}}}}}}"#);
        fs::OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(&credentials)
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
        Self {
            incident,
            credentials,
        }
    }

    /// Syncs one account to a server that ends it with an error: all that was said, as text and as
    /// JSON. No secret and nothing that a terminal obeys is in it.
    fn fails(&self, host: &str, server: &Fake) -> String {
        let mut all = String::new();
        for more in [&["-v"][..], &["--json"][..]] {
            let output = restante()
                .arg("sync")
                .arg(self.incident.path("case"))
                .args(["--account", ACCOUNT, "--to"])
                .arg(format!("imap://{host}:{}", server.port))
                .arg("--credentials")
                .arg(&self.credentials)
                .args(more)
                .output()
                .unwrap();
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said).into_owned();
            assert_eq!(output.status.code(), Some(1), "{said}");
            assert!(!said.contains(SECRET), "{said}");
            assert!(!said.contains(ON_THE_WIRE), "{said}");
            // JSON is for programs: there only ASCII's own control characters are escaped.
            let is_json = more.contains(&"--json");
            let obeyed = |c: char| {
                c != '\n' && c.is_control() && (!is_json || c.is_ascii())
                    || c == '\u{202e}' && !is_json
            };
            assert!(!said.contains(obeyed), "{said:?}");
            all.push_str(&said);
        }
        all
    }
}

/// What a server answers to a command, by its tag and its words.
type Answer = fn(&str, &str) -> Vec<u8>;

/// A server that answers as it likes.
struct Fake {
    port: u16,
    /// All that it was sent.
    heard: Arc<Mutex<String>>,
}

impl Fake {
    fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Arc::new(Mutex::new(String::new()));
        let all = Arc::clone(&heard);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let all = Arc::clone(&all);
                std::thread::spawn(move || talk(&stream.unwrap(), answer, &all));
            }
        });
        Self { port, heard }
    }
}

fn talk(stream: &TcpStream, answer: Answer, heard: &Mutex<String>) -> Option<()> {
    let mut out = stream;
    out.write_all(b"* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN NAMESPACE QUOTA] ready\r\n")
        .ok()?;
    for line in BufReader::new(stream).lines() {
        let line = line.ok()?;
        heard.lock().unwrap().push_str(&line);
        let (tag, words) = line.split_once(' ').unwrap_or((&line, ""));
        out.write_all(&answer(tag, words)).ok()?;
    }
    None
}

/// What any server says; an account with one folder.
fn usual(tag: &str, words: &str) -> Vec<u8> {
    let data = match words.split(' ').next().unwrap_or_default() {
        "CAPABILITY" => "* CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN NAMESPACE QUOTA\r\n",
        "NAMESPACE" => "* NAMESPACE ((\"\" \"/\")) NIL NIL\r\n",
        "LIST" => "* LIST () \"/\" INBOX\r\n",
        "EXAMINE" | "SELECT" => "* 1 EXISTS\r\n",
        _ => "",
    };
    format!("{data}{tag} OK done\r\n").into_bytes()
}

#[test]
fn no_password_leaves_this_machine_in_the_clear() {
    let victim = Victim::new();
    let server = Fake::start(usual);
    // This is 127.0.0.1, but not by a name that says so.
    let said = victim.fails("127.1", &server);
    assert!(said.contains("--allow-cleartext"), "{said}");
    let heard = server.heard.lock().unwrap().clone();
    for word in ["LOGIN", "AUTHENTICATE", ON_THE_WIRE, SECRET, "esther"] {
        assert!(!heard.contains(word), "{heard}");
    }
}

#[test]
fn servers_that_mean_harm_end_a_run_with_an_error() {
    let victim = Victim::new();
    let harm: [(&str, Answer, &str); 7] = [
        (
            "orders for a terminal",
            |tag, words| match words.starts_with("AUTH") {
                true => format!("{tag} NO \x1b[2J\x07\u{9b}31m\u{202e}no\r\n").into_bytes(),
                false => usual(tag, words),
            },
            "refused",
        ),
        (
            "lists in lists",
            |tag, words| match words.starts_with("NAMESPACE") {
                true => format!("* NAMESPACE {}\r\n", "(".repeat(900_000)).into_bytes(),
                false => usual(tag, words),
            },
            "IMAP",
        ),
        (
            "a literal of all memory",
            |tag, words| match words.starts_with("LIST") {
                true => b"* LIST () \"/\" {18446744073709551615}\r\n".to_vec(),
                false => usual(tag, words),
            },
            "literal",
        ),
        (
            "many literals in one response",
            |tag, words| match words.starts_with("LIST") {
                true => [&b"* LIST () "[..], &b"{1}\r\na ".repeat(100_000)].concat(),
                false => usual(tag, words),
            },
            "literal",
        ),
        (
            "a line without an end",
            |tag, words| match words.starts_with("EXAMINE") {
                true => vec![b'*'; 8 << 20],
                false => usual(tag, words),
            },
            "line",
        ),
        (
            "commands that nobody understands",
            |tag, words| match words.starts_with("LIST") {
                true => format!("{tag} BAD what\r\n").into_bytes(),
                false => usual(tag, words),
            },
            "LIST",
        ),
        (
            "bytes",
            |_, _| (0..=255_u8).cycle().take(1 << 16).collect(),
            "",
        ),
    ];
    for (name, answer, wanted) in harm {
        let said = victim.fails("127.0.0.1", &Fake::start(answer));
        assert!(said.contains(wanted), "{name}: {said}");
        println!("{name}: {said}");
    }
}
