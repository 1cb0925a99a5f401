//! Keys of encrypted volumes: read from a file or from the environment, never shown and never kept.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use aggregate::luks::{Keys, Secret};
use anyhow::{Context, Result};
use serde::Deserialize;

use crate::usage::Usage;

/// The variable of the environment that holds keys, in the form of a file of them.
pub(crate) const UNLOCK_VARIABLE: &str = "RESTANTE_UNLOCK";
/// No file of keys is longer.
const MOST_BYTES: u64 = 1 << 20;
/// A key file is read up to this length, as cryptsetup does.
const MOST_KEY: u64 = 8 << 20;

/// The keys of this run; all that opens devices asks for them.
static KEYS: OnceLock<Keys> = OnceLock::new();

/// The keys that were given.
pub(crate) fn keys() -> &'static Keys {
    KEYS.get_or_init(Keys::default)
}

/// One way to open a container.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    passphrase: Option<String>,
    key_file: Option<PathBuf>,
    /// How many bytes at the beginning of the key file are left out.
    #[serde(default)]
    key_file_offset: u64,
    /// How many bytes of it are the key; without it all that follow.
    key_file_bytes: Option<u64>,
}

/// One, or several of which any may be right.
#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(Given),
    More(Vec<Given>),
}

/// Takes the keys in `file`, or in [`UNLOCK_VARIABLE`] if none is named. Done once, before anything
/// is opened.
pub(crate) fn take(file: Option<&Path>) -> Result<()> {
    let (text, place) = match file {
        Some(path) => (read_private(path)?, path.display().to_string()),
        None => match std::env::var(UNLOCK_VARIABLE) {
            Ok(text) => (text, UNLOCK_VARIABLE.to_owned()),
            Err(_) => return Ok(()),
        },
    };
    let beside = file.and_then(Path::parent);
    let keys = parse(&text, &place, beside)?;
    let _ = KEYS.set(keys);
    Ok(())
}

/// The text of a file that nobody else can read.
fn read_private(path: &Path) -> Result<String> {
    let name = || path.display().to_string();
    let file = File::open(path).with_context(name)?;
    let metadata = file.metadata().with_context(name)?;
    if metadata.is_file() && metadata.mode() & 0o077 != 0 {
        return Err(Usage::error(format!(
            "{} can be read by others: chmod 600 it",
            path.display()
        )));
    }
    let mut text = String::new();
    file.take(MOST_BYTES)
        .read_to_string(&mut text)
        .with_context(name)?;
    Ok(text)
}

/// The text is not in the error: it holds passphrases.
fn parse(text: &str, place: &str, beside: Option<&Path>) -> Result<Keys> {
    let all: BTreeMap<String, OneOrMore> = serde_json::from_str(text).map_err(|error| {
        Usage::error(format!(
            "{place}: no keys at line {} column {}; docs/encryption.md shows their form",
            error.line(),
            error.column()
        ))
    })?;
    let mut keys = Keys::default();
    for (container, given) in all {
        let given = match given {
            OneOrMore::One(one) => vec![one],
            OneOrMore::More(more) => more,
        };
        for one in given {
            keys.add(&container, secret(one, &container, place, beside)?);
        }
    }
    Ok(keys)
}

fn secret(given: Given, container: &str, place: &str, beside: Option<&Path>) -> Result<Secret> {
    match (given.passphrase, given.key_file) {
        (Some(passphrase), None) => Ok(Secret::new(passphrase.into_bytes())),
        (None, Some(path)) => {
            let path = beside.map_or_else(|| path.clone(), |beside| beside.join(&path));
            let bytes = key_file(&path, given.key_file_offset, given.key_file_bytes)
                .with_context(|| format!("{place}: the key file {}", path.display()))?;
            Ok(Secret::new(bytes))
        }
        _ => Err(Usage::error(format!(
            "{place}: {container:?} needs a passphrase or a key_file, and not both"
        ))),
    }
}

/// The key in a file, as cryptsetup takes it: every byte, a line end too.
fn key_file(path: &Path, offset: u64, bytes: Option<u64>) -> std::io::Result<Vec<u8>> {
    let most = bytes.unwrap_or(MOST_KEY).min(MOST_KEY);
    let mut file = File::open(path)?;
    std::io::copy(&mut file.by_ref().take(offset), &mut std::io::sink())?;
    let mut key = Vec::new();
    file.take(most).read_to_end(&mut key)?;
    if key.is_empty() || bytes.is_some_and(|bytes| bytes != key.len() as u64) {
        return Err(std::io::Error::other(
            "it is shorter than what is to be read of it",
        ));
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> String {
        let error = parse(text, "keys.json", None).unwrap_err();
        format!("{error:#}")
    }

    #[test]
    fn errors_say_where_and_never_show_a_passphrase() {
        for text in [
            r#"{"*": {"passphrase": "linden", "cipher": 1}}"#,
            r#"{"*": "linden"}"#,
            r#"linden"#,
        ] {
            let said = wrong(text);
            assert!(said.starts_with("keys.json: no keys at line 1"), "{said}");
            assert!(!said.contains("linden"), "{said}");
        }
        let both = r#"{"luks": {"passphrase": "linden", "key_file": "k"}}"#;
        assert!(wrong(both).contains("not both") && !wrong(both).contains("linden"));
        assert!(wrong(r#"{"luks": {}}"#).contains("needs a passphrase"));
        assert!(wrong(r#"{"luks": {"key_file": "/nowhere/k"}}"#).contains("/nowhere/k"));
    }

    #[test]
    fn a_key_file_is_taken_as_it_is_or_a_part_of_it() {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("k"), b"0123456789\n").unwrap();
        let path = place.path().join("k");
        assert_eq!(key_file(&path, 0, None).unwrap(), b"0123456789\n");
        assert_eq!(key_file(&path, 2, Some(3)).unwrap(), b"234");
        assert!(key_file(&path, 2, Some(30)).is_err());
        assert!(key_file(&path, 11, None).is_err());
    }
}
