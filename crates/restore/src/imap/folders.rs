//! The names of restored folders on a server.

use mail::store::folder_level;

/// Separators that a level may have in it stand for themselves no longer.
const INSTEAD: char = '_';

/// How a server writes the names of an account's own folders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Naming {
    pub(super) prefix: String,
    pub(super) separator: char,
}

impl Naming {
    /// The folder for what a Maildir has in `directory` (`.restored_emails.Sent`), in modified UTF-7.
    ///
    /// A level with the server's separator in it becomes one level, told apart by a hash.
    pub(super) fn folder(&self, directory: &str) -> String {
        let levels = directory.trim_start_matches('.').split('.');
        let levels: Vec<String> = levels.map(|level| self.level(level)).collect();
        format!(
            "{}{}",
            self.prefix,
            levels.join(&self.separator.to_string())
        )
    }

    fn level(&self, level: &str) -> String {
        let encoded = folder_level(level.as_bytes());
        let is_special = |c: char| c == self.separator || matches!(c, '*' | '%' | '"' | '\\');
        if !encoded.contains(is_special) {
            return encoded;
        }
        let digest = blake3::hash(level.as_bytes()).to_hex();
        let safe: String = encoded
            .chars()
            .map(|c| if is_special(c) { INSTEAD } else { c })
            .collect();
        format!("{safe}~{}", digest.get(..8).unwrap_or_default())
    }

    /// The directory that a folder of the server stands for, if it is a restored one.
    pub(super) fn directory(&self, folder: &str) -> Option<String> {
        let name = folder.strip_prefix(&self.prefix)?;
        let mut levels = name.split(self.separator);
        let is_ours = levels.next() == Some("restored_emails");
        is_ours.then(|| {
            let levels: Vec<&str> = name.split(self.separator).collect();
            format!(".{}", levels.join("."))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_have_one_name_on_every_server() {
        let naming = |prefix: &str, separator| Naming {
            prefix: prefix.to_owned(),
            separator,
        };
        let (dot, slash) = (naming("INBOX.", '.'), naming("", '/'));
        for (directory, on_dot, on_slash) in [
            (
                ".restored_emails",
                "INBOX.restored_emails",
                "restored_emails",
            ),
            (
                ".restored_emails.Archive.2014",
                "INBOX.restored_emails.Archive.2014",
                "restored_emails/Archive/2014",
            ),
            (
                ".restored_emails.Entw&APw-rfe",
                "INBOX.restored_emails.Entw&APw-rfe",
                "restored_emails/Entw&APw-rfe",
            ),
            (
                ".restored_emails.Entwürfe",
                "INBOX.restored_emails.Entw&APw-rfe",
                "restored_emails/Entw&APw-rfe",
            ),
        ] {
            assert_eq!(dot.folder(directory), on_dot);
            assert_eq!(slash.folder(directory), on_slash);
        }
        assert_eq!(
            slash.directory("restored_emails/Archive/2014").as_deref(),
            Some(".restored_emails.Archive.2014")
        );
        assert_eq!(dot.directory("INBOX.Sent"), None);
        assert_eq!(dot.directory("INBOX"), None);
        let odd = naming("", '^').folder(".restored_emails.a^b");
        assert!(odd.starts_with("restored_emails^a_b~"), "{odd}");
        assert_ne!(odd, naming("", '^').folder(".restored_emails.a_b"));
    }
}
