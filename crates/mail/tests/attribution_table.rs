//! The table of adversarial messages in `attribution/table.txt`: each is judged as the program judges
//! a message that lost its directory, one that was carved, and a folder that lost its path. None may
//! be given to anybody else than whose it is.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on says so by failing, and the share attributed is shown"
)]

#[path = "common/tree.rs"]
mod tree;

use std::sync::Arc;

use evidence::ReadAt;
use evidence::view::Memory;
use mail::account::{AccountList, AccountRules, Accounts, Owner};
use mail::attribution::{Place, attribute};
use mail::carved::{Candidate, Carved, Names};
use mail::claims::Claims;
use mail::content::examine_loose;
use mail::store::find;
use mail::{Address, Proof, Record};
use tree::Maker;

const TABLE: &str = include_str!("attribution/table.txt");
const NOBODY: &str = "nobody";
const EVERYWHERE: [&str; 3] = ["ada", "bob", "mary-ann"];
const DEVICE: &str = "volume:v";

#[derive(Default)]
struct Row {
    what: String,
    whose: String,
    /// What is to be said where only the message, its blocks, or the folder are left.
    wanted: [String; 3],
    known: Vec<String>,
    list: Vec<String>,
    delimiters: Option<String>,
    message: Vec<u8>,
}

fn rows() -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let mut in_message = false;
    for line in TABLE.lines() {
        if let Some(what) = line.strip_prefix("=== ") {
            rows.push(Row {
                what: what.to_owned(),
                ..Row::default()
            });
            in_message = false;
            continue;
        }
        let Some(row) = rows.last_mut() else { continue };
        if in_message {
            row.message.extend(bytes(line));
            row.message.push(b'\n');
        } else if line == "---" {
            in_message = true;
        } else {
            let (field, value) = line.split_once(':').unwrap();
            let value = value.trim().to_owned();
            match field {
                "whose" => row.whose = value,
                "answer" => row.wanted = [value.clone(), value.clone(), value],
                "loose" => row.wanted[0] = value,
                "carved" => row.wanted[1] = value,
                "folder" => row.wanted[2] = value,
                "known" => row.known.push(value),
                "list" => row.list.push(value),
                "delimiters" => row.delimiters = Some(value),
                other => panic!("{other}"),
            }
        }
    }
    rows
}

/// A line with `\\xNN` for bytes.
fn bytes(line: &str) -> Vec<u8> {
    let mut parts = line.split("\\x");
    let mut bytes = parts.next().unwrap().as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
        bytes.extend(&part.as_bytes()[2..]);
    }
    bytes
}

impl Row {
    fn rules(&self) -> AccountRules {
        let mut rules = AccountRules::default();
        if let Some(delimiters) = &self.delimiters {
            rules = rules.with_delimiters(delimiters).unwrap();
        }
        if !self.list.is_empty() {
            rules = rules.with_list(AccountList::parse(&self.list.join("\n"), None).unwrap());
        }
        rules
    }

    /// The accounts that other evidence names.
    fn known(&self) -> Vec<Address> {
        let all = EVERYWHERE
            .iter()
            .map(|local| format!("{local}@lindenhof.example"));
        let all = all.chain(self.known.iter().cloned());
        all.map(|name| Address::parse(&name).unwrap()).collect()
    }

    /// What the program says where the message, and where three such messages in a folder, lost
    /// what led to them.
    fn in_file_system(&self) -> [Option<Owner>; 2] {
        let rules = self.rules();
        let mut maker = Maker::new();
        for account in self.known() {
            let (domain, local) = (account.domain(), account.local());
            let maildir = format!("/srv/vmail/{domain}/{local}/Maildir");
            maker.directory(&format!("{maildir}/cur"));
            maker.directory(&format!("{maildir}/new"));
        }
        for number in 0..3 {
            let name = format!("/#orphans/#77/cur/140000000{number}.M{number}P1.mx:2,S");
            maker.file(&name, &self.message);
        }
        maker.directory("/#orphans/#77/new");
        maker.file("/#orphans/#99", &self.message);
        let tree = maker.done();
        let mut places = [Place {
            device: DEVICE,
            fs: &tree,
            stores: find(&tree, &rules),
        }];
        let accounts = attribute(&mut places, &rules);
        let stores = &places[0].stores;
        let folder = stores.folders.iter();
        let mut folder = folder.filter(|folder| folder.path.to_string().starts_with("/#orphans"));
        let folder = folder.next().unwrap().owner.clone();
        let (path, inode) = stores.loose.first().unwrap();
        let loose = examine_loose(&tree, DEVICE, path, *inode, &Claims::default(), &accounts);
        let Some(Record::Message(loose)) = loose else {
            panic!("{}: not a message", self.what);
        };
        assert!(
            loose.owner.is_none() || loose.doubt.is_none(),
            "{}",
            self.what
        );
        [loose.owner, folder]
    }

    /// What the program says where it carved the message, among mail of the server that delivers
    /// here.
    fn carved(&self) -> Option<Owner> {
        let mut accounts = Accounts::new(&self.rules());
        for account in self.known() {
            accounts.add(account);
        }
        let usual = (0..4).map(|number| {
            format!(
                "Delivered-To: {}@lindenhof.example\nReceived: from mx by imap.lindenhof.example; \
                 Tue, 17 Jun 2014 10:00:0{number} +0000\nFrom: x@y.example\nSubject: {number}\n\nx\n",
                EVERYWHERE[number % 2]
            )
            .into_bytes()
        });
        let candidates = usual.chain([self.message.clone()]).map(|text| {
            let carved = Carved {
                pieces: vec![(0, text.len() as u64)],
                proof: Some(Proof::Structure),
                ..Carved::default()
            };
            let view: Arc<dyn ReadAt> = Arc::new(Memory::new(text));
            Candidate::read(&view, "disk:a#blocks", &carved).unwrap()
        });
        let attributed =
            mail::carved::attribute(candidates.collect(), &Names::default(), &accounts);
        attributed.messages.last().unwrap().owner.clone()
    }
}

#[test]
fn no_message_of_the_table_is_given_to_anybody_else() {
    let rows = rows();
    assert!(rows.len() > 60, "{} rows", rows.len());
    let (mut attributed, mut of, mut wrong) = ([0; 3], 0, Vec::new());
    let mut misfiled = 0;
    for row in &rows {
        let [loose, folder] = row.in_file_system();
        of += usize::from(row.whose != NOBODY);
        for (index, said) in [loose, row.carved(), folder].into_iter().enumerate() {
            let name = said.as_ref().map(|owner| owner.account.to_string());
            attributed[index] += usize::from(said.is_some());
            misfiled += usize::from(name.as_ref().is_some_and(|name| *name != row.whose));
            let wanted = &row.wanted[index];
            let (account, field) = wanted.split_once(" by ").unwrap_or((wanted, ""));
            // Of a folder the evidence is how many of its messages say so.
            let field = if index == 2 && field != "sender" {
                "were delivered to it"
            } else {
                field
            };
            let evidence = said
                .as_ref()
                .is_none_or(|owner| owner.evidence.contains(field));
            if name.as_deref().unwrap_or(NOBODY) != account || !evidence {
                let how = ["loose", "carved", "folder"][index];
                wrong.push(format!(
                    "{} ({how}): wanted {wanted}, got {said:?}",
                    row.what
                ));
            }
        }
    }
    println!(
        "{} rows, {of} of an account here; attributed: {} loose, {} carved, {} as a folder; \
         misfiled: {misfiled}",
        rows.len(),
        attributed[0],
        attributed[1],
        attributed[2]
    );
    assert_eq!(misfiled, 0, "{wrong:#?}");
    assert!(wrong.is_empty(), "{wrong:#?}");
}
