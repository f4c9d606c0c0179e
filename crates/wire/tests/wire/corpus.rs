//! `vectors/wire/*.json`: what every implementation must accept, and what it must refuse, for each message type.
//!
//! The files are kept, not made anew: they show whether today's program still reads what yesterday's wrote. A new type
//! or field is added by `KEYFERRY_VECTORS=write cargo test -p keyferry-wire corpus`, and the difference is reviewed.

use crate::item::Item::{self, Array, Bytes, Map, Raw, Text, Uint};
use crate::item::{head, head_of_width, hex, unhex};
use crate::table::{Case, cases};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../vectors/wire")
}

fn modules() -> BTreeSet<&'static str> {
    cases().iter().map(|case| case.module).collect()
}

/// Ways to spoil an example that every type must refuse, with their names.
fn spoiled(example: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let item = Item::parse(example);
    let mut all = vec![
        ("nothing at all", Vec::new()),
        ("null", vec![0xf6]),
        ("a tag around it", [&[0xc0], example].concat()),
        ("a byte behind the end", [example, &[0]].concat()),
        ("cut by one byte", example[..example.len() - 1].to_vec()),
        ("a float", vec![0xf9, 0x3c, 0x00]),
    ];
    if let Some((major, value)) = item.head() {
        let width = if value < 24 { 1 } else { 8 };
        all.push(("a head longer than needed", [head_of_width(major, value, width), item.body()].concat()));
        all.push(("a head that claims 2^40", [head(major, 1 << 40), item.body()].concat()));
    }
    match &item {
        Map(pairs) => {
            all.push(("an indefinite length", [vec![0xbf], item.body(), vec![0xff]].concat()));
            all.push(("an unknown field", with(pairs, |pairs| pairs.push((Uint(23), Uint(0))))));
            all.push(("a repeated field", with(pairs, |pairs| pairs.insert(0, pairs[0].clone()))));
            all.push(("the first field left out", with(pairs, |pairs| drop(pairs.remove(0)))));
            all.push(("null in the first field", with(pairs, |pairs| pairs[0].1 = Raw(vec![0xf6]))));
            all.push(("a key that is text", with(pairs, |pairs| pairs[0].0 = Text("1".into()))));
            if pairs.len() > 1 {
                all.push(("fields out of order", with(pairs, |pairs| pairs.swap(0, 1))));
            }
        }
        Array(items) => {
            let array = |items: Vec<Item>| Array(items).to_bytes();
            all.push(("an indefinite length", [vec![0x9f], item.body(), vec![0xff]].concat()));
            all.push(("an unknown variant", array([&[Uint(99)], &items[1..]].concat())));
            all.push(("one element too many", array([items.as_slice(), &[Uint(0)]].concat())));
            all.push(("no element", array(Vec::new())));
        }
        Text(_) => all.push(("an unknown word", Text("unheard_of".into()).to_bytes())),
        _ => {
            all.push(("an unknown number", head(0, 200)));
            all.push(("a number beyond a byte", head(0, 257)));
        }
    }
    all.push(("a byte string instead", Bytes(vec![1]).to_bytes()));
    all
}

fn with(pairs: &[(Item, Item)], change: impl FnOnce(&mut Vec<(Item, Item)>)) -> Vec<u8> {
    let mut pairs = pairs.to_vec();
    change(&mut pairs);
    Map(pairs).to_bytes()
}

fn vectors_of(case: &Case) -> Vec<Value> {
    let mut out = Vec::new();
    for example in &case.examples {
        out.push(json!({
            "type": case.name, "hex": hex(example), "diagnostic": Item::parse(example).to_string(),
        }));
    }
    for (what, bytes) in spoiled(case.examples.last().unwrap()) {
        let error = (case.again)(&bytes).expect_err(what);
        out.push(
            json!({ "type": case.name, "hex": hex(&bytes), "what": what, "refused": error.to_string() }),
        );
    }
    out
}

fn write() {
    fs::create_dir_all(folder()).unwrap();
    for module in modules() {
        let mine = cases().into_iter().filter(|case| case.module == module);
        let lines: Vec<_> = mine.flat_map(|case| vectors_of(&case)).map(|value| value.to_string()).collect();
        let text = format!("[\n{}\n]\n", lines.join(",\n"));
        fs::write(folder().join(format!("{module}.json")), text).unwrap();
    }
}

fn read(module: &str) -> Vec<Value> {
    let path = folder().join(format!("{module}.json"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap()
}

#[test]
fn the_corpus_is_accepted_and_refused_as_it_says() {
    if std::env::var("KEYFERRY_VECTORS").is_ok_and(|value| value == "write") {
        write();
    }
    let cases = cases();
    let (mut accepted, mut refused) = (BTreeSet::new(), 0);
    for module in modules() {
        for vector in read(module) {
            let text = |name: &str| vector[name].as_str();
            let name = text("type").unwrap();
            let case = cases.iter().find(|case| case.module == module && case.name == name);
            let case = case.unwrap_or_else(|| panic!("the corpus has {module}::{name}, the crate does not"));
            let bytes = unhex(text("hex").unwrap());
            match text("refused") {
                Some(reason) => {
                    let error = (case.again)(&bytes).expect_err(reason);
                    assert_eq!(error.to_string(), reason, "{} {}", case.full(), text("what").unwrap());
                    refused += 1;
                }
                None => {
                    assert_eq!((case.again)(&bytes).as_ref(), Ok(&bytes), "{}", case.full());
                    assert_eq!(Item::parse(&bytes).to_string(), text("diagnostic").unwrap());
                    accepted.insert(case.full());
                }
            }
        }
    }
    let tabled: BTreeSet<_> = cases.iter().map(Case::full).collect();
    assert_eq!(accepted, tabled, "each type stands in the corpus");
    assert!(refused >= 100, "{refused}");
}
