//! A made-up message, as a mail store holds it.

use super::body::{Entity, Kind, entity};
use super::dkim::{Signature, signature_field};
use super::head::{Envelope, of_author, of_servers};
use super::prose::Language;
use crate::random::Random;

/// What a message has to be like.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// Whether a signature in it proves the whole body. Of those without, some have a signature
    /// that no longer holds.
    pub signed: bool,
    /// Its least length in bytes.
    pub least: usize,
    /// About how long it is at most.
    pub most: usize,
    /// How it is built; any way if `None`.
    pub kind: Option<Kind>,
}

impl Wish {
    /// Any message of a usual length, signed or not.
    pub fn any(random: &mut Random) -> Self {
        Self {
            signed: random.percent(40),
            least: 0,
            most: 60_000,
            kind: None,
        }
    }
}

/// A message that nobody sent.
#[derive(Clone, Debug)]
pub struct Message {
    /// As it is stored.
    pub bytes: Vec<u8>,
    /// Where its body begins.
    pub body: usize,
    /// How it is built.
    pub kind: Kind,
    /// What its signature proves.
    pub signature: Signature,
    /// The account whose mailbox held it.
    pub account: String,
}

/// A message after `wish`.
pub fn message(random: &mut Random, wish: &Wish) -> Message {
    let mut size = length(random, wish);
    let kind = wish.kind.unwrap_or_else(|| Kind::any(random));
    loop {
        let made = compose(random, kind, size, wish.signed);
        if made.bytes.len() >= wish.least {
            return made;
        }
        size += wish.least - made.bytes.len() + 200;
    }
}

/// A length between the bounds of `wish`: each doubling is as likely as the other.
fn length(random: &mut Random, wish: &Wish) -> usize {
    let least = wish.least.max(700);
    let mut most = wish.most.max(least + 1);
    while most / 2 > least && random.percent(30) {
        most /= 2;
    }
    let spread = (most - least) as f64;
    let share = random.below(1_000) as f64 / 1_000.0;
    least + (spread * share * share) as usize
}

fn compose(random: &mut Random, kind: Kind, size: usize, signed: bool) -> Message {
    let language = Language::any(random);
    let envelope = Envelope::any(random);
    let Entity { fields, mut body } = entity(random, kind, language, size.saturating_sub(900));
    if random.percent(10) && body.last() == Some(&b'\n') {
        // Not every program ends the last line.
        body.pop();
    }
    let mut head = of_author(random, &envelope, language, &fields);
    let signature = sign(random, &envelope, &mut head, &mut body, signed);
    let mut bytes = Vec::with_capacity(head.len() + body.len() + 600);
    if envelope.delivered {
        bytes.extend(of_servers(random, &envelope).bytes());
    }
    bytes.extend(head);
    bytes.push(b'\n');
    let mut body_at = bytes.len();
    bytes.extend(body);
    if random.percent(20) {
        body_at += bytes[..body_at]
            .iter()
            .filter(|&&byte| byte == b'\n')
            .count();
        bytes = with_crlf(&bytes);
    }
    Message {
        bytes,
        body: body_at,
        kind,
        signature,
        account: envelope.account().to_owned(),
    }
}

/// Puts a signature on top of `head`, and what lists append below `body`.
fn sign(
    random: &mut Random,
    envelope: &Envelope,
    head: &mut Vec<u8>,
    body: &mut Vec<u8>,
    signed: bool,
) -> Signature {
    let domain = envelope.sender.rsplit('@').next().unwrap_or_default();
    let mut put = |random: &mut Random, body: &[u8], states_length| {
        let field = signature_field(random, domain, body, states_length);
        head.splice(0..0, field.bytes());
    };
    if signed {
        let states_length = random.percent(10);
        put(random, body, states_length);
        if random.percent(10) {
            put(random, body, false);
        }
        return Signature::Whole;
    }
    match random.below(20) {
        0..2 => {
            put(random, body, false);
            append_footer(random, body);
            Signature::Broken
        }
        2 => {
            put(random, body, true);
            append_footer(random, body);
            Signature::Start
        }
        _ => Signature::None,
    }
}

fn append_footer(random: &mut Random, body: &mut Vec<u8>) {
    if body.last() != Some(&b'\n') {
        body.push(b'\n');
    }
    let rule = "_".repeat(random.within(20..=60));
    let footer = format!(
        "{rule}\norchard mailing list, number {}\nhttp://lists.orchard.example/orchard\n",
        random.below(100_000)
    );
    body.extend(footer.bytes());
}

fn with_crlf(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + text.len() / 40);
    for &byte in text {
        if byte == b'\n' {
            out.push(b'\r');
        }
        out.push(byte);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_depend_on_the_seed_alone() {
        let made = |seed| {
            let mut random = Random::new(seed);
            let wish = Wish::any(&mut random);
            message(&mut random, &wish).bytes
        };
        assert_eq!(made(3), made(3));
        assert_ne!(made(3), made(4));
    }

    #[test]
    fn a_message_is_as_long_as_it_has_to_be() {
        let mut random = Random::new(5);
        for least in [700, 5_000, 30_000] {
            let wish = Wish {
                signed: true,
                least,
                most: 2 * least,
                kind: None,
            };
            let made = message(&mut random, &wish);
            assert!((least..4 * least + 6_000).contains(&made.bytes.len()));
            assert_eq!(made.signature, Signature::Whole);
        }
    }
}
