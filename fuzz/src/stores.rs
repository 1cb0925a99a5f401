//! What stands in mailboxes: names, lists, compressed messages.

use mail::codec::{Codec, decode};
use mail::dovecot::MailIndex;
use mail::maildir::{Keywords, MaildirName, Uidlist, parse_list};
use mail::record::Summary;

/// Reads `input` as each of the things that lie in mailboxes.
pub(crate) fn read(input: &[u8]) {
    let _ = MaildirName::parse(input);
    let _ = Uidlist::parse(input);
    let _ = Keywords::parse(input);
    let _ = Summary::of(input);
    let _ = MailIndex::read(Some(input), &[input]);
    let _ = parse_list(None, Some(input));
    let _ = decode(Codec::of(input), input);
}
