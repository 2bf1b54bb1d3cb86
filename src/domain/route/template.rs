//! Paths and resources with variables in them.

use super::path::{clean_path, meaning};
use crate::domain::permission::is_resource;

/// The rule of [`PathTemplate`].
pub(super) const PATH_RULE: &str = "must begin with \"/\" and have segments that are literal, in the form in which \
     requests are compared, or \"*\" or \"{name}\" for any one; the last may be \"**\" or \"{name=**}\" for one or more";

/// The rule of [`Template`].
pub(super) const RESOURCE_RULE: &str =
    "must be a resource whose segments are literal or a variable of the path, such as things/{thing}";

/// What the variables of a path stand for, by name.
pub(super) type Values<'a> = Vec<(&'a str, String)>;

/// The paths of a route.
#[derive(Clone, Debug)]
pub(super) struct PathTemplate {
    segments: Vec<Segment>,
    /// Whether one or more segments follow, and the name of the variable that takes them.
    rest: Option<Option<String>>,
}

#[derive(Clone, Debug)]
enum Segment {
    /// The bytes it means: a route must not be missed by spelling one of its characters as an escape.
    Literal(Vec<u8>),
    Any(Option<String>),
}

fn variable(segment: &str) -> Option<&str> {
    segment.strip_prefix('{')?.strip_suffix('}')
}

fn is_name(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    text.bytes().next().is_some_and(|first| !first.is_ascii_digit()) && text.bytes().all(is_plain)
}

impl PathTemplate {
    /// The template of that text; `None` if it breaks [`PATH_RULE`] or has two variables of one name.
    pub(super) fn find(text: &str) -> Option<Self> {
        let path = text.strip_prefix('/')?;
        let mut template = Self { segments: Vec::new(), rest: None };
        if path.is_empty() {
            return Some(template);
        }
        for segment in path.split('/') {
            if template.rest.is_some() {
                return None;
            }
            match (segment, variable(segment)) {
                ("*", _) => template.segments.push(Segment::Any(None)),
                ("**", _) => template.rest = Some(None),
                (_, Some(inside)) => match inside.split_once('=') {
                    Some((name, "**")) => template.rest = Some(Some(name.to_owned())),
                    Some(_) => return None,
                    None => template.segments.push(Segment::Any(Some(inside.to_owned()))),
                },
                (_, None) => {
                    let is_clean = clean_path(&format!("/{segment}")).is_some_and(|clean| *clean == [segment]);
                    if !is_clean || segment.contains('*') {
                        return None;
                    }
                    template.segments.push(Segment::Literal(meaning(segment)));
                }
            }
        }
        let mut names = template.names();
        let is_named_well = names.iter().all(|name| is_name(name));
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        (is_named_well && names.len() == count).then_some(template)
    }

    /// The names of its variables.
    pub(super) fn names(&self) -> Vec<&str> {
        let segments = self.segments.iter().filter_map(|segment| match segment {
            Segment::Literal(_) => None,
            Segment::Any(name) => name.as_deref(),
        });
        segments.chain(self.rest.as_ref().and_then(Option::as_deref)).collect()
    }

    /// What its variables stand for in this path; `None` if it is another.
    pub(super) fn values(&self, path: &[String]) -> Option<Values<'_>> {
        let (first, rest) = path.split_at_checked(self.segments.len())?;
        let mut values = Values::new();
        for (segment, text) in self.segments.iter().zip(first) {
            match segment {
                Segment::Literal(bytes) if *bytes == meaning(text) => {}
                Segment::Literal(_) => return None,
                Segment::Any(name) => values.extend(name.as_deref().map(|name| (name, text.clone()))),
            }
        }
        match &self.rest {
            Some(_) if rest.is_empty() => None,
            None if !rest.is_empty() => None,
            Some(Some(name)) => {
                values.push((name, rest.join("/")));
                Some(values)
            }
            Some(None) | None => Some(values),
        }
    }
}

/// A resource, or a name, in which segments are variables.
#[derive(Clone, Debug)]
pub(super) struct Template(Vec<Piece>);

#[derive(Clone, Debug)]
enum Piece {
    Literal(String),
    Variable(String),
}

impl Template {
    /// The template of that text, if it has no variables but these, and could make a resource.
    pub(super) fn find(text: &str, names: &[&str]) -> Option<Self> {
        let mut pieces = Vec::new();
        for segment in text.split('/') {
            match variable(segment) {
                Some(name) if names.contains(&name) => pieces.push(Piece::Variable(name.to_owned())),
                Some(_) => return None,
                None if segment.contains(['{', '}']) => return None,
                None => pieces.push(Piece::Literal(segment.to_owned())),
            }
        }
        let template = Self(pieces);
        let example = names.iter().map(|name| (*name, "x".to_owned())).collect();
        is_resource(&template.render(&example)).then_some(template)
    }

    /// The text with its variables replaced.
    pub(super) fn render(&self, values: &Values<'_>) -> String {
        let value = |name: &str| values.iter().find(|(own, _)| *own == name).map(|(_, value)| value.as_str());
        let pieces = self.0.iter().map(|piece| match piece {
            Piece::Literal(text) => text.as_str(),
            // An empty segment makes the whole ill-formed, and so held by nobody.
            Piece::Variable(name) => value(name).unwrap_or_default(),
        });
        pieces.collect::<Vec<_>>().join("/")
    }
}
