//! What is made from the definitions of the arguments is read by the tools that it is for.

use std::fs;
use std::process::Command;

use crate::common::{restante, succeed};

#[test]
fn every_command_has_a_page_that_man_reads_without_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    let pages = dir.path().join("man1");
    let mut man = restante();
    man.arg("man").arg("--dir").arg(&pages);
    succeed(&mut man);
    let help = succeed(restante().arg("--help"));
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands = commands.take_while(|line| !line.is_empty());
    let names = commands.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let mut wanted: Vec<String> = names
        .filter(|name| !name.is_empty() && *name != "help")
        .map(|name| format!("restante-{name}.1"))
        .collect();
    assert!(wanted.len() >= 12, "{help}");
    wanted.push("restante.1".to_owned());
    for name in wanted {
        let page = pages.join(&name);
        // Matters of style, such as long lines, are the generator's.
        let lint = succeed(
            Command::new("mandoc")
                .args(["-Tlint", "-Wwarning"])
                .arg(&page),
        );
        assert_eq!(lint, "", "{name}");
        let mut man = Command::new("man");
        man.args(["--warnings", "-l"])
            .arg(&page)
            .env("MANPAGER", "cat");
        let output = man.output().unwrap();
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{name}: {output:?}"
        );
    }
    assert!(
        fs::read_to_string(pages.join("restante-scan.1"))
            .unwrap()
            .contains("units")
    );
}

#[test]
fn bash_takes_the_completions_and_completes_with_them() {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("restante.bash");
    fs::write(&script, succeed(restante().args(["completions", "bash"]))).unwrap();
    succeed(Command::new("bash").arg("-n").arg(&script));
    let ask = "source \"$1\"; COMP_WORDS=(restante asse); COMP_CWORD=1; \
               _restante restante asse restante; echo \"${COMPREPLY[@]}\"";
    let reply = succeed(Command::new("bash").args(["-c", ask, "bash"]).arg(&script));
    assert_eq!(reply.trim(), "assemble");
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        assert!(succeed(restante().args(["completions", shell])).contains("assemble"));
    }
}
