//! `docs/PROTOCOL.md` has one table row for each declared type, with the numbers, names and types of the code.

use crate::sources::{Declaration, Shape, declarations};
use std::fs;
use std::path::Path;

/// The row of a type as the document has it; a note may follow.
fn row(declared: &Declaration) -> String {
    let part = |row: &crate::sources::Row| match (declared.shape, row.body.as_str()) {
        (Shape::Message, body) => format!("{} {}: {}", row.key, row.name, notation(body)),
        (_, "") => format!("{} {}", row.key, row.name),
        (_, body) => format!("{} {}({})", row.key, row.name, notation(body)),
    };
    let parts: Vec<_> = declared.rows.iter().map(part).collect();
    format!("| `{}` | {} |", declared.name, parts.join(", "))
}

/// Types as section 1 of the document writes them.
fn notation(body: &str) -> String {
    let inside = |outer: &str| body.strip_prefix(outer).and_then(|rest| rest.strip_suffix('>'));
    if let Some(inner) = inside("Option<") {
        return format!("{}?", notation(inner));
    }
    if let Some(inner) = inside("Vec<") {
        return format!("[{}]", notation(inner));
    }
    match body.rsplit("::").next().unwrap() {
        "Bytes" => "bytes".to_owned(),
        "String" => "text".to_owned(),
        "Hash" => "bytes32".to_owned(),
        body => match body.strip_prefix("[u8; ").and_then(|rest| rest.strip_suffix(']')) {
            Some(len) => format!("bytes{len}"),
            None => body.to_owned(),
        },
    }
}

#[test]
fn the_document_has_the_row_of_every_type() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/PROTOCOL.md");
    let text = fs::read_to_string(path).unwrap();
    let missing: Vec<_> = declarations()
        .iter()
        .map(row)
        .filter(|row| !text.lines().any(|line| line.starts_with(row)))
        .collect();
    assert!(missing.is_empty(), "rows that docs/PROTOCOL.md does not have:\n{}", missing.join("\n"));
}
