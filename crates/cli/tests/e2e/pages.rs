//! Completions and manual pages say what the command line is.

use crate::harness::{World, keyferry};
use std::fs;
use std::process::Command;

/// Every command path and flag, as `keyferry help --tree` lists them.
fn tree() -> Vec<(Vec<String>, Option<String>)> {
    let said = keyferry(&["help", "--tree"]);
    let split = |line: &str| {
        let mut words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        let flag = words.pop_if(|word| word.starts_with("--"));
        (words, flag)
    };
    let tree: Vec<_> = said.out.lines().map(split).collect();
    assert!(tree.len() > 80, "{said}");
    tree
}

#[test]
fn completions_have_every_command_and_flag() {
    for shell in ["bash", "zsh", "fish"] {
        let said = keyferry(&["completions", shell]);
        assert_eq!((said.status, said.err.as_str()), (Some(0), ""));
        for (path, flag) in tree() {
            let name = flag.as_ref().or(path.last()).unwrap();
            let fish_flag = format!("-l {}", name.trim_start_matches('-'));
            let stands = said.out.contains(name) || (shell == "fish" && said.out.contains(&fish_flag));
            assert!(stands, "{shell}: {path:?} {flag:?}");
        }
        assert!(!said.out.contains("stand-in-role") && !said.out.contains("enclave-stand-in"), "{shell}");
    }
    keyferry(&["completions", "nonsense"]).usage();
}

#[test]
fn bash_reads_its_completions_and_completes() {
    let world = World::new();
    let script = world.file("keyferry.bash", keyferry(&["completions", "bash"]).out);
    let parsed = Command::new("bash").arg("-n").arg(&script).status().unwrap();
    assert!(parsed.success());
    let complete = |words: &[&str]| {
        let last = words.len() - 1;
        let program = format!(
            "source {}; COMP_WORDS=({}); COMP_CWORD={last}; _keyferry keyferry '{}' '{}'; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            script.display(),
            words.join(" "),
            words[last],
            words[last - 1],
        );
        let output = Command::new("bash").args(["--norc", "-c", &program]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(complete(&["keyferry", "pass"]), ["passkey"]);
    assert_eq!(complete(&["keyferry", "passkey", "create", "--orig"]), ["--origin"]);
    assert_eq!(complete(&["keyferry", "doc"]), ["doctor"]);
}

#[test]
fn each_command_has_a_manual_page_with_its_flags() {
    let world = World::new();
    let dir = world.path("man");
    let said = keyferry(&["man", "--dir", dir.to_str().unwrap()]);
    assert_eq!((said.status, said.out.as_str(), said.err.as_str()), (Some(0), "", ""));
    let page = |path: &[String]| {
        let name = [&["keyferry".to_owned()][..], path].concat().join("-");
        fs::read_to_string(dir.join(format!("{name}.1"))).unwrap_or_else(|_| panic!("no page for {path:?}"))
    };
    for (path, flag) in tree() {
        let text = page(&path);
        if let Some(flag) = flag {
            assert!(text.contains(&flag.replace('-', "\\-")), "{path:?} {flag}");
        }
    }
    assert!(!dir.join("keyferry-enclave-stand-in.1").exists());
    assert_eq!(keyferry(&["man"]).out, page(&[]));
    assert!(page(&[]).contains("Exit status: 0 done"), "the root page says what scripts rely on");
    keyferry(&["man", "--dir", "/dev/null/man"]).fault();
}

#[test]
fn manual_pages_are_sound_troff() {
    let world = World::new();
    let dir = world.path("man");
    keyferry(&["man", "--dir", dir.to_str().unwrap()]);
    let groff = Command::new("groff").arg("--version").output().is_ok();
    for entry in fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let requests = text.lines().filter_map(|line| line.strip_prefix('.'));
        for request in requests {
            let name = request.split(' ').next().unwrap();
            let known = ["TH", "SH", "SS", "TP", "IP", "PP", "RS", "RE", "br", "ie", "el"];
            assert!(known.contains(&name), "{}: .{request}", path.display());
        }
        assert!(text.contains(".SH NAME") && text.contains(".SH SYNOPSIS"), "{}", path.display());
        if groff {
            let rendered =
                Command::new("groff").args(["-man", "-Tutf8", "-P-cbou"]).arg(&path).output().unwrap();
            let (out, warnings) =
                (String::from_utf8_lossy(&rendered.stdout), String::from_utf8_lossy(&rendered.stderr));
            assert!(rendered.status.success() && out.contains("SYNOPSIS"), "{}: {warnings}", path.display());
        }
    }
}
