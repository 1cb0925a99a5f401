//! The page for people.
//!
//! Templates are in `templates/`. They get finished texts and numbers and hold no logic; every
//! text that they print goes through [`print`], which makes it harmless. The page is written
//! account by account, so that its length does not matter.

mod account;
mod answers;
mod chart;
mod encrypted;
mod overview;
mod picture;
mod structure;

use std::io::Write;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value, ValueKind};
use minijinja::{Environment, Error, Output, State, UndefinedBehavior, context, escape_formatter};

use crate::facts::{Account, Facts};
use crate::text::visible;

/// Writes the page.
pub(crate) fn render(facts: &Facts, mut out: impl Write) -> Result<(), Error> {
    let environment = environment()?;
    let head = overview::Overview::new(facts);
    environment
        .get_template("head.html")?
        .render_captured_to(Serde(&head), &mut out)?;
    let template = environment.get_template("account.html")?;
    let limit = account::limit(facts.accounts.len());
    let outlook = answers::Outlook::of(facts);
    for (number, account) in facts.accounts.iter().enumerate() {
        let view = account::AccountView::new(number, account, limit, outlook);
        template.render_captured_to(Serde(&view), &mut out)?;
    }
    let tail = structure::Engineering::new(facts);
    environment
        .get_template("tail.html")?
        .render_captured_to(Serde(&tail), &mut out)?;
    Ok(())
}

/// Writes the page of one account, for its owner.
pub(crate) fn render_account(
    facts: &Facts,
    account: &Account,
    mut out: impl Write,
) -> Result<(), Error> {
    let environment = environment()?;
    let view = account::AccountView::for_owner(account, answers::Outlook::of(facts));
    let head = context! {
        as_of => facts.as_of.as_deref().map(answers::minute),
        program => facts.program.as_str(),
    };
    environment
        .get_template("owner_head.html")?
        .render_captured_to(&head, &mut out)?;
    environment
        .get_template("account.html")?
        .render_captured_to(Serde(&view), &mut out)?;
    environment
        .get_template("owner_tail.html")?
        .render_captured_to(&head, &mut out)?;
    Ok(())
}

fn environment() -> Result<Environment<'static>, Error> {
    const TEMPLATES: [(&str, &str); 7] = [
        ("style.css", include_str!("../../templates/style.css")),
        ("macros.html", include_str!("../../templates/macros.html")),
        ("head.html", include_str!("../../templates/head.html")),
        ("account.html", include_str!("../../templates/account.html")),
        ("tail.html", include_str!("../../templates/tail.html")),
        (
            "owner_head.html",
            include_str!("../../templates/owner_head.html"),
        ),
        (
            "owner_tail.html",
            include_str!("../../templates/owner_tail.html"),
        ),
    ];
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build()?;
    environment.set_syntax(syntax);
    environment.set_formatter(print);
    for (name, source) in TEMPLATES {
        environment.add_template(name, source)?;
    }
    Ok(environment)
}

/// Prints a value: nothing for none, and text with its hostile characters shown as escapes and
/// its markup escaped. What a macro returned went through here before.
fn print(out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    if value.is_none() {
        return Ok(());
    }
    match value.as_str() {
        Some(text) if value.kind() == ValueKind::String && !value.is_safe() => {
            escape_formatter(out, state, &Value::from(visible(text).into_owned()))
        }
        Some(text) => out.write_str(text).map_err(Error::from),
        None => escape_formatter(out, state, value),
    }
}
