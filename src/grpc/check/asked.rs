//! What is asked, read out of the bytes of a message and borrowed from them: a question is gone when it is answered, and
//! most of what a Check costs beside HTTP/2 would be to copy it. It accepts what `prost` accepts, but for
//! groups nested a hundred deep, and reads the same from it, which the tests hold it to.

use crate::domain::decision::Permission;
use prost::DecodeError;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

/// The bytes are no message of that type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unreadable;

impl From<DecodeError> for Unreadable {
    fn from(_: DecodeError) -> Self {
        Self
    }
}

impl From<Unreadable> for tonic::Status {
    fn from(_: Unreadable) -> Self {
        crate::grpc::unary::unreadable()
    }
}

type Result<T, E = Unreadable> = std::result::Result<T, E>;

/// A `CheckRequest`.
#[derive(Clone, Default)]
pub(crate) struct Asked<'a> {
    pub(crate) credential: &'a str,
    pub(crate) secret_key: &'a str,
    pub(crate) tenant: &'a str,
    pub(crate) permissions: Vec<Permission<'a>>,
    pub(crate) audience: &'a str,
    pub(crate) source_ip: &'a str,
    pub(crate) referrer: &'a str,
    pub(crate) min_revision: i64,
    pub(crate) id: &'a str,
    /// How many bytes it takes.
    pub(crate) length: usize,
}

impl std::fmt::Debug for Asked<'_> {
    /// Without secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Asked").finish_non_exhaustive()
    }
}

impl<'a> Asked<'a> {
    /// Reads a `CheckRequest`.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self> {
        let mut asked = Self::default();
        asked.merge(bytes)?;
        Ok(asked)
    }

    /// Reads those of a `BatchCheckRequest`; of more than `max` one too many.
    pub(crate) fn read_batch(bytes: &'a [u8], max: usize) -> Result<Vec<Self>> {
        let mut all = Vec::new();
        each_field(bytes, |field| {
            match field.tag {
                1 if all.len() <= max => all.push(Self::read(field.delimited()?)?),
                _ => field.skip()?,
            }
            Ok(())
        })?;
        Ok(all)
    }

    /// Reads that of a `StreamCheckRequest`.
    pub(crate) fn read_streamed(bytes: &'a [u8]) -> Result<Self> {
        let mut asked = Self::default();
        each_field(bytes, |field| match field.tag {
            1 => asked.merge(field.delimited()?),
            _ => field.skip(),
        })?;
        Ok(asked)
    }

    /// Of a field that comes again the last counts; what is repeated, and what is a message, is added to.
    fn merge(&mut self, bytes: &'a [u8]) -> Result<()> {
        self.length = self.length.saturating_add(bytes.len());
        each_field(bytes, |field| {
            match field.tag {
                1 => self.credential = field.text()?,
                2 => self.secret_key = field.text()?,
                3 => self.tenant = field.text()?,
                4 => self.permissions.push(permission(field.delimited()?)?),
                5 => self.audience = field.text()?,
                6 => self.merge_context(field.delimited()?)?,
                7 => self.min_revision = field.number()?.cast_signed(),
                8 => self.id = field.text()?,
                _ => field.skip()?,
            }
            Ok(())
        })
    }

    fn merge_context(&mut self, bytes: &'a [u8]) -> Result<()> {
        each_field(bytes, |field| {
            match field.tag {
                1 => self.source_ip = field.text()?,
                2 => self.referrer = field.text()?,
                3 => attribute(field.delimited()?)?,
                _ => field.skip()?,
            }
            Ok(())
        })
    }
}

fn permission(bytes: &[u8]) -> Result<Permission<'_>> {
    let mut permission = Permission { resource: "", action: "" };
    each_field(bytes, |field| {
        match field.tag {
            1 => permission.resource = field.text()?,
            2 => permission.action = field.text()?,
            _ => field.skip()?,
        }
        Ok(())
    })?;
    Ok(permission)
}

/// An entry of a map from text to text, which nothing is decided by.
fn attribute(bytes: &[u8]) -> Result<()> {
    each_field(bytes, |field| match field.tag {
        1 | 2 => field.text().map(drop),
        _ => field.skip(),
    })
}

/// A field of a message, and all that comes after its tag.
struct Field<'a, 'b> {
    tag: u32,
    wire_type: WireType,
    rest: &'b mut &'a [u8],
}

fn each_field<'a>(mut rest: &'a [u8], mut take: impl FnMut(Field<'a, '_>) -> Result<()>) -> Result<()> {
    while !rest.is_empty() {
        let (tag, wire_type) = decode_key(&mut rest)?;
        take(Field { tag, wire_type, rest: &mut rest })?;
    }
    Ok(())
}

impl<'a> Field<'a, '_> {
    fn number(self) -> Result<u64> {
        if self.wire_type != WireType::Varint {
            return Err(Unreadable);
        }
        Ok(decode_varint(self.rest)?)
    }

    fn delimited(self) -> Result<&'a [u8]> {
        if self.wire_type != WireType::LengthDelimited {
            return Err(Unreadable);
        }
        let length = usize::try_from(decode_varint(self.rest)?).map_err(|_| Unreadable)?;
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Unreadable)?;
        *self.rest = rest;
        Ok(taken)
    }

    fn text(self) -> Result<&'a str> {
        std::str::from_utf8(self.delimited()?).map_err(|_| Unreadable)
    }

    fn skip(self) -> Result<()> {
        Ok(skip_field(self.wire_type, self.tag, self.rest, DecodeContext::default())?)
    }
}

#[cfg(test)]
mod tests;
