//! Maildirs as a target.

mod apply;
mod live;
mod place;
mod quota;
mod subscriptions;

pub use apply::apply;
pub use live::Live;
pub use quota::room;

#[cfg(test)]
pub(crate) mod tests {
    use filesystem::Timestamp;
    use mail::codec::Codec;
    use mail::maildir::Flags;
    use mail::record::{FileOrigin, Summary};
    use mail::{Grade, Message, MessageId};

    /// A whole message with these bytes.
    pub(crate) fn message(content: &[u8], folder: &str) -> Message {
        let id = MessageId::of(content);
        let normalised = Some(MessageId::normalised(content)).filter(|other| *other != id);
        Message {
            id,
            normalised,
            bytes: content.len() as u64,
            virtual_bytes: mail::proof::virtual_size(content),
            grade: Grade::Proven,
            proofs: Vec::new(),
            contradictions: Vec::new(),
            holes: Vec::new(),
            broken_parts: Vec::new(),
            turned: Vec::new(),
            doubt: None,
            likeness: None,
            owner: None,
            folder: folder.to_owned(),
            uid: None,
            flags: Flags::new("S"),
            keywords: Vec::new(),
            delivered: Timestamp {
                seconds: 1_325_376_000,
                nanoseconds: 5,
            },
            origin: FileOrigin {
                device: "volume:mail".to_owned(),
                path: "/x".to_owned(),
                inode: 12,
                offset: 0,
                stored_bytes: content.len() as u64,
                codec: Codec::Plain,
                pieces: Vec::new(),
                cuts: Vec::new(),
                repairs: Vec::new(),
            },
            standing: filesystem::Standing::InUse,
            layer: mail::Layer::Present,
            summary: Summary::default(),
        }
    }
}
