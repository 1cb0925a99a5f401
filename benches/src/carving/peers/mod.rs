//! Other tools that carve, for the same image in the same run.

mod measure;
mod rules;

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use measure::{Limits, Measured, length_below, measure};

use super::score::{Judge, Verdict};

/// The longest file that is compared: no message is that long.
const MOST_BYTES: u64 = 64 << 20;

/// A tool that carves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// PhotoRec as it comes.
    PhotoRec,
    /// PhotoRec, trying to join pieces.
    PhotoRecForce,
    /// forsmost with rules for mail.
    Forsmost,
    /// foremost with rules for mail.
    Foremost,
    /// scalpel with rules for mail.
    Scalpel,
    /// magicrescue with rules for mail.
    Magicrescue,
    /// The scanner of `bulk_extractor` for addresses. It lists them and returns no files.
    BulkExtractor,
}

impl Peer {
    /// All of them, the slowest last.
    pub const ALL: [Self; 7] = [
        Self::PhotoRec,
        Self::Forsmost,
        Self::Foremost,
        Self::Scalpel,
        Self::Magicrescue,
        Self::BulkExtractor,
        Self::PhotoRecForce,
    ];

    /// A short name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PhotoRec => "photorec",
            Self::PhotoRecForce => "photorec brute force",
            Self::Forsmost => "forsmost, rules",
            Self::Foremost => "foremost, rules",
            Self::Scalpel => "scalpel, rules",
            Self::Magicrescue => "magicrescue, rules",
            Self::BulkExtractor => "bulk_extractor email",
        }
    }

    const fn program(self) -> &'static str {
        match self {
            Self::PhotoRec | Self::PhotoRecForce => "photorec",
            Self::Forsmost => "forsmost",
            Self::Foremost => "foremost",
            Self::Scalpel => "scalpel",
            Self::Magicrescue => "magicrescue",
            Self::BulkExtractor => "bulk_extractor",
        }
    }

    /// Whether the program is installed.
    pub fn is_there(self) -> bool {
        let paths = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&paths).any(|path| path.join(self.program()).is_file())
    }

    /// Lets it take what it can from `image`, whose blocks are of `block` bytes. It writes below
    /// [`Peer::out`] of `folder`, an empty directory.
    pub fn run(
        self,
        image: &Path,
        block: usize,
        folder: &Path,
        limits: &Limits,
    ) -> io::Result<Measured> {
        let arguments = self.arguments(image, block, folder)?;
        let command: Vec<OsString> = std::iter::once(self.program().into())
            .chain(arguments)
            .collect();
        measure(&command, folder, &Self::out(folder), limits)
    }

    fn arguments(self, image: &Path, block: usize, folder: &Path) -> io::Result<Vec<OsString>> {
        let (out, table) = (Self::out(folder), folder.join("rules"));
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        let block = block.to_string();
        let mut arguments;
        match self {
            Self::PhotoRec | Self::PhotoRecForce => {
                // It makes directories beside this name, and the one they are in has to be there.
                fs::create_dir_all(&out)?;
                arguments = words(&["/log", "/d"]);
                arguments.extend([out.join("found").into(), "/cmd".into(), image.into()]);
                let force = if self == Self::PhotoRecForce {
                    "paranoid_bf,"
                } else {
                    ""
                };
                arguments.push(
                    format!(
                        "partition_none,options,{force}keep_corrupted_file_no,fileopt,everything,enable,\
                         wholespace,search"
                    )
                    .into(),
                );
            }
            Self::Forsmost | Self::Foremost => {
                // foremost takes a footer of NULs alone for none, and then writes files of the
                // greatest length; with NEXT it does not find this one. So each message has a NUL
                // too much at its end.
                let end = if self == Self::Foremost {
                    r"\x0a\x00"
                } else {
                    r"\x00 NEXT"
                };
                rules::write_table(&table, end)?;
                arguments = words(&["-Q", "-q", "-b", &block, "-c"]);
                arguments.extend([table.into(), "-i".into(), image.into()]);
                arguments.extend(["-o".into(), out.into()]);
            }
            Self::Scalpel => {
                // Every NUL of the image would be a footer, and it keeps them all in memory. So
                // each message lacks the end of its last line.
                rules::write_table(&table, r"\x0a\x00 NEXT")?;
                arguments = words(&["-q", &block, "-c"]);
                arguments.extend([table.into(), "-o".into(), out.into(), image.into()]);
            }
            Self::Magicrescue => {
                fs::create_dir_all(&out)?;
                rules::write_recipes(&table)?;
                arguments = words(&["-b", &block, "-r"]);
                arguments.extend([table.into(), "-d".into(), out.into(), image.into()]);
            }
            Self::BulkExtractor => {
                arguments = words(&["-q", "-0", "-j", "2", "-E", "email", "-o"]);
                arguments.extend([out.into(), image.into()]);
            }
        }
        Ok(arguments)
    }

    /// Where its files are.
    pub fn out(folder: &Path) -> PathBuf {
        folder.join("out")
    }

    /// Whether it says by the file's name that it is mail. PhotoRec brings back all kinds of
    /// files; those that it does not call mail are not counted as false.
    fn calls_mail(self, path: &Path) -> bool {
        let extension = path.extension().and_then(|end| end.to_str());
        match self {
            Self::PhotoRec | Self::PhotoRecForce => {
                matches!(extension, Some("mbox" | "eml" | "emlx" | "mbx"))
            }
            Self::BulkExtractor => false,
            _ => extension == Some("eml"),
        }
    }

    /// Compares all its files with the truth.
    pub fn found(self, judge: &Judge<'_>, folder: &Path) -> io::Result<Found> {
        let mut found = Found::default();
        visit(&Self::out(folder), &mut |path, length| {
            if self == Self::BulkExtractor || length > MOST_BYTES {
                found.bytes += length;
                return Ok(());
            }
            let bytes = fs::read(path)?;
            found.enter(judge.verdict(&bytes), length, self.calls_mail(path));
            Ok(())
        })?;
        Ok(found)
    }
}

/// What a tool brought back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The numbers of messages that are there byte for byte.
    pub exact: std::collections::BTreeSet<usize>,
    /// Files that are a message without its end.
    pub starts: usize,
    /// Files that are a message and more.
    pub longer: usize,
    /// Files that are neither, and called mail.
    pub false_claims: usize,
    /// All files.
    pub files: usize,
    /// Their length in bytes.
    pub bytes: u64,
}

impl Found {
    /// Counts a file of so many bytes; what is not `called_mail` cannot be false.
    pub fn enter(&mut self, verdict: Verdict, length: u64, called_mail: bool) {
        self.files += 1;
        self.bytes += length;
        match verdict {
            Verdict::Exact(number) => {
                self.exact.insert(number);
            }
            Verdict::Start(..) => self.starts += 1,
            Verdict::More(..) => self.longer += 1,
            _ => self.false_claims += usize::from(called_mail),
        }
    }
}

fn visit(folder: &Path, seen: &mut dyn FnMut(&Path, u64) -> io::Result<()>) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let data = entry.metadata()?;
        if data.is_dir() {
            visit(&entry.path(), seen)?;
        } else if data.is_file() {
            seen(&entry.path(), data.len())?;
        }
    }
    Ok(())
}
