//! Deterministic CBOR: a writer that can only write the shortest form, and a reader that refuses everything else:
//! longer forms, indefinite lengths, floats, tags, trailing bytes, wrong key order, depth and item counts beyond
//! the limit. Nothing is set aside for elements that are not there; one that is there takes at most some 160 bytes of
//! memory for each of its input, before a vector's spare room (a test holds the figure).

use std::fmt;

/// What the reader tolerates; the size of the whole message is the caller's first check.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Arrays and maps inside each other.
    pub depth: u8,
    /// Elements of one array or map.
    pub items: usize,
}

impl Limits {
    /// For everything that a client, a device or a store hands over.
    pub const MESSAGE: Limits = Limits { depth: 12, items: 4096 };
    /// For the stream between gateway and enclave, whose frames hold whole batches.
    pub const DOOR: Limits = Limits { depth: 16, items: 1 << 20 };
}

/// Why bytes were refused, and in which field: told to the owner of the input, never to the other side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// Innermost first.
    pub path: Vec<&'static str>,
    pub fault: Fault,
}

/// What is wrong with the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Truncated,
    Trailing,
    NotCanonical,
    WrongType,
    TooDeep,
    TooMany,
    OutOfRange,
    MissingField,
    UnknownField,
    UnknownVariant,
    BadText,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fault = match self.fault {
            Fault::Truncated => "ends too early",
            Fault::Trailing => "has bytes after its end",
            Fault::NotCanonical => "is not in canonical form",
            Fault::WrongType => "has another type",
            Fault::TooDeep => "is nested too deeply",
            Fault::TooMany => "has too many elements",
            Fault::OutOfRange => "is out of range",
            Fault::MissingField => "is missing",
            Fault::UnknownField => "has a field that is not known",
            Fault::UnknownVariant => "is of a kind that is not known",
            Fault::BadText => "is not text in UTF-8",
        };
        let path: Vec<_> = self.path.iter().rev().copied().collect();
        write!(f, "{} {fault}", if path.is_empty() { "message".into() } else { path.join(".") })
    }
}

impl std::error::Error for DecodeError {}

impl From<Fault> for DecodeError {
    fn from(fault: Fault) -> Self {
        DecodeError { path: Vec::new(), fault }
    }
}

impl DecodeError {
    /// Names the field in which the fault lies.
    #[must_use]
    pub fn within(mut self, field: &'static str) -> Self {
        self.path.push(field);
        self
    }
}

/// A value with exactly one encoding.
pub trait Wire: Sized {
    /// Writes the one encoding.
    fn encode(&self, w: &mut Writer);
    /// Reads one item and leaves what is behind it.
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError>;

    /// Whether a struct leaves this field out (only `Option` does).
    fn is_absent(&self) -> bool {
        false
    }

    /// What a field that was left out means, if it may be left out.
    fn absent() -> Option<Self> {
        None
    }

    /// The one encoding.
    fn to_bytes(&self) -> Vec<u8> {
        let mut w = Writer { bytes: Vec::with_capacity(CAPACITY) };
        self.encode(&mut w);
        w.bytes
    }

    /// Reads a whole message under `Limits::MESSAGE`.
    fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        Self::from_bytes_within(bytes, Limits::MESSAGE)
    }

    /// Reads a whole message: bytes behind its end are refused.
    fn from_bytes_within(bytes: &[u8], limits: Limits) -> Result<Self, DecodeError> {
        let mut r = Reader { rest: bytes, depth_left: limits.depth, items_max: limits.items };
        let value = Self::decode(&mut r)?;
        if r.rest.is_empty() { Ok(value) } else { Err(Fault::Trailing.into()) }
    }
}

/// Most messages and rows are shorter: their bytes are not moved while they are written.
const CAPACITY: usize = 1024;

/// Appends canonical items to a buffer.
#[derive(Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl From<Vec<u8>> for Writer {
    /// Goes on behind what the buffer holds.
    fn from(bytes: Vec<u8>) -> Self {
        Writer { bytes }
    }
}

impl Writer {
    fn head(&mut self, major: u8, value: u64) {
        let major = major << 5;
        let be = value.to_be_bytes();
        match value {
            0..=23 => self.bytes.push(major | be[7]),
            24..=0xff => self.bytes.extend_from_slice(&[major | 24, be[7]]),
            0x100..=0xffff => self.bytes.extend_from_slice(&[major | 25, be[6], be[7]]),
            0x1_0000..=0xffff_ffff => {
                self.bytes.extend_from_slice(&[major | 26, be[4], be[5], be[6], be[7]]);
            }
            _ => {
                self.bytes.push(major | 27);
                self.bytes.extend_from_slice(&be);
            }
        }
    }

    fn sized(&mut self, major: u8, len: usize) {
        self.head(major, u64::try_from(len).unwrap_or(u64::MAX));
    }

    /// An unsigned number.
    pub fn uint(&mut self, value: u64) {
        self.head(0, value);
    }

    /// A signed number.
    pub fn int(&mut self, value: i64) {
        match u64::try_from(value) {
            Ok(value) => self.head(0, value),
            Err(_) => self.head(1, value.unsigned_abs().saturating_sub(1)),
        }
    }

    /// A byte string.
    pub fn byte_string(&mut self, bytes: &[u8]) {
        self.sized(2, bytes.len());
        self.bytes.extend_from_slice(bytes);
    }

    /// Text.
    pub fn text(&mut self, text: &str) {
        self.sized(3, text.len());
        self.bytes.extend_from_slice(text.as_bytes());
    }

    /// Head of an array; `len` items have to follow.
    pub fn array(&mut self, len: usize) {
        self.sized(4, len);
    }

    /// Head of a map; `len` pairs have to follow, keys in ascending order of their bytes.
    pub fn map(&mut self, len: usize) {
        self.sized(5, len);
    }

    /// A truth value.
    pub fn bool(&mut self, value: bool) {
        self.bytes.push(if value { 0xf5 } else { 0xf4 });
    }

    /// What was written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// Takes canonical items off a slice.
pub struct Reader<'a> {
    rest: &'a [u8],
    depth_left: u8,
    items_max: usize,
}

impl<'a> Reader<'a> {
    /// A reader at the start of `bytes`.
    pub fn new(bytes: &'a [u8], limits: Limits) -> Self {
        Reader { rest: bytes, depth_left: limits.depth, items_max: limits.items }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Fault> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Fault::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn head(&mut self, major: u8) -> Result<u64, Fault> {
        let (first, rest) = self.rest.split_first().ok_or(Fault::Truncated)?;
        if first >> 5 != major {
            return Err(Fault::WrongType);
        }
        self.rest = rest;
        let (value, least) = match first & 0x1f {
            info @ 0..=23 => return Ok(u64::from(info)),
            24 => (u64::from(u8::from_be_bytes(self.chunk()?)), 24),
            25 => (u64::from(u16::from_be_bytes(self.chunk()?)), 0x100),
            26 => (u64::from(u32::from_be_bytes(self.chunk()?)), 0x1_0000),
            27 => (u64::from_be_bytes(self.chunk()?), 0x1_0000_0000),
            _ => return Err(Fault::NotCanonical),
        };
        if value < least { Err(Fault::NotCanonical) } else { Ok(value) }
    }

    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Fault::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// A length, which can never be more than what is left of the input.
    fn length(&mut self, major: u8) -> Result<usize, Fault> {
        let len = usize::try_from(self.head(major)?).map_err(|_| Fault::Truncated)?;
        if len > self.rest.len() { Err(Fault::Truncated) } else { Ok(len) }
    }

    /// An unsigned number.
    pub fn uint(&mut self) -> Result<u64, DecodeError> {
        Ok(self.head(0)?)
    }

    /// A signed number of 64 bits.
    pub fn int(&mut self) -> Result<i64, DecodeError> {
        if self.rest.first().is_some_and(|first| first >> 5 == 1) {
            let magnitude = i64::try_from(self.head(1)?).map_err(|_| Fault::OutOfRange)?;
            return Ok(-1 - magnitude);
        }
        Ok(i64::try_from(self.head(0)?).map_err(|_| Fault::OutOfRange)?)
    }

    /// A byte string.
    pub fn byte_string(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = self.length(2)?;
        Ok(self.take(len)?)
    }

    /// Text in UTF-8.
    pub fn text(&mut self) -> Result<&'a str, DecodeError> {
        let len = self.length(3)?;
        Ok(std::str::from_utf8(self.take(len)?).map_err(|_| Fault::BadText)?)
    }

    /// A truth value.
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        match self.take(1)? {
            [0xf4] => Ok(false),
            [0xf5] => Ok(true),
            _ => Err(Fault::WrongType.into()),
        }
    }

    /// Reads an array: `each` is called once per element with the reader one level deeper.
    pub fn array<T>(
        &mut self,
        mut each: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        self.nested(4, |r, len| {
            let mut out = Vec::with_capacity(len.min(64));
            for _ in 0..len {
                out.push(each(r)?);
            }
            Ok(out)
        })
    }

    /// Reads an array or map head, then its body one level deeper.
    pub(crate) fn nested<T>(
        &mut self,
        major: u8,
        body: impl FnOnce(&mut Self, usize) -> Result<T, DecodeError>,
    ) -> Result<T, DecodeError> {
        let len = self.length(major)?;
        if len > self.items_max {
            return Err(Fault::TooMany.into());
        }
        self.depth_left = self.depth_left.checked_sub(1).ok_or(Fault::TooDeep)?;
        let value = body(self, len)?;
        self.depth_left += 1;
        Ok(value)
    }

    /// Reads a map with small integer keys in ascending order.
    pub fn fields<T>(
        &mut self,
        body: impl FnOnce(&mut Fields<'_, 'a>) -> Result<T, DecodeError>,
    ) -> Result<T, DecodeError> {
        self.nested(5, |reader, left| {
            let mut fields = Fields { reader, left };
            let value = body(&mut fields)?;
            if fields.left == 0 { Ok(value) } else { Err(Fault::UnknownField.into()) }
        })
    }
}

/// The open map of a struct: fields are asked for in ascending key order.
pub struct Fields<'r, 'a> {
    reader: &'r mut Reader<'a>,
    left: usize,
}

impl Fields<'_, '_> {
    /// Reads field `key` (0 to 23) if it is the next one.
    pub fn field<T: Wire>(&mut self, key: u8, name: &'static str) -> Result<T, DecodeError> {
        if self.left > 0 && self.reader.rest.first() == Some(&key) {
            self.reader.take(1)?;
            self.left -= 1;
            return T::decode(self.reader).map_err(|e| e.within(name));
        }
        T::absent().ok_or_else(|| DecodeError::from(Fault::MissingField).within(name))
    }
}

macro_rules! wire_uint {
    ($($int:ty),*) => {$(
        impl Wire for $int {
            fn encode(&self, w: &mut Writer) {
                w.uint(u64::from(*self));
            }
            fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
                Ok(<$int>::try_from(r.uint()?).map_err(|_| Fault::OutOfRange)?)
            }
        }
    )*};
}
wire_uint!(u16, u32, u64);

impl Wire for i64 {
    fn encode(&self, w: &mut Writer) {
        w.int(*self);
    }
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        r.int()
    }
}

impl Wire for bool {
    fn encode(&self, w: &mut Writer) {
        w.bool(*self);
    }
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        r.bool()
    }
}

impl Wire for String {
    fn encode(&self, w: &mut Writer) {
        w.text(self);
    }
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        r.text().map(str::to_owned)
    }
}

/// A byte string. `Vec<u8>` itself would read as an array of numbers.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Bytes(pub Vec<u8>);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({})", self.0.len())
    }
}

impl std::ops::Deref for Bytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes(bytes)
    }
}

impl From<&[u8]> for Bytes {
    fn from(bytes: &[u8]) -> Self {
        Bytes(bytes.to_vec())
    }
}

impl Wire for Bytes {
    fn encode(&self, w: &mut Writer) {
        w.byte_string(&self.0);
    }
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        r.byte_string().map(|bytes| Bytes(bytes.to_vec()))
    }
}

impl<const N: usize> Wire for [u8; N] {
    fn encode(&self, w: &mut Writer) {
        w.byte_string(self);
    }
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(<[u8; N]>::try_from(r.byte_string()?).map_err(|_| Fault::OutOfRange)?)
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn encode(&self, w: &mut Writer) {
        w.array(self.len());
        for item in self {
            item.encode(w);
        }
    }
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        r.array(T::decode)
    }
}

/// Stands only as a struct field, where `None` is an absent key.
impl<T: Wire> Wire for Option<T> {
    fn encode(&self, w: &mut Writer) {
        if let Some(value) = self {
            value.encode(w);
        }
    }
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        T::decode(r).map(Some)
    }
    fn is_absent(&self) -> bool {
        self.is_none()
    }
    fn absent() -> Option<Self> {
        Some(None)
    }
}
