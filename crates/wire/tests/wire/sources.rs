//! What the sources declare with `message!`, `choice!` and `number!`: the tests compare their tables with it.

use std::fs;
use std::path::Path;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A map.
    Message,
    /// An array of number and body.
    Choice,
    /// A number.
    Number,
}

#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) key: u8,
    pub(crate) name: String,
    /// Type of a field, body of a variant, or nothing.
    pub(crate) body: String,
    /// Only `Option` fields may be left out.
    pub(crate) optional: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Declaration {
    pub(crate) module: String,
    pub(crate) name: String,
    pub(crate) shape: Shape,
    pub(crate) rows: Vec<Row>,
}

/// All declarations, in the order of files and lines.
pub(crate) fn declarations() -> Vec<Declaration> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut found = Vec::new();
    for file in files {
        assert!(file.is_file(), "{} is a folder: teach this reader", file.display());
        let module = file.file_stem().unwrap().to_str().unwrap().to_owned();
        if module != "message" {
            read(&module, &fs::read_to_string(&file).unwrap(), &mut found);
        }
    }
    found
}

pub(crate) fn declaration(module: &str, name: &str) -> Option<Declaration> {
    declarations().into_iter().find(|it| it.module == module && it.name == name)
}

fn read(module: &str, text: &str, found: &mut Vec<Declaration>) {
    let mut shape = None;
    for line in text.lines() {
        match line.trim_start_matches("crate::") {
            "message! {" => shape = Some(Shape::Message),
            "choice! {" => shape = Some(Shape::Choice),
            "number! {" => shape = Some(Shape::Number),
            "}" => shape = None,
            line => {
                if let Some(shape) = shape {
                    read_line(module, shape, line.trim(), found);
                }
            }
        }
    }
}

fn read_line(module: &str, shape: Shape, line: &str, found: &mut Vec<Declaration>) {
    if let Some(rest) = line.strip_prefix("pub struct ").or_else(|| line.strip_prefix("pub enum ")) {
        let name = rest.trim_end_matches(" {").to_owned();
        found.push(Declaration { module: module.to_owned(), name, shape, rows: Vec::new() });
    } else if let Some((key, rest)) = line.split_once(" => ") {
        let rest = rest.trim_start_matches("pub ");
        let name = rest.split([':', '(', ',']).next().unwrap().to_owned();
        let body = rest.strip_prefix(name.as_str()).unwrap().trim_end_matches(',');
        let body = body.trim_start_matches(": ").trim_matches(['(', ')']).to_owned();
        let optional = body.starts_with("Option<");
        let row = Row { key: key.parse().unwrap(), name, body, optional };
        found.last_mut().unwrap().rows.push(row);
    }
}

#[test]
fn declarations_are_found_with_their_rows() {
    let all = declarations();
    assert!(all.len() > 60, "{}", all.len());
    let work = declaration("door", "Work").unwrap();
    let rows: Vec<_> = work.rows.iter().map(|row| (row.key, row.name.as_str(), row.optional)).collect();
    assert_eq!(rows, [(1, "ticket", false), (2, "frame", true), (3, "view", true)]);
    let answer = declaration("command", "Answer").unwrap();
    assert_eq!((answer.shape, answer.rows[5].name.as_str()), (Shape::Choice, "PinRight"));
}

#[test]
fn keys_rise_from_1_without_gaps_and_stay_one_byte() {
    for declaration in declarations() {
        let keys: Vec<_> = declaration.rows.iter().map(|row| usize::from(row.key)).collect();
        let expected: Vec<_> = (1..=declaration.rows.len()).collect();
        assert_eq!(keys, expected, "{}::{}", declaration.module, declaration.name);
        assert!(keys.len() < 24);
    }
}
