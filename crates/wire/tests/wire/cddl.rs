//! `docs/keyferry.cddl` is written from the declarations in the sources, and a CDDL library of others (zcbor, through
//! `peers/cddl.py`) reads it: it accepts what this crate accepts, and refuses what CDDL can say is wrong.
//!
//! A new type or field is added by `KEYFERRY_VECTORS=write cargo test -p keyferry-wire cddl`.

use crate::item::{hex, unhex};
use crate::sources::{Declaration, Row, Shape, declarations};
use crate::table::{Case, cases};
use keyferry_wire::limits::COMMANDS_MAX;
use keyferry_wire::refusal::Code;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn document() -> PathBuf {
    root().join("docs/keyferry.cddl")
}

const PREFACE: &str = "\
; The CBOR messages of Keyferry, protocol version 1 (docs/PROTOCOL.md), in CDDL (RFC 8610).
;
; Written by a test of keyferry-wire from the declarations in its sources, so it cannot lag behind them:
;   KEYFERRY_VECTORS=write cargo test -p keyferry-wire cddl
;
; What CDDL does not say, and a reader must check all the same (PROTOCOL, section 2): deterministic encoding (shortest
; heads, definite lengths, keys in ascending order, none twice), nothing behind the item, depth and number of elements.

";

/// Types of fields that are not declared by the macros.
const PRIMITIVES: &[(&str, &str)] = &[
    ("u16", "0..65535"),
    ("u32", "0..4294967295"),
    ("u64", "0..18446744073709551615"),
    ("i64", "-9223372036854775808..9223372036854775807"),
    ("Hash", "bstr .size 32"),
    ("AccountId", "bstr .size 32"),
    ("DeviceId", "bstr .size 16"),
    ("CredentialId", "bstr .size 16"),
    ("RequestId", "bstr .size 16"),
    ("AttemptId", "bstr .size 16"),
    ("SessionId", "bstr .size 16"),
    ("InstanceId", "bstr .size 8"),
    ("ShardId", "u16"),
];

fn written() -> String {
    let mut out = PREFACE.to_owned();
    for (name, rule) in PRIMITIVES {
        let _ = writeln!(out, "{name} = {rule}");
    }
    let words: Vec<_> = Code::ALL.iter().map(|code| format!("\"{}\"", code.as_str())).collect();
    let _ = writeln!(out, "Code = {}", words.join("\n  / "));
    let _ = writeln!(out, "\n; What `Request.commands` holds.\nCommands = [1*{COMMANDS_MAX} Command]");
    let mut module = String::new();
    // Entries of the ledger have a layout of their own.
    for declared in declarations().iter().filter(|declared| declared.module != "ledger") {
        if declared.module != module {
            module.clone_from(&declared.module);
            let _ = writeln!(out, "\n; {module}");
        }
        let _ = write!(out, "\n{}", rule(declared));
    }
    out
}

fn rule(declared: &Declaration) -> String {
    let name = &declared.name;
    let choices = |each: &dyn Fn(&Row) -> String| {
        let rows: Vec<_> =
            declared.rows.iter().map(|row| format!("{} ; {}\n", each(row), row.name)).collect();
        format!("{name} = {}", rows.join("  / "))
    };
    match declared.shape {
        Shape::Number => choices(&|row| row.key.to_string()),
        Shape::Choice => choices(&|row| match row.body.as_str() {
            "" => format!("[{}]", row.key),
            body => format!("[{}, {}]", row.key, notation(body)),
        }),
        Shape::Message => {
            let field = |row: &Row| {
                let ty = match (name.as_str(), row.name.as_str()) {
                    ("Request", "commands") => "bstr .cbor Commands".to_owned(),
                    _ => notation(row.body.trim_start_matches("Option<")),
                };
                format!("  {}{}: {ty}, ; {}\n", if row.optional { "? " } else { "" }, row.key, row.name)
            };
            format!("{name} = {{\n{}}}\n", declared.rows.iter().map(field).collect::<String>())
        }
    }
}

fn notation(body: &str) -> String {
    let body = body.trim_end_matches('>');
    if let Some(inner) = body.strip_prefix("Vec<") {
        return format!("[* {}]", notation(inner));
    }
    match body.rsplit("::").next().unwrap() {
        "Bytes" => "bstr".to_owned(),
        "String" => "tstr".to_owned(),
        body => match body.strip_prefix("[u8; ").and_then(|rest| rest.strip_suffix(']')) {
            Some(len) => format!("bstr .size {len}"),
            None => body.to_owned(),
        },
    }
}

#[test]
fn the_document_is_what_the_sources_declare() {
    if std::env::var("KEYFERRY_VECTORS").is_ok_and(|value| value == "write") {
        fs::write(document(), written()).unwrap();
    }
    let names: Vec<_> = cases().iter().map(|case| case.name).collect();
    let distinct: BTreeSet<_> = names.iter().collect();
    assert_eq!(distinct.len(), names.len(), "two modules have a type of one name: CDDL has one name space");
    let kept = fs::read_to_string(document()).unwrap();
    assert_eq!(kept, written(), "docs/keyferry.cddl lags behind the sources");
}

/// The library, if it is installed.
struct Library {
    child: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Library {
    fn start() -> Option<Library> {
        let python = root().join(".peers/venv/bin/python");
        if !python.exists() {
            skip("no zcbor: run `cargo xtask setup`");
            return None;
        }
        let mut command = Command::new(python);
        command.arg(root().join("peers/cddl.py")).arg(document());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (ask, answers) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Some(Library { child, ask, answers })
    }

    /// Nothing, or why the library refuses the message.
    fn judge(&mut self, name: &str, message: &[u8]) -> Result<(), String> {
        writeln!(self.ask, "{}", json!({ "type": name, "hex": hex(message) })).unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        let answer: Value =
            serde_json::from_str(&line).unwrap_or_else(|_| panic!("{name}: it said {line:?}"));
        if answer["ok"] == true { Ok(()) } else { Err(answer["said"].to_string()) }
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Notes that this test cannot run here, by the contract in `xtask/src/tally.rs`.
fn skip(reason: &str) {
    let thread = std::thread::current();
    let line = format!("skipped: {}: {reason}\n", thread.name().unwrap_or("unnamed"));
    print!("{line}");
    if let Some(path) = std::env::var_os("KEYFERRY_SKIPS") {
        let file = fs::OpenOptions::new().append(true).create(true).open(path);
        file.and_then(|mut file| file.write_all(line.as_bytes()))
            .expect("a skip that is not counted would pass");
    }
}

fn vectors() -> Vec<Value> {
    let modules: BTreeSet<_> = cases().iter().map(|case| case.module).collect();
    let read = |module: &str| -> Vec<Value> {
        let path = root().join(format!("vectors/wire/{module}.json"));
        serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
    };
    modules.into_iter().flat_map(read).collect()
}

#[test]
fn a_library_of_others_accepts_every_example_and_every_accepted_vector() {
    let Some(mut library) = Library::start() else { return };
    let examples = cases().into_iter().flat_map(|Case { name, examples, .. }| {
        examples.into_iter().map(move |example| (name.to_owned(), example))
    });
    let accepted = vectors().into_iter().filter(|vector| vector["refused"].is_null());
    let text = |vector: &Value, name: &str| vector[name].as_str().unwrap().to_owned();
    let accepted = accepted.map(|vector| (text(&vector, "type"), unhex(&text(&vector, "hex"))));
    let messages: Vec<_> = examples.chain(accepted).collect();
    for (name, message) in &messages {
        let verdict = library.judge(name, message);
        assert_eq!(verdict, Ok(()), "{name} {}", hex(message));
    }
    println!("cddl: {} messages of {} types accepted", messages.len(), cases().len());
    assert!(messages.len() >= 2 * cases().len());
}

/// Faults of the encoding, which CDDL has no words for: it describes what was encoded, not the bytes. A repeated field
/// or bytes behind the item are lost before the library looks.
const NOT_EXPRESSIBLE: &[&str] = &[
    "a byte behind the end",
    "a head longer than needed",
    "an indefinite length",
    "a repeated field",
    "fields out of order",
];

#[test]
fn a_library_of_others_refuses_every_vector_whose_fault_cddl_can_express() {
    let Some(mut library) = Library::start() else { return };
    let mut refused: BTreeMap<String, usize> = BTreeMap::new();
    let mut beyond = 0;
    for vector in vectors().iter().filter(|vector| vector["refused"].is_string()) {
        let text = |name: &str| vector[name].as_str().unwrap();
        let (name, what, bytes) = (text("type"), text("what"), unhex(text("hex")));
        if NOT_EXPRESSIBLE.contains(&what) {
            beyond += 1;
            continue;
        }
        assert!(library.judge(name, &bytes).is_err(), "the library accepts {name} with {what}");
        *refused.entry(what.to_owned()).or_default() += 1;
    }
    let count: usize = refused.values().sum();
    println!("cddl: {count} vectors refused {refused:?}, {beyond} have faults that CDDL cannot express");
    assert!(count >= 500 && refused.len() >= 12, "{refused:?}");
}
