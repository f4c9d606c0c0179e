//! Rust source without what the rules do not speak of: comments, the insides of literals, and test code.
//!
//! This is a scanner, not a parser. It does not expand macros, follow `use ... as`, or know `#[path]`; a rule that
//! must hold against an author who hides needs a lint or a review besides.

/// A file's text and two blanked copies of it, each byte at its old place.
pub(super) struct Source {
    pub(super) text: String,
    /// Comments and the insides of literals are blank.
    pub(super) code: String,
    /// `code` with the items under `#[cfg(test)]` blank, too.
    pub(super) shipped: String,
    literals: Vec<Literal>,
    /// Names of `#[cfg(test)] mod NAME;`.
    pub(super) test_modules: Vec<String>,
}

/// A string literal, as written: escapes are not resolved.
pub(super) struct Literal {
    pub(super) at: usize,
    pub(super) text: String,
}

impl Source {
    pub(super) fn new(text: &str) -> Self {
        let (code, literals) = blank(text);
        let (shipped, test_modules) = without_tests(&code);
        Self { text: text.to_owned(), code, shipped, literals, test_modules }
    }

    /// The string literals outside test code.
    pub(super) fn shipped_literals(&self) -> impl Iterator<Item = &Literal> {
        self.literals.iter().filter(|literal| self.shipped.as_bytes()[literal.at] == b'"')
    }

    /// The line of a byte, from 1.
    pub(super) fn line(&self, at: usize) -> usize {
        self.text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1
    }
}

/// Where `word` stands by itself, not as part of a longer identifier.
pub(super) fn places(code: &str, word: &str) -> Vec<usize> {
    let bytes = code.as_bytes();
    let is_name = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(|byte| is_name_byte(*byte));
    let whole = |at: usize| {
        let starts_inside = is_name_byte(word.as_bytes()[0]) && is_name(at.checked_sub(1));
        let end = at + word.len();
        let ends_inside = is_name_byte(bytes[end - 1]) && is_name(Some(end));
        !starts_inside && !ends_inside
    };
    code.match_indices(word).map(|(at, _)| at).filter(|at| whole(*at)).collect()
}

/// The position behind the bracket that closes the one at `open`.
pub(super) fn behind_bracket(code: &str, open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
    }
    code.len()
}

/// Blanks comments and the insides of literals, and collects the string literals.
fn blank(text: &str) -> (String, Vec<Literal>) {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut literals = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let previous_is_name = at > 0 && is_name_byte(bytes[at - 1]);
        at = if rest.starts_with(b"//") {
            let end = at + rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
            erase(&mut out, at, end)
        } else if rest.starts_with(b"/*") {
            erase(&mut out, at, at + block_comment(rest))
        } else if rest[0] == b'"' {
            let end = at + string(rest);
            literals.push(Literal { at, text: text[at + 1..end - 1].to_owned() });
            erase(&mut out, at + 1, end - 1) + 1
        } else if let Some(hashes) = raw_string(rest).filter(|_| starts_raw(bytes, at, previous_is_name)) {
            let open = at + 1 + hashes;
            let close = [b"\"".as_slice(), &vec![b'#'; hashes]].concat();
            let inside = &bytes[open + 1..];
            let length =
                inside.windows(close.len()).position(|window| window == close).unwrap_or(inside.len());
            literals.push(Literal { at: open, text: text[open + 1..open + 1 + length].to_owned() });
            (erase(&mut out, open + 1, open + 1 + length) + close.len()).min(bytes.len())
        } else if rest[0] == b'\'' {
            at + character(rest, &mut out[at..])
        } else {
            at + 1
        };
    }
    // Whole characters were replaced by as many blanks as they have bytes.
    (String::from_utf8_lossy(&out).into_owned(), literals)
}

fn erase(out: &mut [u8], from: usize, to: usize) -> usize {
    for byte in &mut out[from..to] {
        if *byte != b'\n' {
            *byte = b' ';
        }
    }
    to
}

/// The length of a block comment; they nest.
fn block_comment(rest: &[u8]) -> usize {
    let (mut at, mut depth) = (0, 0_usize);
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// The length of a string with its quotes.
fn string(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// `r"` or `r#..#"` -> the number of hashes.
fn raw_string(rest: &[u8]) -> Option<usize> {
    let hashes = rest.strip_prefix(b"r")?.iter().take_while(|byte| **byte == b'#').count();
    (rest.get(1 + hashes) == Some(&b'"')).then_some(hashes)
}

/// An `r` begins a raw string unless it ends an identifier; `br` and `cr` do not.
fn starts_raw(bytes: &[u8], at: usize, previous_is_name: bool) -> bool {
    !previous_is_name || matches!(bytes[at - 1], b'b' | b'c') && (at < 2 || !is_name_byte(bytes[at - 2]))
}

/// Blanks a character literal and returns its length; the quote of a lifetime is passed over.
fn character(rest: &[u8], out: &mut [u8]) -> usize {
    let end = match rest.get(1) {
        Some(b'\\') => rest.iter().skip(3).position(|byte| *byte == b'\'').map(|length| length + 3),
        Some(_) => {
            let continues = rest.iter().skip(2).take_while(|byte| **byte & 0xc0 == 0x80).count();
            (rest.get(2 + continues) == Some(&b'\'')).then_some(2 + continues)
        }
        None => None,
    };
    match end {
        Some(end) => erase(out, 1, end) + 1,
        None => 1,
    }
}

/// Blanks the items under `#[cfg(test)]` and names the modules among them that stand in files of their own.
fn without_tests(code: &str) -> (String, Vec<String>) {
    let mut out = code.as_bytes().to_vec();
    let mut modules = Vec::new();
    if code.contains("#![cfg(test)]") {
        erase(&mut out, 0, code.len());
    }
    for attribute in ["#[cfg(test)]", "#[cfg(all(test,"] {
        for (at, _) in code.match_indices(attribute) {
            let mut item = behind_bracket(code, at + 1);
            while let Some(next) = code[item..].find(|c: char| !c.is_whitespace()).map(|skip| item + skip)
                && code[next..].starts_with("#[")
            {
                item = behind_bracket(code, next + 1);
            }
            let end = item_end(code, item);
            erase(&mut out, at, end);
            modules.extend(module_name(&code[item..end]));
        }
    }
    (String::from_utf8_lossy(&out).into_owned(), modules)
}

/// An item ends at its `;` or behind its block. A field, which has neither, ends with what it stands in.
fn item_end(code: &str, from: usize) -> usize {
    let is_use = code[from..].split_whitespace().take(2).any(|word| word == "use");
    let bytes = code.as_bytes();
    let mut at = from;
    while at < bytes.len() {
        match bytes[at] {
            b';' => return at + 1,
            b'}' | b')' | b']' => return at,
            b'(' | b'[' => at = behind_bracket(code, at),
            b'{' => {
                at = behind_bracket(code, at);
                if !is_use {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    at
}

fn module_name(item: &str) -> Option<String> {
    let declaration = item.trim().strip_suffix(';')?;
    let (before, name) = declaration.rsplit_once("mod ")?;
    (before.is_empty() || before.ends_with(' ')).then(|| name.trim().to_owned())
}

fn is_name_byte(byte: u8) -> bool {
    byte == b'_' || byte.is_ascii_alphanumeric()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> String {
        Source::new(text).code.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    fn literals(text: &str) -> Vec<String> {
        Source::new(text).shipped_literals().map(|literal| literal.text.clone()).collect()
    }

    #[test]
    fn comments_are_blank_also_nested_ones() {
        assert_eq!(code("a // b\n/* c /* d */ e */ f"), "a f");
    }

    #[test]
    fn insides_of_strings_are_blank_and_collected() {
        let text = r###"f("a // b \" c", b"d", r#"e "quoted" f"#, br"g", '"', '\'', x)"###;
        assert_eq!(code(text), r###"f(" ", b" ", r#" "#, br" ", ' ', ' ', x)"###);
        assert_eq!(literals(text), ["a // b \\\" c", "d", "e \"quoted\" f", "g"]);
    }

    #[test]
    fn lifetime_is_no_character() {
        assert_eq!(
            code("fn f<'a>(x: &'a str, c: char) { g('é', \"s\") }"),
            code("fn f<'a>(x: &'a str, c: char) { g('  ', \" \") }")
        );
        assert_eq!(literals("fn f<'a>(x: &'a str) { 'l: loop { g(\"s\") } }"), ["s"]);
    }

    #[test]
    fn raw_identifier_and_names_that_end_in_r_are_no_raw_strings() {
        assert_eq!(code("r#type + for\"x\""), "r#type + for\" \"");
    }

    #[test]
    fn every_byte_keeps_its_place() {
        let source = Source::new("// ü\nlet x = \"ö\"; /* \n */ y");
        assert_eq!(source.code.len(), source.text.len());
        assert_eq!(source.line(source.code.find('y').unwrap()), 3);
    }

    #[test]
    fn test_items_are_not_shipped() {
        let text = "fn a() {}\n#[cfg(test)]\nuse x::{b, c};\n#[cfg(test)]\n#[allow(x)]\nmod tests { fn d() { e(\"s\") } }\nfn f() {}";
        let source = Source::new(text);
        assert_eq!(source.shipped.split_whitespace().collect::<String>(), "fna(){}fnf(){}");
        assert_eq!(source.shipped_literals().count(), 0);
    }

    #[test]
    fn array_length_does_not_end_a_test_function() {
        let text = "#[cfg(test)]\nfn a() -> [u8; 3] { b }\nfn c() {}";
        assert_eq!(Source::new(text).shipped.trim(), "fn c() {}");
    }

    #[test]
    fn word_is_found_only_whole() {
        assert_eq!(places("OsRng OsRngs MyOsRng std::OsRng", "OsRng"), [0, 26]);
        assert_eq!(places("#[ignore] #[ignored]", "#[ignore"), [0]);
    }
}
