//! Licence expressions (SPDX annex D): AND, OR, WITH, parentheses, and the older `MIT/Apache-2.0`.

/// Whether an expression can be met with the licences that `allowed` knows.
///
/// `X WITH Y` is X with a permission added, so it is allowed when X is. `X+` ("or later") includes X.
pub(super) fn can_be_met(expression: &str, allowed: &dyn Fn(&str) -> bool) -> Result<bool, String> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut parser = Parser { words: &words, allowed };
    let met = parser.any()?;
    match parser.words.first() {
        None => Ok(met),
        Some(word) => Err(format!("`{word}` is out of place")),
    }
}

struct Parser<'a> {
    words: &'a [&'a str],
    allowed: &'a dyn Fn(&str) -> bool,
}

impl<'a> Parser<'a> {
    fn any(&mut self) -> Result<bool, String> {
        let mut met = self.all()?;
        while self.take("OR") {
            met |= self.all()?;
        }
        Ok(met)
    }

    fn all(&mut self) -> Result<bool, String> {
        let mut met = self.one()?;
        while self.take("AND") {
            met &= self.one()?;
        }
        Ok(met)
    }

    fn one(&mut self) -> Result<bool, String> {
        if self.take("(") {
            let met = self.any()?;
            return if self.take(")") { Ok(met) } else { Err("a parenthesis is not closed".to_owned()) };
        }
        let licence = self.identifier()?;
        if self.take("WITH") {
            self.identifier()?;
        }
        Ok((self.allowed)(licence.trim_end_matches('+')))
    }

    fn identifier(&mut self) -> Result<&'a str, String> {
        match self.words.split_first() {
            Some((word, rest)) if !matches!(*word, "AND" | "OR" | "WITH" | "(" | ")") => {
                self.words = rest;
                Ok(word)
            }
            Some((word, _)) => Err(format!("`{word}` is out of place")),
            None => Err("it breaks off".to_owned()),
        }
    }

    fn take(&mut self, word: &str) -> bool {
        match self.words.split_first() {
            Some((first, rest)) if *first == word => {
                self.words = rest;
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    fn met(expression: &str) -> Result<bool, String> {
        super::can_be_met(expression, &|licence| matches!(licence, "MIT" | "Apache-2.0" | "ISC"))
    }

    #[test]
    fn one_side_of_or_suffices() {
        assert_eq!(met("GPL-3.0-only OR MIT"), Ok(true));
        assert_eq!(met("GPL-3.0-only OR AGPL-3.0-only"), Ok(false));
    }

    #[test]
    fn both_sides_of_and_are_needed() {
        assert_eq!(met("ISC AND MIT"), Ok(true));
        assert_eq!(met("ISC AND GPL-3.0-only"), Ok(false));
    }

    #[test]
    fn and_binds_closer_than_or() {
        assert_eq!(met("MIT OR ISC AND GPL-3.0-only"), Ok(true));
        assert_eq!(met("(MIT OR ISC) AND GPL-3.0-only"), Ok(false));
    }

    #[test]
    fn slash_means_or() {
        assert_eq!(met("GPL-2.0/MIT"), Ok(true));
        assert_eq!(met("Apache-2.0 / GPL-2.0"), Ok(true));
    }

    #[test]
    fn exception_adds_permission_and_never_a_licence() {
        assert_eq!(met("Apache-2.0 WITH LLVM-exception"), Ok(true));
        assert_eq!(met("GPL-2.0-only WITH Classpath-exception-2.0"), Ok(false));
    }

    #[test]
    fn nested_parentheses_are_followed() {
        assert_eq!(met("((MIT)) AND (ISC OR (GPL-2.0 AND MIT))"), Ok(true));
    }

    #[test]
    fn or_later_includes_the_licence() {
        assert_eq!(met("Apache-2.0+"), Ok(true));
    }

    #[test]
    fn nonsense_is_an_error_and_not_a_refusal() {
        for nonsense in ["", "MIT AND", "OR MIT", "(MIT", "MIT)", "MIT ISC", "MIT WITH"] {
            assert!(met(nonsense).is_err(), "{nonsense}");
        }
    }
}
