//! The filters of List requests: as much of AIP-160 as `field op value` terms joined by `AND`.
//!
//! Values are bare words or quoted strings, compared exactly and as a whole: `*` is no wildcard, and words have a case.
//! Which fields there are and what they mean is for the caller to say.

use crate::error::Violation;
use std::cmp::Ordering;
use std::fmt::Write as _;
use std::iter::Peekable;
use std::ops::RangeInclusive;
use std::str::CharIndices;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// So long a filter may be.
pub const MAX_FILTER_BYTES: usize = 4096;
/// So many terms a filter may have.
pub const MAX_TERMS: usize = 20;

const FIELD: &str = "filter";
const FORM_RULE: &str = "must be terms such as state = ACTIVE, each a field, one of = != < <= > >=, and a word or a quoted \
     string, joined by AND";
const ONLY_AND_RULE: &str = "must not use OR, NOT, a leading \"-\" or parentheses: only terms joined by AND are supported, and quotes make such words values";

/// A field that a caller may filter by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilterField {
    /// Its name in the filter; for labels what stands before the dot.
    pub name: &'static str,
    /// What its values are.
    pub kind: FieldKind,
}

/// What the values of a field are, and hence which operators it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// Any text, `=` or `!=`.
    Text,
    /// A point in time in RFC 3339, any operator.
    Time,
    /// A whole number, any operator.
    Number,
    /// One of these words, `=` or `!=`; also without what stands before one of its underscores, if only one is meant:
    /// `ACTIVE` for `KEY_STATE_ACTIVE`.
    Word(&'static [&'static str]),
    /// A map from text to text: `name.key`, where the key may be quoted, `=` or `!=`.
    Labels,
}

/// How a value is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

/// What a term compares with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A text or a word.
    Text(String),
    /// Microseconds since 1970-01-01T00:00:00Z, rounded down.
    Time(i64),
    /// A whole number.
    Number(i64),
}

/// What a thing has in a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldValue<'a> {
    /// A text or a word.
    Text(&'a str),
    /// Microseconds since 1970-01-01T00:00:00Z.
    Time(i64),
    /// The time of what has never happened, before all others.
    Never,
    /// A whole number.
    Number(i64),
}

/// One comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// The field, for a label `labels.` and its key without quotes.
    pub field: String,
    /// How.
    pub op: Op,
    /// With what.
    pub value: Value,
}

/// A filter, all of whose terms must hold. The default has none and matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// In the order written.
    pub terms: Vec<Term>,
}

impl Filter {
    /// The filter of that text, of these fields; blank text is the filter that matches everything.
    pub fn parse(text: &str, allowed: &[FilterField]) -> Result<Self, Violation> {
        if text.len() > MAX_FILTER_BYTES {
            return Err(broken(format!("must be at most {MAX_FILTER_BYTES} bytes")));
        }
        let mut tokens = tokens(text)?.into_iter().peekable();
        let mut terms = Vec::new();
        while tokens.peek().is_some() {
            if terms.len() == MAX_TERMS {
                return Err(broken(format!("must have at most {MAX_TERMS} terms")));
            }
            terms.push(term(&mut tokens, allowed)?);
            match (tokens.next(), tokens.peek()) {
                (None, _) => break,
                (Some(Token::Word(word)), Some(_)) if word == "AND" => {}
                (Some(Token::Word(word)), _) if is_reserved(&word) => return Err(broken(ONLY_AND_RULE)),
                (Some(_), _) => return Err(broken(FORM_RULE)),
            }
        }
        Ok(Self { terms })
    }

    /// Whether all terms hold of a thing whose fields `get` returns; of what it does not have, only `!=` holds, and for
    /// [`FieldValue::Never`] what holds of the time before all others.
    pub fn matches<'a>(&self, get: impl Fn(&str) -> Option<FieldValue<'a>>) -> bool {
        self.terms.iter().all(|term| term.holds(get(&term.field)))
    }
}

impl Filter {
    /// Between which numbers, both included, a field must be for the filter to match.
    pub fn range(&self, field: &str) -> RangeInclusive<i64> {
        let (mut least, mut most) = (i64::MIN, i64::MAX);
        for term in self.terms.iter().filter(|term| term.field == field) {
            let Value::Number(value) = term.value else { continue };
            let (from, to) = match term.op {
                Op::Equal => (value, value),
                Op::NotEqual => continue,
                Op::Less => (i64::MIN, value.saturating_sub(1)),
                Op::LessOrEqual => (i64::MIN, value),
                Op::Greater => (value.saturating_add(1), i64::MAX),
                Op::GreaterOrEqual => (value, i64::MAX),
            };
            (least, most) = (least.max(from), most.min(to));
        }
        least..=most
    }
}

impl Term {
    fn holds(&self, found: Option<FieldValue<'_>>) -> bool {
        let ordering = match (found, &self.value) {
            (Some(FieldValue::Text(found)), Value::Text(value)) => found.cmp(value),
            (Some(FieldValue::Time(found)), Value::Time(value)) => found.cmp(value),
            (Some(FieldValue::Number(found)), Value::Number(value)) => found.cmp(value),
            (Some(FieldValue::Never), Value::Time(_)) => Ordering::Less,
            (None | Some(FieldValue::Text(_) | FieldValue::Time(_) | FieldValue::Never | FieldValue::Number(_)), _) => {
                return self.op == Op::NotEqual;
            }
        };
        match self.op {
            Op::Equal => ordering.is_eq(),
            Op::NotEqual => ordering.is_ne(),
            Op::Less => ordering.is_lt(),
            Op::LessOrEqual => ordering.is_le(),
            Op::Greater => ordering.is_gt(),
            Op::GreaterOrEqual => ordering.is_ge(),
        }
    }
}

fn broken(rule: impl Into<String>) -> Violation {
    Violation::new(FIELD, rule)
}

#[derive(Debug)]
enum Token {
    Word(String),
    Quoted(String),
    Op(Op),
}

fn is_reserved(word: &str) -> bool {
    ["OR", "NOT", "or", "not", "and"].contains(&word)
}

fn term(tokens: &mut Peekable<impl Iterator<Item = Token>>, allowed: &[FilterField]) -> Result<Term, Violation> {
    let Some(Token::Word(mut field)) = tokens.next() else {
        return Err(broken(FORM_RULE));
    };
    if is_reserved(&field) || field.starts_with('-') {
        return Err(broken(ONLY_AND_RULE));
    }
    if field.ends_with('.')
        && let Some(Token::Quoted(key)) = tokens.next_if(|token| matches!(token, Token::Quoted(_)))
    {
        field.push_str(&key);
    }
    let kind = find_kind(&field, allowed)?;
    let Some(Token::Op(op)) = tokens.next() else {
        return Err(broken(FORM_RULE));
    };
    let value = match tokens.next() {
        Some(Token::Quoted(value)) => value,
        Some(Token::Word(word)) if is_reserved(&word) || word == "AND" => return Err(broken(ONLY_AND_RULE)),
        Some(Token::Word(word)) => word,
        Some(Token::Op(_)) | None => return Err(broken(FORM_RULE)),
    };
    let is_ordered = matches!(kind, FieldKind::Time | FieldKind::Number);
    if !is_ordered && op != Op::Equal && op != Op::NotEqual {
        return Err(broken(format!("must compare {field} by = or !=")));
    }
    let value = match kind {
        FieldKind::Text | FieldKind::Labels => Value::Text(value),
        FieldKind::Word(words) => {
            let rule = || broken(format!("must compare {field} with one of {}", words.join(", ")));
            Value::Text(find_word(&value, words).ok_or_else(rule)?.to_owned())
        }
        FieldKind::Number => {
            let rule = || broken(format!("must compare {field} with a whole number, such as 42"));
            Value::Number(value.parse().map_err(|_| rule())?)
        }
        FieldKind::Time => Value::Time(find_time(&value).ok_or_else(|| {
            broken(format!("must compare {field} with a time in RFC 3339, such as \"2026-01-31T12:00:00Z\""))
        })?),
    };
    Ok(Term { field, op, value })
}

fn find_kind(field: &str, allowed: &[FilterField]) -> Result<FieldKind, Violation> {
    let is_it = |candidate: &&FilterField| match candidate.kind {
        FieldKind::Labels => {
            let key = field.strip_prefix(candidate.name).and_then(|rest| rest.strip_prefix('.'));
            key.is_some_and(|key| !key.is_empty())
        }
        FieldKind::Text | FieldKind::Time | FieldKind::Number | FieldKind::Word(_) => candidate.name == field,
    };
    if let Some(found) = allowed.iter().find(is_it) {
        return Ok(found.kind);
    }
    let mut rule = "must name only the fields ".to_owned();
    for (place, candidate) in allowed.iter().enumerate() {
        let separator = if place == 0 { "" } else { ", " };
        let key = if candidate.kind == FieldKind::Labels { ".{key}" } else { "" };
        // Writing to a string cannot fail.
        let _ = write!(rule, "{separator}{}{key}", candidate.name);
    }
    Err(broken(rule))
}

/// The word itself, or the only one that ends in an underscore and `value`.
fn find_word(value: &str, words: &[&'static str]) -> Option<&'static str> {
    if let Some(word) = words.iter().find(|word| **word == value) {
        return Some(word);
    }
    let ends_in_it = |word: &&&str| word.strip_suffix(value).is_some_and(|before| before.ends_with('_'));
    let mut found = words.iter().filter(ends_in_it);
    match (found.next(), found.next()) {
        (Some(word), None) if !value.is_empty() => Some(word),
        _ => None,
    }
}

/// Microseconds since the epoch, rounded down.
fn find_time(text: &str) -> Option<i64> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    i64::try_from(time.unix_timestamp_nanos().div_euclid(1000)).ok()
}

fn tokens(text: &str) -> Result<Vec<Token>, Violation> {
    let mut tokens = Vec::new();
    let mut letters = text.char_indices().peekable();
    while let Some((start, letter)) = letters.next() {
        match letter {
            '(' | ')' => return Err(broken(ONLY_AND_RULE)),
            '"' => tokens.push(Token::Quoted(quoted(&mut letters)?)),
            '=' => tokens.push(Token::Op(Op::Equal)),
            '<' | '>' | '!' => {
                let has_equal = letters.next_if(|(_, next)| *next == '=').is_some();
                tokens.push(Token::Op(match (letter, has_equal) {
                    ('<', false) => Op::Less,
                    ('<', true) => Op::LessOrEqual,
                    ('>', false) => Op::Greater,
                    ('>', true) => Op::GreaterOrEqual,
                    (_, true) => Op::NotEqual,
                    (_, false) => return Err(broken(FORM_RULE)),
                }));
            }
            _ if letter.is_whitespace() => {}
            _ if letter.is_control() => return Err(broken(FORM_RULE)),
            _ => {
                let mut end = start + letter.len_utf8();
                while let Some((place, next)) = letters.next_if(|(_, next)| is_of_a_word(*next)) {
                    end = place + next.len_utf8();
                }
                tokens.push(Token::Word(text.get(start..end).unwrap_or_default().to_owned()));
            }
        }
    }
    Ok(tokens)
}

fn is_of_a_word(letter: char) -> bool {
    !letter.is_whitespace() && !letter.is_control() && !['"', '=', '<', '>', '!', '(', ')'].contains(&letter)
}

/// What follows an opening quote, up to and without the closing one.
fn quoted(letters: &mut Peekable<CharIndices<'_>>) -> Result<String, Violation> {
    let mut value = String::new();
    loop {
        match letters.next() {
            Some((_, '"')) => return Ok(value),
            Some((_, '\\')) => match letters.next() {
                Some((_, escaped @ ('"' | '\\'))) => value.push(escaped),
                _ => return Err(broken("must have only \\\" and \\\\ as escapes in a quoted string")),
            },
            Some((_, letter)) => value.push(letter),
            None => return Err(broken("must close every quoted string")),
        }
    }
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
