//! Our Rust files: where they are and which of them are only for tests.

use std::fs;
use std::path::Path;

use super::rust_source::Source;

/// One `.rs` file of ours.
pub(super) struct RustFile {
    /// From the root of the workspace, with `/`.
    pub(super) path: String,
    /// The folder under `crates/`, or `xtask`.
    pub(super) krate: String,
    /// Nothing in it is shipped: it stands in `tests/`, `benches/` or `examples/`, or is a `#[cfg(test)] mod`.
    pub(super) is_test: bool,
    pub(super) source: Source,
}

pub(super) fn of_workspace(root: &Path) -> Result<Vec<RustFile>, String> {
    let mut files = Vec::new();
    for krate in names_in(&root.join("crates"))? {
        read_folder(root, &format!("crates/{krate}"), &krate, &mut files)?;
    }
    read_folder(root, "xtask", "xtask", &mut files)?;
    mark_test_modules(&mut files);
    Ok(files)
}

fn read_folder(root: &Path, folder: &str, krate: &str, files: &mut Vec<RustFile>) -> Result<(), String> {
    for name in names_in(&root.join(folder))? {
        let path = format!("{folder}/{name}");
        let full = root.join(&path);
        if full.is_dir() && name != "target" {
            read_folder(root, &path, krate, files)?;
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(&full).map_err(|error| format!("{path}: {error}"))?;
            let is_test = ["/tests/", "/benches/", "/examples/"].iter().any(|part| path.contains(part));
            files.push(RustFile { source: Source::new(&text), krate: krate.to_owned(), is_test, path });
        }
    }
    Ok(())
}

fn names_in(folder: &Path) -> Result<Vec<String>, String> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    Ok(names)
}

fn mark_test_modules(files: &mut [RustFile]) {
    let modules: Vec<String> = files.iter().flat_map(test_module_paths).collect();
    for file in files {
        let stem = file.path.trim_end_matches(".rs");
        file.is_test |= modules.iter().any(|module| {
            stem.strip_prefix(module.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
    }
}

/// The paths, without `.rs`, at which a file's test modules stand.
fn test_module_paths(file: &RustFile) -> Vec<String> {
    let (folder, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
    let base = match name {
        "lib.rs" | "main.rs" | "mod.rs" => folder.to_owned(),
        _ => file.path.trim_end_matches(".rs").to_owned(),
    };
    file.source.test_modules.iter().map(|module| format!("{base}/{module}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_module_in_its_own_file_is_marked() {
        let file = |path: &str, text: &str| RustFile {
            path: path.to_owned(),
            krate: "wire".to_owned(),
            is_test: false,
            source: Source::new(text),
        };
        let mut files = [
            file("crates/wire/src/id.rs", "#[cfg(test)]\nmod tests;\nmod parts;"),
            file("crates/wire/src/id/tests.rs", ""),
            file("crates/wire/src/id/tests/cases.rs", ""),
            file("crates/wire/src/id/parts.rs", ""),
        ];
        mark_test_modules(&mut files);
        assert_eq!(files.map(|file| file.is_test), [false, true, true, false]);
    }
}
