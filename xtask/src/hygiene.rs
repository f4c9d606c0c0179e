//! The last stage of a whole run: whatever any process said in any test is searched for whatever was secret in it.
//!
//! # The contract
//!
//! `KEYFERRY_TRACES` names a folder (an absolute path), emptied before the tests. Tests append to two kinds of files:
//! `canaries` holds one line for each secret, `KIND<TAB>FORM<TAB>FORM..`: what it is and never which, and in hexadecimal
//! each form in which it could be written; every other file holds what was said: stderr and stdout of commands and
//! services, pages and error bodies over HTTP. What `cargo test` itself printed, panic messages among it, is put beside
//! them.
//!
//! A finding names file and kind, never the value.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

pub(crate) const VARIABLE: &str = "KEYFERRY_TRACES";
const CANARIES: &str = "canaries";
/// A shorter form stands somewhere by chance.
const FORM_MIN: usize = 5;

/// Makes the folder anew.
pub(crate) fn prepare(target: &Path) -> Result<PathBuf, String> {
    let folder = target.join("traces");
    let fault = |error: std::io::Error| format!("{}: {error}", folder.display());
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(fault(error)),
        _ => {}
    }
    fs::create_dir_all(&folder).map_err(fault)?;
    Ok(folder)
}

/// Searches the folder. In a whole run somebody must have declared a secret.
pub(crate) fn check(folder: &Path, whole_run: bool) -> Result<(), String> {
    let searched = search(folder)?;
    println!("{}", searched.line());
    if searched.secrets == 0 && whole_run {
        return Err("no test declared a secret: nothing was searched for".to_owned());
    }
    if searched.findings.is_empty() {
        return Ok(());
    }
    let findings =
        searched.findings.iter().map(|(file, kind)| format!("{file}: a secret stands in it: {kind}"));
    Err(findings.collect::<Vec<_>>().join("\n"))
}

#[derive(Debug, Default)]
struct Searched {
    files: usize,
    bytes: usize,
    secrets: usize,
    forms: usize,
    findings: BTreeSet<(String, String)>,
}

impl Searched {
    fn line(&self) -> String {
        let Searched { files, bytes, secrets, forms, .. } = self;
        format!("hygiene: {files} files with {bytes} bytes searched for {secrets} secrets in {forms} forms")
    }
}

fn search(folder: &Path) -> Result<Searched, String> {
    let fault = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    let declared = folder.join(CANARIES);
    let canaries = if declared.exists() {
        Canaries::parse(&fs::read_to_string(&declared).map_err(|error| fault(&declared, error))?)?
    } else {
        Canaries::default()
    };
    let mut searched =
        Searched { secrets: canaries.secrets, forms: canaries.kinds.len(), ..Searched::default() };
    for entry in fs::read_dir(folder).map_err(|error| fault(folder, error))? {
        let path = entry.map_err(|error| fault(folder, error))?.path();
        if path == declared {
            continue;
        }
        let text = fs::read(&path).map_err(|error| fault(&path, error))?;
        searched.files += 1;
        searched.bytes += text.len();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        searched.findings.extend(canaries.find(&text).into_iter().map(|kind| (name.to_string(), kind)));
    }
    Ok(searched)
}

/// Forms with their kinds, and by their first bytes, so that a text is read once, whatever their number.
#[derive(Default)]
struct Canaries {
    secrets: usize,
    kinds: BTreeMap<Vec<u8>, String>,
    begin: BTreeMap<[u8; FORM_MIN], Vec<Vec<u8>>>,
}

impl Canaries {
    fn parse(lines: &str) -> Result<Canaries, String> {
        let mut canaries = Canaries::default();
        for line in lines.lines().collect::<BTreeSet<_>>() {
            let (kind, forms) = line.split_once('\t').ok_or("a canary without a form")?;
            canaries.secrets += 1;
            for form in forms.split('\t') {
                let form = bytes(form).ok_or_else(|| format!("a canary that is not hexadecimal: {kind}"))?;
                let Some(begin) = form.first_chunk::<FORM_MIN>() else {
                    return Err(format!("a canary that is too short to mean anything: {kind}"));
                };
                if canaries.kinds.insert(form.clone(), kind.to_owned()).is_none() {
                    canaries.begin.entry(*begin).or_default().push(form);
                }
            }
        }
        Ok(canaries)
    }

    /// Kinds of what stands in the text.
    fn find(&self, text: &[u8]) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for at in 0..text.len() {
            let rest = &text[at..];
            let Some(begin) = rest.first_chunk::<FORM_MIN>() else { break };
            let forms = self.begin.get(begin).into_iter().flatten();
            found.extend(forms.filter(|form| rest.starts_with(form)).map(|form| self.kinds[form].clone()));
        }
        found
    }
}

fn bytes(hexadecimal: &str) -> Option<Vec<u8>> {
    let pairs = hexadecimal.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "harbour" as it is and in hexadecimal, of one kind; "lantern" of another.
    const DECLARED: &str =
        "a PIN\t686172626f7572\t3638363137323632366637353732\na device PIN\t6c616e7465726e\n";

    fn folder(name: &str, said: &[(&str, &[u8])]) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("keyferry-hygiene-{}-{name}", std::process::id()));
        let folder = prepare(&folder).unwrap();
        fs::write(folder.join(CANARIES), DECLARED).unwrap();
        for (name, said) in said {
            fs::write(folder.join(name), said).unwrap();
        }
        folder
    }

    fn remove(folder: &Path) {
        fs::remove_dir_all(folder.parent().unwrap()).unwrap();
    }

    #[test]
    fn secret_in_any_file_and_form_is_found_and_named_without_its_value() {
        let said: [(&str, &[u8]); 4] = [
            ("one.command", b"the harbour is calm"),
            ("two.service", b"{\"pin\":\"686172626f7572\"}\nlanter"),
            ("three.http", b"\xff\x00lantern"),
            ("four.http", b"nothing of it: harbou"),
        ];
        let folder = folder("bites", &said);
        let refused = check(&folder, true).unwrap_err();
        let mut lines: Vec<_> = refused.lines().collect();
        lines.sort_unstable();
        let expected = ["one.command", "three.http", "two.service"].map(|name| {
            let kind = if name == "three.http" { "a device PIN" } else { "a PIN" };
            format!("{name}: a secret stands in it: {kind}")
        });
        assert_eq!(lines, expected);
        let line = search(&folder).unwrap().line();
        assert_eq!(line, "hygiene: 4 files with 80 bytes searched for 2 secrets in 3 forms");
        remove(&folder);
    }

    #[test]
    fn clean_run_passes_and_one_without_secrets_does_not() {
        let folder = folder("clean", &[("one.command", b"calm")]);
        assert_eq!(check(&folder, true), Ok(()));
        fs::remove_file(folder.join(CANARIES)).unwrap();
        assert!(check(&folder, true).unwrap_err().contains("no test declared a secret"));
        assert_eq!(check(&folder, false), Ok(()));
        remove(&folder);
    }

    #[test]
    fn folder_is_emptied_before_a_run() {
        let before = folder("anew", &[("one.command", b"harbour")]);
        let after = prepare(before.parent().unwrap()).unwrap();
        assert_eq!(fs::read_dir(&after).unwrap().count(), 0);
        remove(&after);
    }

    #[test]
    fn canary_that_means_nothing_is_a_fault() {
        for line in ["no tab", "short\t616263", "odd\t61626364656g"] {
            assert!(Canaries::parse(line).is_err(), "{line}");
        }
    }
}
