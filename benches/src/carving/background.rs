//! What lies on disks beside mail: programs' texts, logs, packed and plain binaries.

use super::blob::blob;
use super::head::{account, stranger};
use super::prose::{Language, letter, sentence, title};
use crate::random::Random;

/// A text file of about `length` bytes that holds no mail.
pub(super) fn text_file(random: &mut Random, length: usize) -> Vec<u8> {
    let mut text = String::new();
    match random.below(6) {
        0 => c_source(random, length, &mut text),
        1 => python_source(random, length, &mut text),
        2 => system_log(random, length, &mut text),
        3 => mail_log(random, length, &mut text),
        4 => settings(random, length, &mut text),
        _ => text = letter(random, Language::English, length),
    }
    text.into_bytes()
}

/// `length` bytes of a binary: packed, random, or what compilers write.
pub(super) fn binary(random: &mut Random, length: usize) -> Vec<u8> {
    let mut bytes = match random.below(4) {
        0 => machine_code(random, length),
        1 => random.bytes(length),
        _ => blob(random, length).bytes,
    };
    let have = bytes.len();
    if have < length {
        bytes.extend(random.bytes(length - have));
    }
    bytes.truncate(length);
    // Text as an attachment is no binary.
    if bytes.iter().take(256).all(u8::is_ascii) {
        bytes = random.bytes(length);
    }
    bytes
}

fn identifier(random: &mut Random) -> String {
    let word = |random: &mut Random| {
        *random.pick(&[
            "tide", "berth", "ledger", "lamp", "rope", "crate", "signal", "buoy", "pump", "shelf",
        ])
    };
    format!("{}_{}{}", word(random), word(random), random.below(40))
}

fn c_source(random: &mut Random, length: usize, text: &mut String) {
    text.push_str("#include <stdio.h>\n#include <string.h>\n\n");
    while text.len() < length {
        let name = identifier(random);
        text.push_str(&format!("/* {} */\n", sentence(random, Language::English)));
        text.push_str(&format!(
            "static int {name}(const char *line, size_t length)\n{{\n"
        ));
        for _ in 0..random.within(2..=12) {
            let (a, b) = (identifier(random), identifier(random));
            text.push_str(&match random.below(4) {
                0 => format!("    int {a} = {b}(line + {});\n", random.below(64)),
                1 => format!(
                    "    if ({a} > {})\n        return -{};\n",
                    random.below(4096),
                    random.below(22)
                ),
                2 => format!(
                    "    case '{}':\n        {a} |= 0x{:x};\n        break;\n",
                    (b'a' + random.below(26) as u8) as char,
                    random.below(65_536)
                ),
                _ => format!(
                    "    fprintf(stderr, \"{}: %d\\n\", {a});\n",
                    title(random, Language::English).replace('"', "")
                ),
            });
        }
        text.push_str("    return 0;\n}\n\n");
    }
}

fn python_source(random: &mut Random, length: usize, text: &mut String) {
    text.push_str("\"\"\"Keeps the harbour's books.\"\"\"\n\nimport os\nimport sys\n\n");
    while text.len() < length {
        let name = identifier(random);
        text.push_str(&format!(
            "\ndef {name}(rows, limit={}):\n",
            random.below(500)
        ));
        text.push_str(&format!(
            "    \"\"\"{}\"\"\"\n",
            sentence(random, Language::English)
        ));
        for _ in 0..random.within(2..=10) {
            let a = identifier(random);
            text.push_str(&match random.below(3) {
                0 => format!(
                    "    {a} = [row for row in rows if row.{} > {}]\n",
                    identifier(random),
                    random.below(99)
                ),
                1 => {
                    format!("    for number, row in enumerate({a}):\n        print(number, row)\n")
                }
                _ => format!(
                    "    {a} = {{\"{}\": {}, \"{}\": None}}\n",
                    identifier(random),
                    random.below(9_999),
                    identifier(random)
                ),
            });
        }
        text.push_str("    return rows\n");
    }
}

fn system_log(random: &mut Random, length: usize, text: &mut String) {
    let mut second = random.below(60_000);
    while text.len() < length {
        second += random.below(40);
        let (hour, minute) = (second / 3_600 % 24, second / 60 % 60);
        text.push_str(&format!(
            "Oct {:>2} {hour:02}:{minute:02}:{:02} desk{} {}[{}]: {}\n",
            second / 86_400 + 1,
            second % 60,
            random.below(9),
            random.pick(&["cron", "sshd", "kernel", "lampd"]),
            random.below(30_000),
            title(random, Language::English)
        ));
    }
}

/// What a mail server logs: full of addresses and of words from heads.
fn mail_log(random: &mut Random, length: usize, text: &mut String) {
    while text.len() < length {
        let id = random.word() >> 24;
        let (from, to) = (stranger(random), account(random));
        let time = format!(
            "Nov {:>2} {:02}:{:02}:{:02} mx1",
            random.within(1..=30),
            random.below(24),
            random.below(60),
            random.below(60)
        );
        text.push_str(&format!(
            "{time} postfix/qmgr[{}]: {id:010X}: from=<{from}>, size={}, nrcpt=1 (queue active)\n",
            random.below(30_000),
            random.below(90_000)
        ));
        text.push_str(&format!(
            "{time} postfix/cleanup[{}]: {id:010X}: message-id=<{:x}@{}>\n",
            random.below(30_000),
            random.word(),
            "seedmerchant.example"
        ));
        text.push_str(&format!("{time} postfix/local[{}]: {id:010X}: to=<{to}>, relay=local, delay=0.{}, status=sent\n", random.below(30_000), random.below(99)));
    }
}

fn settings(random: &mut Random, length: usize, text: &mut String) {
    while text.len() < length {
        text.push_str(&format!("[{}]\n", identifier(random)));
        for _ in 0..random.within(2..=9) {
            let name = identifier(random);
            text.push_str(&match random.below(3) {
                0 => format!("{name} = {}\n", random.below(65_536)),
                1 => format!("# {}\n", sentence(random, Language::English)),
                _ => format!(
                    "{name} = /srv/{}/{}\n",
                    identifier(random),
                    identifier(random)
                ),
            });
        }
        text.push('\n');
    }
}

/// Bytes with the shape of a program: few values, short runs of zeros, names at the end.
fn machine_code(random: &mut Random, length: usize) -> Vec<u8> {
    let mut out = b"\x7FELF\x02\x01\x01".to_vec();
    out.resize(64, 0);
    while out.len() < length {
        match random.below(6) {
            0 => out.extend([0; 3]),
            1 => out.extend([0x48, 0x89, random.below(256) as u8]),
            2 => out.extend([0xE8, random.below(256) as u8, random.below(40) as u8, 0, 0]),
            3 => {
                out.extend(identifier(random).bytes());
                out.push(0);
            }
            _ => {
                let count = random.within(2..=9);
                out.extend(random.bytes(count));
            }
        }
    }
    out
}
