//! Delivers mail into Maildirs on a mounted file system, the way that a mail server does.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::mail::{Envelope, message};
use crate::random::Random;

const DOMAINS: [&str; 3] = ["tidewater.example", "saltmarsh.example", "austin.example"];
const LOCALS: [&str; 5] = ["ada", "hiro", "odile", "post.office", "m-lindqvist"];
const FOLDERS: [&str; 4] = ["", ".Sent", ".Archive.2013", ".Orders"];

/// One in so many deliveries waits until it is on the disk; one in so many deletes something;
/// one in so many rewrites a folder's list.
const SYNC: usize = 6;
const DELETE: usize = 9;
const LIST: usize = 12;

/// Mail on its way to the accounts of a mail host.
pub(crate) struct Delivery {
    random: Random,
    root: PathBuf,
    compress: bool,
    number: u64,
    /// What was delivered and not deleted, with its length.
    kept: Vec<(PathBuf, u64)>,
    /// Bytes in whole blocks of all of them.
    bytes: u64,
}

impl Delivery {
    /// Begins to deliver below `root`; `compress` stores messages in gzip.
    pub(crate) fn new(root: &Path, seed: u64, compress: bool) -> io::Result<Self> {
        let root = root.join("srv/vmail");
        for domain in DOMAINS {
            for local in LOCALS {
                for folder in FOLDERS {
                    for part in ["cur", "new", "tmp"] {
                        let maildir = root.join(domain).join(local).join("Maildir");
                        fs::create_dir_all(maildir.join(folder).join(part))?;
                    }
                }
            }
        }
        Ok(Self {
            random: Random::new(seed),
            root,
            compress,
            number: 0,
            kept: Vec::new(),
            bytes: 0,
        })
    }

    /// Delivers until the mail takes `bytes`.
    pub(crate) fn until(&mut self, bytes: u64) -> io::Result<()> {
        while self.bytes < bytes {
            self.deliver()?;
            if self.random.below(DELETE) == 0 {
                self.delete()?;
            }
        }
        Ok(())
    }

    fn deliver(&mut self) -> io::Result<()> {
        let (domain, local) = (*self.random.pick(&DOMAINS), *self.random.pick(&LOCALS));
        let folder = *self.random.pick(&FOLDERS);
        let when = 1_325_376_000 + self.number * 811;
        let account = format!("{local}@{domain}");
        let envelope = Envelope {
            account: &account,
            when,
        };
        let raw = message(&mut self.random, &envelope);
        let stored = if self.compress {
            gzip(&raw)?
        } else {
            raw.clone()
        };
        let name = format!(
            "{when}.M{}P{}.imap7,S={},W={}",
            self.random.below(1_000_000),
            self.number,
            raw.len(),
            raw.len() + raw.iter().filter(|byte| **byte == b'\n').count(),
        );
        let folder = self
            .root
            .join(domain)
            .join(local)
            .join("Maildir")
            .join(folder);
        let waiting = folder.join("tmp").join(&name);
        let mut file = File::create(&waiting)?;
        file.write_all(&stored)?;
        if self.random.below(SYNC) == 0 {
            file.sync_all()?;
        }
        let target = match self.random.percent(30) {
            true => folder.join("new").join(&name),
            false => folder.join("cur").join(format!("{name}:2,S")),
        };
        fs::rename(&waiting, &target)?;
        let mut list = File::options()
            .append(true)
            .create(true)
            .open(folder.join("dovecot-uidlist"))?;
        writeln!(list, "{} :{name}", self.number)?;
        if self.random.below(LIST) == 0 {
            rewrite(&folder.join("dovecot-uidlist"))?;
            File::open(&folder)?.sync_all()?;
        }
        self.number += 1;
        self.bytes += (stored.len() as u64).next_multiple_of(4096);
        self.kept.push((target, stored.len() as u64));
        Ok(())
    }

    fn delete(&mut self) -> io::Result<()> {
        let index = self.random.below(self.kept.len());
        if index < self.kept.len() {
            let (path, length) = self.kept.swap_remove(index);
            fs::remove_file(path)?;
            self.bytes -= length.next_multiple_of(4096);
        }
        Ok(())
    }
}

/// Writes a file anew and puts it in its own place, as Dovecot does with its lists.
fn rewrite(path: &Path) -> io::Result<()> {
    let text = fs::read(path)?;
    let other = path.with_extension("tmp");
    let mut file = File::create(&other)?;
    file.write_all(&text)?;
    file.sync_all()?;
    fs::rename(other, path)
}

fn gzip(raw: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(raw)?;
    encoder.finish()
}
