//! No file of the project names the place where it happened to be written.

use std::path::Path;
use std::process::Command;

use super::Report;
use crate::process;

/// In pieces, so that this file does not name them either.
const FORBIDDEN: &[&str] = &[concat!("/wo", "rk/"), concat!(".libr", "ary")];

/// Looks at every file that git tracks or would add.
pub(super) fn check(root: &Path, report: &mut Report) -> Result<(), String> {
    let mut git = Command::new("git");
    git.current_dir(root).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    for name in process::output(&mut git)?.split('\0').filter(|name| !name.is_empty()) {
        // Deleted, but not yet for git.
        let Ok(bytes) = std::fs::read(root.join(name)) else { continue };
        for (number, word) in found(&String::from_utf8_lossy(&bytes)) {
            report.finding(format!("{name}:{number}: names a place of its writer: {word}"));
        }
    }
    Ok(())
}

fn found(text: &str) -> Vec<(usize, &'static str)> {
    let of_line =
        |line: &str| FORBIDDEN.iter().filter(|word| line.contains(**word)).copied().collect::<Vec<_>>();
    text.lines()
        .enumerate()
        .flat_map(|(index, line)| of_line(line).into_iter().map(move |word| (index + 1, word)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forbidden_word_is_found_with_its_line() {
        let text = format!("fine\ncd {}main\n", FORBIDDEN[0]);
        assert_eq!(found(&text), [(2, FORBIDDEN[0])]);
        assert_eq!(found("a framework/x, a library").len(), 0);
    }
}
