//! Which channels and types a handler is for.

/// A text with parameters: `users/:id` is for `users/10`, and not for `users/10/posts`.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    segments: Vec<Segment>,
    /// It goes on with anything.
    is_open: bool,
}

#[derive(Clone, Debug)]
enum Segment {
    Literal(String),
    /// What comes before it, and its name.
    Parameter(String, String),
}

/// The names of a pattern's parameters and what they stand for, in their order.
pub(super) type Parameters = Vec<(String, String)>;

/// A pattern that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no pattern: a parameter is a colon and a name, at the end of a part between slashes, as in users/:id, \
     each of another name; and a star may stand at the end, as in users/*"
)]
pub struct PatternError(String);

impl Pattern {
    pub(super) fn parse(text: &str) -> Result<Self, PatternError> {
        let error = || PatternError(text.to_owned());
        let (parts, is_open) = match text.strip_suffix('*') {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        if text.is_empty()
            || parts.contains('*')
            || is_open && !parts.is_empty() && !parts.ends_with('/')
        {
            return Err(error());
        }
        let parts = if is_open { parts.strip_suffix('/').unwrap_or(parts) } else { parts };
        let mut segments = Vec::new();
        if !(is_open && parts.is_empty()) {
            for part in parts.split('/') {
                segments.push(match part.split_once(':') {
                    None => Segment::Literal(part.to_owned()),
                    Some((before, name)) => {
                        let is_name =
                            |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
                        let is_known = |segment: &Segment| {
                            matches!(segment, Segment::Parameter(_, other) if other == name)
                        };
                        if name.is_empty()
                            || !name.chars().all(is_name)
                            || segments.iter().any(is_known)
                        {
                            return Err(error());
                        }
                        Segment::Parameter(before.to_owned(), name.to_owned())
                    }
                });
            }
        }
        Ok(Self { segments, is_open })
    }

    /// Whether it is for one text only, which it is then.
    pub(super) fn is_exact(&self) -> bool {
        !self.is_open && self.segments.iter().all(|segment| matches!(segment, Segment::Literal(_)))
    }

    /// What the parameters stand for, if this is for the text. No parameter is empty or has a slash.
    pub(super) fn find(&self, text: &str) -> Option<Parameters> {
        let mut parameters = Vec::new();
        let mut rest = Some(text);
        for segment in &self.segments {
            let (part, next) = match rest?.split_once('/') {
                Some((part, next)) => (part, Some(next)),
                None => (rest?, None),
            };
            rest = next;
            match segment {
                Segment::Literal(literal) if literal == part => {}
                Segment::Literal(_) => return None,
                Segment::Parameter(before, name) => {
                    let value = part.strip_prefix(before.as_str())?;
                    if value.is_empty() {
                        return None;
                    }
                    parameters.push((name.clone(), value.to_owned()));
                }
            }
        }
        match (self.is_open, rest) {
            (false, None) => Some(parameters),
            (true, Some(rest)) if !rest.is_empty() => {
                parameters.push(("*".to_owned(), rest.to_owned()));
                Some(parameters)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_for_what_it_says_and_crosses_no_slash() {
        for (pattern, text, expected) in [
            ("users", "users", Some(vec![])),
            ("users", "users/", None),
            ("users", "user", None),
            ("users/:id", "users/10", Some(vec![("id", "10")])),
            ("users/:id", "users/10/posts", None),
            ("users/:id", "users/", None),
            ("users/:id", "users", None),
            ("users/:id", "/users/10", None),
            ("users/:id", "users/..", Some(vec![("id", "..")])),
            ("users/:id", "users/%2f", Some(vec![("id", "%2f")])),
            ("users/:id", "users/:id", Some(vec![("id", ":id")])),
            (":a/:b", "x/y", Some(vec![("a", "x"), ("b", "y")])),
            (":a/:b", "x//y", None),
            (":a/:b", "x/", None),
            ("v:version/x", "v12/x", Some(vec![("version", "12")])),
            ("v:version/x", "v/x", None),
            ("users/*", "users/10/posts", Some(vec![("*", "10/posts")])),
            ("users/*", "users/", None),
            ("users/*", "users", None),
            ("*", "anything/at all", Some(vec![("*", "anything/at all")])),
            ("*", "", None),
            ("users/:id/*", "users/1/2", Some(vec![("id", "1"), ("*", "2")])),
        ] {
            let expected = expected.map(|parameters| {
                parameters
                    .iter()
                    .map(|(name, value)| (String::from(*name), String::from(*value)))
                    .collect()
            });
            assert_eq!(Pattern::parse(pattern).unwrap().find(text), expected, "{pattern} {text}");
        }
        for pattern in
            ["", "users/:", "users/:a-b", "users/:a:b", "us*", "*/a", "a/*/b", "**", ":a/:a"]
        {
            assert!(Pattern::parse(pattern).is_err(), "{pattern}");
        }
    }
}
