//! What may be done to what: the compiled form of grants, which the hot path asks, and set inclusion between them.
//!
//! A resource is 1 to 16 segments joined by `/`, compared byte by byte and never decoded. Grants are patterns of them.
//! Everything here is decided by the text alone; what a principal holds beyond its grants is for `decision` to know.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The rule of one segment of a resource, and of a name that becomes one.
pub const SEGMENT_RULE: &str =
    "must be 1 to 256 bytes of UTF-8 without \"/\", \"*\" or control characters, and not \".\" or \"..\"";

/// The rule of an action in a grant.
pub const ACTION_RULE: &str =
    "must be \"*\", or 1 to 256 bytes of UTF-8 without \"/\", \"*\" or control characters, and not \".\" or \"..\"";

/// The rule of [`Pattern`].
pub const PATTERN_RULE: &str = "must be 1 to 16 segments joined by \"/\", each 1 to 256 bytes of UTF-8 without \"*\" \
     or control characters and not \".\" or \"..\"; the whole last segment may be \"*\" or \"**\"";

const MAX_SEGMENTS: usize = 16;
const MAX_SEGMENT_BYTES: usize = 256;

/// Whether a Check may ask about this resource: 1 to 16 well-formed segments, without wildcards.
pub fn is_resource(text: &str) -> bool {
    let mut segments = 0;
    text.as_bytes().split(|byte| *byte == b'/').all(|segment| {
        segments += 1;
        segments <= MAX_SEGMENTS && is_segment_bytes(segment)
    })
}

/// Whether a Check may ask about this action: one well-formed segment, without wildcards.
pub fn is_action(text: &str) -> bool {
    is_segment(text)
}

/// Whether this is one literal segment of a resource.
pub fn is_segment(text: &str) -> bool {
    is_segment_bytes(text.as_bytes())
}

fn is_segment_bytes(segment: &[u8]) -> bool {
    let mut before = 0;
    (1..=MAX_SEGMENT_BYTES).contains(&segment.len())
        && segment != b"."
        && segment != b".."
        && segment.iter().all(|byte| {
            // The second range is U+0080 to U+009F, the controls beyond ASCII, as UTF-8 spells them.
            let is_control = *byte < 0x20 || *byte == 0x7f || (before == 0xc2 && (0x80..=0x9f).contains(byte));
            before = *byte;
            !is_control && *byte != b'/' && *byte != b'*'
        })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Reach {
    /// The stem itself.
    Exact,
    /// `*`: one segment more than the stem.
    Child,
    /// `**`: whatever is below the stem.
    Below,
}

/// The resources that a grant is about: one, or with `*` or `**` as last segment many.
///
/// `a/*` covers one segment more, `a/**` whatever is below `a` but not `a`, a lone `*` all of one segment, a lone `**` all.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Pattern {
    text: Box<str>,
    reach: Reach,
}

impl Pattern {
    /// The pattern of that text; `None` if it breaks [`PATTERN_RULE`].
    pub fn parse(text: &str) -> Option<Self> {
        let (parents, last) = match text.rsplit_once('/') {
            Some((parents, last)) => (Some(parents), last),
            None => (None, text),
        };
        let reach = match last {
            "*" => Reach::Child,
            "**" => Reach::Below,
            _ if is_segment(last) => Reach::Exact,
            _ => return None,
        };
        let is_well_formed = parents.is_none_or(|parents| is_resource(parents) && segments(parents) < MAX_SEGMENTS);
        is_well_formed.then(|| Self { text: text.into(), reach })
    }

    /// `**`, the pattern of all resources.
    pub fn everything() -> Self {
        Self { text: "**".into(), reach: Reach::Below }
    }

    /// As it stands in the grant.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the set has `resource`, which [`is_resource`].
    pub fn covers(&self, resource: &str) -> bool {
        match self.reach {
            Reach::Exact => *self.text == *resource,
            Reach::Child => resource.strip_prefix(self.stem()).is_some_and(|rest| !rest.contains('/')),
            Reach::Below => resource.starts_with(self.stem()),
        }
    }

    /// Whether the set has every resource that `other` has.
    pub fn covers_pattern(&self, other: &Self) -> bool {
        match (self.reach, other.reach) {
            (_, Reach::Exact) => self.covers(&other.text),
            (Reach::Exact, _) => false,
            (Reach::Child, Reach::Child) => self.stem() == other.stem(),
            (Reach::Child, Reach::Below) => self.stem() == other.stem() && other.ends_at_the_limit(),
            (Reach::Below, Reach::Child | Reach::Below) => other.stem().starts_with(self.stem()),
        }
    }

    /// Whether the set has anything below `root`, which [`is_resource`], `root` itself not counted.
    pub fn may_reach(&self, root: &str) -> bool {
        let is_below = self.stem().strip_prefix(root).is_some_and(|rest| rest.starts_with('/'));
        is_below || (self.reach == Reach::Below && root.starts_with(self.stem()))
    }

    /// What the resources begin with: the text without its wildcard, hence empty or ending in `/` if it has one.
    fn stem(&self) -> &str {
        let wildcard = match self.reach {
            Reach::Exact => 0,
            Reach::Child => 1,
            Reach::Below => 2,
        };
        self.text.get(..self.text.len().saturating_sub(wildcard)).unwrap_or_default()
    }

    /// Whether `**` is the sixteenth segment, so that it means no more than `*`.
    fn ends_at_the_limit(&self) -> bool {
        segments(&self.text) == MAX_SEGMENTS
    }
}

fn segments(text: &str) -> usize {
    text.split('/').count()
}

impl Ord for Pattern {
    /// By stem, which is what [`Grants`] looks for.
    fn cmp(&self, other: &Self) -> Ordering {
        (self.stem(), self.reach).cmp(&(other.stem(), other.reach))
    }
}

impl PartialOrd for Pattern {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What may be done to the resources of a pattern.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Actions {
    /// These, sorted and each once.
    Only(Box<[Box<str>]>),
    /// `*`: whatever there is.
    Any,
}

impl Actions {
    /// The actions of these texts, where `*` means any; one that breaks [`ACTION_RULE`] grants nothing.
    pub fn of<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut only = BTreeSet::new();
        for text in texts {
            if text == "*" {
                return Self::Any;
            }
            if is_action(text) {
                only.insert(Box::from(text));
            }
        }
        Self::Only(only.into_iter().collect())
    }

    /// Whether `action` is among them.
    pub fn covers(&self, action: &str) -> bool {
        match self {
            Self::Only(actions) => actions.binary_search_by(|one| (**one).cmp(action)).is_ok(),
            Self::Any => true,
        }
    }

    /// The texts, `*` for any.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let (only, any) = match self {
            Self::Only(actions) => (&**actions, None),
            Self::Any => (&[][..], Some("*")),
        };
        only.iter().map(|action| &**action).chain(any)
    }

    fn is_empty(&self) -> bool {
        matches!(self, Self::Only(actions) if actions.is_empty())
    }

    fn merge(self, other: Self) -> Self {
        match (self, other) {
            (Self::Only(these), Self::Only(those)) => {
                let both: BTreeSet<Box<str>> = these.into_iter().chain(those).collect();
                Self::Only(both.into_iter().collect())
            }
            (Self::Any, _) | (_, Self::Any) => Self::Any,
        }
    }
}

impl fmt::Display for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, action) in self.iter().enumerate() {
            let separator = if place == 0 { "" } else { ", " };
            write!(f, "{separator}{action}")?;
        }
        Ok(())
    }
}

/// All that something holds, compiled once and asked often. The default is nothing.
///
/// INVARIANT: sorted, each pattern once and with at least one action, so that equal sets made of the same patterns are equal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Grants(Box<[(Pattern, Actions)]>);

/// Up to this many are read one after the other, which is then faster than to search.
const FEW: usize = 8;

impl Grants {
    /// `**` `*`.
    pub fn everything() -> Self {
        Self(Box::from([(Pattern::everything(), Actions::Any)]))
    }

    /// Whether `action` may be done to `resource`; never, if one of them is ill-formed. Does not allocate.
    pub fn allows(&self, resource: &str, action: &str) -> bool {
        is_resource(resource) && is_action(action) && self.has(resource, action)
    }

    /// The same for a resource and an action that are known to be well-formed.
    pub(super) fn has(&self, resource: &str, action: &str) -> bool {
        if self.0.len() <= FEW {
            return self.0.iter().any(|(pattern, actions)| pattern.covers(resource) && actions.covers(action));
        }
        let (parent, _) = split_last_segment(resource);
        self.holds(resource, Reach::Exact, action)
            || self.holds(parent, Reach::Child, action)
            || ancestors(resource).any(|stem| self.holds(stem, Reach::Below, action))
    }

    /// Whether this allows whatever `other` allows, each of its permissions by a single one here.
    pub fn covers(&self, other: &Self) -> bool {
        self.first_uncovered(other).is_none()
    }

    /// Whether `action`, perhaps `*`, may be done to all resources of a pattern; never, if one of them is ill-formed.
    pub fn covers_pattern(&self, pattern: &str, action: &str) -> bool {
        (action == "*" || is_action(action))
            && Pattern::parse(pattern).is_some_and(|pattern| self.covers_permission(&pattern, action))
    }

    /// The first permission of `other` that is not held here, as `(resource, action)`.
    pub fn uncovered(&self, other: &Self) -> Option<(String, String)> {
        self.first_uncovered(other).map(|(pattern, action)| (pattern.to_string(), action.to_owned()))
    }

    /// What both this and `other` allow, as far as a pattern of one lies within a pattern of the other.
    pub fn within(&self, other: &Self) -> Self {
        let part_of = |one: &Self, another: &Self| {
            let permissions = one.0.iter().flat_map(|(pattern, actions)| {
                let held = actions.iter().filter(|action| another.covers_permission(pattern, action));
                let held: Vec<String> = held.map(str::to_owned).collect();
                (!held.is_empty()).then(|| (pattern.clone(), Actions::of(held.iter().map(String::as_str))))
            });
            permissions.collect::<Vec<_>>()
        };
        part_of(self, other).into_iter().chain(part_of(other, self)).collect()
    }

    /// Whether nothing is allowed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The permissions by pattern.
    pub fn iter(&self) -> impl Iterator<Item = (&Pattern, &Actions)> {
        self.0.iter().map(|(pattern, actions)| (pattern, actions))
    }

    /// Whether anything below `root` is allowed, `root` itself not counted.
    pub fn may_reach(&self, root: &str) -> bool {
        self.0.iter().any(|(pattern, _)| pattern.may_reach(root))
    }

    fn first_uncovered<'a>(&self, other: &'a Grants) -> Option<(&'a Pattern, &'a str)> {
        other
            .iter()
            .flat_map(|(pattern, actions)| actions.iter().map(move |action| (pattern, action)))
            .find(|(pattern, action)| !self.covers_permission(pattern, action))
    }

    fn covers_permission(&self, pattern: &Pattern, action: &str) -> bool {
        let stem = pattern.stem();
        let is_covered_beside = match pattern.reach {
            Reach::Exact => {
                let (parent, _) = split_last_segment(stem);
                self.holds(stem, Reach::Exact, action) || self.holds(parent, Reach::Child, action)
            }
            Reach::Child => self.holds(stem, Reach::Child, action),
            Reach::Below => pattern.ends_at_the_limit() && self.holds(stem, Reach::Child, action),
        };
        is_covered_beside || ancestors(stem).any(|ancestor| self.holds(ancestor, Reach::Below, action))
    }

    /// Whether the pattern of exactly this stem and reach is here with `action`, where `*` is held by any alone.
    fn holds(&self, stem: &str, reach: Reach, action: &str) -> bool {
        let place = self.0.binary_search_by(|(pattern, _)| (pattern.stem(), pattern.reach).cmp(&(stem, reach)));
        let found = place.ok().and_then(|place| self.0.get(place));
        // No list has the text `*` in it: it is no well-formed action.
        found.is_some_and(|(_, actions)| actions.covers(action))
    }
}

impl FromIterator<(Pattern, Actions)> for Grants {
    fn from_iter<I: IntoIterator<Item = (Pattern, Actions)>>(permissions: I) -> Self {
        let mut merged = BTreeMap::<Pattern, Vec<Actions>>::new();
        for (pattern, actions) in permissions {
            merged.entry(pattern).or_default().push(actions);
        }
        let entries = merged.into_iter().filter_map(|(pattern, actions)| {
            let actions = actions.into_iter().reduce(Actions::merge)?;
            (!actions.is_empty()).then_some((pattern, actions))
        });
        Self(entries.collect())
    }
}

/// `a/b/c` as `a/b/` and `c`, `a` as nothing and `a`.
fn split_last_segment(text: &str) -> (&str, &str) {
    let end = text.rfind('/').map_or(0, |slash| slash + 1);
    text.split_at_checked(end).unwrap_or_default()
}

/// The stems of the `**` patterns that cover what begins with `text`: the empty one and all that end in a `/`.
fn ancestors(text: &str) -> impl Iterator<Item = &str> {
    let slashes = text.bytes().enumerate().filter(|(_, byte)| *byte == b'/');
    std::iter::once("").chain(slashes.filter_map(|(place, _)| text.get(..=place)))
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
