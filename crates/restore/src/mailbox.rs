//! One account at a target, whatever kind that is.

use std::collections::HashSet;
use std::path::PathBuf;

use bytes::Bytes;
use mail::Message;

use crate::maildir::{self, Live};
use crate::plan::Plan;
use crate::{Applied, Ledger, Place, RestoreError, Room, imap};

/// One account at a target.
pub enum Mailbox<'t> {
    /// A Maildir, which need not be there yet.
    Maildir(PathBuf),
    /// An account on a server.
    Server(Box<imap::Mailbox<'t>>),
}

impl Mailbox<'_> {
    /// What it holds of `messages`, all of which are of `place`.
    pub fn live(&mut self, place: &Place, messages: &[Message]) -> Result<Live, RestoreError> {
        match self {
            Self::Maildir(path) => {
                let lengths: HashSet<u64> = messages.iter().map(|m| m.virtual_bytes).collect();
                Live::read(path, &lengths)
            }
            Self::Server(mailbox) => mailbox.live(place, messages),
        }
    }

    /// Finds out what became of messages of `place` that were on their way when a run ended: a Maildir
    /// tells by their names.
    pub fn settle(
        &mut self,
        place: &Place,
        messages: &[Message],
        ledger: &mut Ledger,
    ) -> Result<(), RestoreError> {
        match self {
            Self::Maildir(_) => Ok(()),
            Self::Server(mailbox) => mailbox.settle(place, messages, ledger),
        }
    }

    /// What its quota leaves.
    pub fn room(&mut self) -> Result<Room, RestoreError> {
        match self {
            Self::Maildir(path) => maildir::room(path),
            Self::Server(mailbox) => mailbox.room(),
        }
    }

    /// Whether it is there: a server's is, or nobody can log in.
    pub fn is_there(&self) -> bool {
        match self {
            Self::Maildir(path) => path.exists(),
            Self::Server(_) => true,
        }
    }

    /// Carries out `plan`; `content` gives the bytes of a message.
    pub fn apply(
        &mut self,
        plan: &Plan<'_>,
        place: &Place,
        ledger: &mut Ledger,
        content: &dyn Fn(&Message) -> Result<Bytes, RestoreError>,
    ) -> Applied {
        match self {
            Self::Maildir(path) => maildir::apply(plan, place, path, ledger, content),
            Self::Server(mailbox) => mailbox.apply(plan, ledger, content),
        }
    }
}
