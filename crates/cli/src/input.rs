//! Secrets and options that a command reads: from a file, a pipe or a terminal without echo; never from an argument.

use crate::output::Failure;
use keyferry_wire::refusal::{Code, Refusal};
use std::io::{IsTerminal, Read};
use std::path::Path;
use zeroize::Zeroizing;

/// Longest secret line, and longest options document.
const SECRET_MAX: u64 = 4096;
const OPTIONS_MAX: u64 = 256 * 1024;

/// The first line of the file (or of stdin for "-"), or what is typed at the terminal.
pub(crate) fn secret(file: Option<&Path>, what: &str) -> Result<Zeroizing<String>, Failure> {
    let text = match file {
        Some(path) if path == Path::new("-") => read(std::io::stdin(), SECRET_MAX, what)?,
        Some(path) => {
            let file = std::fs::File::open(path).map_err(|error| {
                Failure::Usage(format!("cannot read {what} from {}: {error}", path.display()))
            })?;
            read(file, SECRET_MAX, what)?
        }
        None if std::io::stdin().is_terminal() => ask(what)?,
        None => {
            return Err(Failure::Usage(format!(
                "{what} is needed: name a file for it, or run in a terminal"
            )));
        }
    };
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() || line.contains('\n') {
        return Err(Failure::Usage(format!("{what} must be one line that is not empty")));
    }
    Ok(Zeroizing::new(line.to_owned()))
}

/// A secret that may be left out.
pub(crate) fn optional_secret(file: Option<&Path>, what: &str) -> Result<Option<Zeroizing<String>>, Failure> {
    file.map(|file| secret(Some(file), what)).transpose()
}

/// The relying party's options.
pub(crate) fn options(file: Option<&Path>) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let cannot = |what: String| Failure::Usage(format!("cannot read the options{what}"));
    let taken = match file {
        Some(path) if path != Path::new("-") => {
            let from = |error: std::io::Error| cannot(format!(" from {}: {error}", path.display()));
            let file = std::fs::File::open(path).map_err(from)?;
            file.take(OPTIONS_MAX + 1).read_to_end(&mut bytes).map_err(from)?
        }
        _ => {
            let stdin = std::io::stdin().take(OPTIONS_MAX + 1).read_to_end(&mut bytes);
            stdin.map_err(|error| cannot(format!(": {error}")))?
        }
    };
    if u64::try_from(taken).is_ok_and(|taken| taken <= OPTIONS_MAX) {
        Ok(bytes)
    } else {
        let sentence = format!("the relying party's options are longer than {OPTIONS_MAX} bytes");
        Err(Failure::Refused(Refusal::new(Code::BadOptions, sentence)))
    }
}

fn read(source: impl Read, max: u64, what: &str) -> Result<Zeroizing<String>, Failure> {
    let mut text = Zeroizing::new(String::new());
    let taken = source.take(max + 1).read_to_string(&mut text);
    match taken {
        Ok(len) if u64::try_from(len).is_ok_and(|len| len <= max) => Ok(text),
        Ok(_) => Err(Failure::Usage(format!("{what} is longer than {max} bytes"))),
        Err(error) => Err(Failure::Usage(format!("cannot read {what}: {error}"))),
    }
}

fn ask(what: &str) -> Result<Zeroizing<String>, Failure> {
    let typed = rpassword::prompt_password(format!("{what}: "))?;
    Ok(Zeroizing::new(typed))
}
