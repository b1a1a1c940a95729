//! Measures an event without writing it: the serializer behind
//! [`EventLimits::check`](crate::EventLimits::check).
//!
//! Counts what `serde_json` would write, byte for byte, in one walk through the event.

use std::collections::HashSet;
use std::fmt::{self, Write as _};
use std::io;

use serde::ser::{self, Serialize, Serializer};
use serde_json::Value;

use crate::event_limits::{EventLimits, Unfit};
use crate::key::{KeySink, KeyWriter};
use crate::message::Extra;
use crate::number::MAX_SAFE_INTEGER;
use crate::precise::{self, Number};
use crate::reserved::reserved;
use crate::short::Short;
use crate::shown::shown;
use crate::words;

/// What has been counted of an event so far.
pub(crate) struct Measure {
    limits: EventLimits,
    /// How many more bytes the event may have.
    left: usize,
    objects_left: usize,
    /// How many arrays and objects are open.
    depth: usize,
    /// Whether the key that was measured last is the `type` of the event itself.
    is_type: bool,
    /// Whether the event has a text under `type`.
    is_action: bool,
    /// Whether an object may have a key twice: it takes memory to know.
    is_unsure: bool,
    /// All keys, each with the number of its object, where there is a second look for that.
    keys: Option<HashSet<(usize, String)>>,
}

/// The key `type`, as a word.
const TYPE: u64 =
    (b't' as u64) << 56 | (b'y' as u64) << 48 | (b'p' as u64) << 40 | (b'e' as u64) << 32;

/// What a value is written as, as far as what lies around it has to know.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    Null,
    Text,
    Other,
}

/// Small, for each value that is measured returns one.
#[derive(Debug)]
pub(crate) struct Failure(Box<Unfit>);

type Measured<T = ()> = Result<T, Failure>;

impl Measure {
    #[inline]
    pub(crate) const fn new(limits: EventLimits) -> Self {
        Self {
            limits,
            left: limits.bytes,
            objects_left: limits.objects,
            depth: 0,
            is_type: false,
            is_action: false,
            is_unsure: false,
            keys: None,
        }
    }

    /// How many bytes have been counted.
    #[inline]
    pub(crate) const fn size(&self) -> usize {
        self.limits.bytes - self.left
    }

    /// Counts bytes of any kind.
    #[inline]
    pub(crate) fn skip(&mut self, bytes: usize) -> Result<(), Unfit> {
        Ok(self.count(bytes)?)
    }

    #[inline]
    pub(crate) fn event<E: Serialize + ?Sized>(&mut self, event: &E) -> Result<(), Unfit> {
        event.serialize(&mut *self)?;
        self.is_action()?;
        if self.is_unsure { Self::new(self.limits).distinct(event) } else { Ok(()) }
    }

    /// An event that is a [`Value`].
    pub(crate) fn value_event(&mut self, event: &Value) -> Result<(), Unfit> {
        self.tree(event)?;
        self.is_action()
    }

    /// What was measured is what JavaScript nodes take, if it has to be.
    #[inline]
    fn is_action(&self) -> Result<(), Unfit> {
        if self.limits.javascript && !self.is_action { Err(Unfit::NotAnAction) } else { Ok(()) }
    }

    /// Looks through an event within the limits again, for keys that an object has twice.
    #[cold]
    fn distinct<E: Serialize + ?Sized>(mut self, event: &E) -> Result<(), Unfit> {
        self.keys = Some(HashSet::new());
        event.serialize(&mut self)?;
        Ok(())
    }

    /// A [`Value`], without serde: in a third of the time, and its keys are distinct texts.
    fn tree(&mut self, value: &Value) -> Measured<Written> {
        match value {
            Value::Null => self.serialize_unit(),
            Value::Bool(value) => self.serialize_bool(*value),
            Value::Number(number) => number.serialize(self),
            Value::String(text) => self.serialize_str(text),
            Value::Array(items) => {
                self.enter()?;
                self.count(items.len().saturating_sub(1))?;
                for item in items {
                    self.tree(item)?;
                }
                self.depth -= 1;
                Ok(Written::Other)
            }
            Value::Object(members) => {
                self.enter_object()?;
                // Colons, and commas.
                self.count((2 * members.len()).saturating_sub(1))?;
                for (key, value) in members {
                    self.field(key)?;
                    let is_type = self.is_type;
                    let written = self.tree(value)?;
                    if is_type {
                        self.is_action = written == Written::Text;
                    }
                }
                self.depth -= 1;
                Ok(Written::Other)
            }
        }
    }

    /// The application's own meta, an object; that object's level is the meta's own.
    #[inline]
    pub(crate) fn extra(&mut self, extra: &Extra) -> Result<(), Unfit> {
        self.members(extra).map_err(in_the_meta)
    }

    #[inline]
    fn members(&mut self, extra: &Extra) -> Measured {
        self.count("{}".len())?;
        if extra.is_empty() {
            return Ok(());
        }
        for (index, (key, value)) in extra.iter().enumerate() {
            self.count(usize::from(index > 0) + ":".len())?;
            self.field(key)?;
            self.depth = 0;
            self.tree(value)?;
        }
        Ok(())
    }

    #[inline]
    fn count(&mut self, bytes: usize) -> Measured {
        match self.left.checked_sub(bytes) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(Unfit::TooLarge { limit: self.limits.bytes }.into()),
        }
    }

    /// The inside of a text, as it is between its quotes.
    #[inline]
    fn text(&mut self, text: &str) -> Measured {
        if text.len() > self.left {
            return self.count(text.len());
        }
        self.count(text.len())?;
        if words::escapes_some(text) { self.escapes(text) } else { Ok(()) }
    }

    /// What the escapes of a text take beyond its own bytes.
    #[inline(never)]
    fn escapes(&mut self, text: &str) -> Measured {
        text.bytes().try_for_each(|byte| match byte {
            b'"' | b'\\' | 8 | b'\t' | b'\n' | 12 | b'\r' => self.count(r"\n".len() - 1),
            0..b' ' => self.count(r"\u0000".len() - 1),
            _ => Ok(()),
        })
    }

    fn displayed<T: fmt::Display + ?Sized>(&mut self, text: &T) -> Measured {
        let mut displayed = Displayed { measure: self, failure: None };
        let is_shown = write!(displayed, "{text}");
        match displayed.failure.take() {
            Some(failure) => Err(failure),
            None => is_shown.map_err(ser::Error::custom),
        }
    }

    /// Some digits, and a sign.
    #[inline]
    fn integer(&mut self, is_negative: bool, absolute: u64) -> Measured<Written> {
        if self.limits.javascript && absolute > MAX_SAFE_INTEGER {
            let absolute = i128::from(absolute);
            return Err(Unfit::UnsafeInteger(if is_negative { -absolute } else { absolute }).into());
        }
        let digits = absolute.checked_ilog10().unwrap_or(0) as usize + 1;
        self.count(digits + usize::from(is_negative))?;
        Ok(Written::Other)
    }

    /// A float, whose digits only the crate that would write them knows.
    fn float<F: Serialize>(&mut self, number: F, value: f64) -> Measured<Written> {
        if !value.is_finite() {
            return Err(Unfit::NotFinite.into());
        }
        self.refuse_negative_zero(value)?;
        let mut length = Length(0);
        serde_json::to_writer(&mut length, &number).map_err(<Failure as ser::Error>::custom)?;
        self.count(length.0)?;
        Ok(Written::Other)
    }

    #[inline]
    fn refuse_negative_zero(&self, number: f64) -> Measured {
        let is_negative_zero = number == 0.0 && number.is_sign_negative();
        if self.limits.javascript && is_negative_zero {
            return Err(Unfit::NegativeZero.into());
        }
        Ok(())
    }

    /// A number that is held as text, and written as that.
    fn number_in(&mut self, text: &str) -> Measured {
        match Number::read(text) {
            None => Err(Unfit::NotFinite.into()),
            Some(Number::Unsigned(number)) => self.integer(false, number).map(drop),
            Some(Number::Negative(number)) => self.integer(true, number.unsigned_abs()).map(drop),
            Some(Number::Float(number)) => {
                let is_integer = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
                if is_integer && number != 0.0 {
                    return Err(Unfit::WideInteger.into());
                }
                self.refuse_negative_zero(number)?;
                self.count(text.len())
            }
        }
    }

    #[inline]
    fn enter(&mut self) -> Measured {
        self.depth += 1;
        if self.depth > self.limits.depth {
            return Err(Unfit::TooDeep { limit: self.limits.depth }.into());
        }
        self.count("[]".len())
    }

    #[inline]
    fn enter_object(&mut self) -> Measured {
        match self.objects_left.checked_sub(1) {
            Some(left) => self.objects_left = left,
            None => return Err(Unfit::TooManyObjects { limit: self.limits.objects }.into()),
        }
        self.enter()
    }

    #[inline]
    fn array(&mut self, levels: usize) -> Measured<Parts<'_>> {
        self.enter()?;
        Ok(Parts::new(self, levels))
    }

    #[inline]
    fn object(&mut self, levels: usize) -> Measured<Parts<'_>> {
        self.enter_object()?;
        Ok(Parts::new(self, levels))
    }

    /// Takes note of a key of an object, if that is what this walk is for.
    #[inline]
    fn distinct_key(&mut self, object: usize, key: &str) -> Measured {
        if let Some(keys) = &mut self.keys
            && !keys.insert((object, key.to_owned()))
        {
            return Err(Unfit::DuplicateKey(shown(key)).into());
        }
        Ok(())
    }

    /// The object that is around what a variant holds.
    #[inline]
    fn variant(&mut self, name: &str) -> Measured {
        self.enter_object()?;
        self.field(name)?;
        self.count(":".len())
    }

    /// A key of an object, with its quotes.
    #[inline]
    fn field(&mut self, key: &str) -> Measured {
        self.field_from(key, words::start(key))
    }

    /// The same; the first bytes of the key say already what most keys are not.
    #[inline]
    fn field_from(&mut self, key: &str, start: u64) -> Measured {
        self.is_type = start == TYPE && key.len() == 4 && self.depth == 1;
        if start >> 56 == u64::from(b'$')
            && let Some(key) = reserved(key)
        {
            return Err(Unfit::ReservedKey(key).into());
        }
        if self.limits.javascript && key == "__proto__" {
            return Err(Unfit::Prototype.into());
        }
        self.count(2 + key.len())?;
        if words::escapes_some_from(key, start) { self.escapes(key) } else { Ok(()) }
    }

    /// The value of the key that was measured last.
    #[inline]
    fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Measured {
        let is_type = self.is_type;
        let written = value.serialize(&mut *self)?;
        if is_type {
            self.is_action = written == Written::Text;
        }
        Ok(())
    }
}

/// What is wrong in the meta, unless it is counted together with the event.
#[cold]
fn in_the_meta(failure: Failure) -> Unfit {
    match failure.into() {
        both @ (Unfit::TooLarge { .. } | Unfit::TooManyObjects { .. }) => both,
        unfit => Unfit::Meta(Box::new(unfit)),
    }
}

macro_rules! integers {
    ($($method:ident $type:ty: $number:ident => $negative:expr, $absolute:expr;)*) => {$(
        #[inline]
        fn $method(self, $number: $type) -> Measured<Written> {
            self.integer($negative, $absolute)
        }
    )*};
}

impl<'m> Serializer for &'m mut Measure {
    type Ok = Written;
    type Error = Failure;
    type SerializeSeq = Parts<'m>;
    type SerializeTuple = Parts<'m>;
    type SerializeTupleStruct = Parts<'m>;
    type SerializeTupleVariant = Parts<'m>;
    type SerializeMap = Parts<'m>;
    type SerializeStruct = Parts<'m>;
    type SerializeStructVariant = Parts<'m>;

    integers! {
        serialize_i8 i8: n => n < 0, n.unsigned_abs().into();
        serialize_i16 i16: n => n < 0, n.unsigned_abs().into();
        serialize_i32 i32: n => n < 0, n.unsigned_abs().into();
        serialize_i64 i64: n => n < 0, n.unsigned_abs();
        serialize_u8 u8: n => false, n.into();
        serialize_u16 u16: n => false, n.into();
        serialize_u32 u32: n => false, n.into();
        serialize_u64 u64: n => false, n;
    }

    fn serialize_i128(self, _: i128) -> Measured<Written> {
        Err(Unfit::WideInteger.into())
    }

    fn serialize_u128(self, _: u128) -> Measured<Written> {
        Err(Unfit::WideInteger.into())
    }

    fn serialize_f32(self, number: f32) -> Measured<Written> {
        self.float(number, number.into())
    }

    fn serialize_f64(self, number: f64) -> Measured<Written> {
        self.float(number, number)
    }

    #[inline]
    fn serialize_bool(self, value: bool) -> Measured<Written> {
        self.count(if value { "true" } else { "false" }.len())?;
        Ok(Written::Other)
    }

    #[inline]
    fn serialize_char(self, character: char) -> Measured<Written> {
        self.serialize_str(character.encode_utf8(&mut [0; 4]))
    }

    #[inline]
    fn serialize_str(self, text: &str) -> Measured<Written> {
        self.count(2 + text.len())?;
        if words::escapes_some(text) {
            self.escapes(text)?;
        }
        Ok(Written::Text)
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, text: &T) -> Measured<Written> {
        self.count(2)?;
        self.displayed(text)?;
        Ok(Written::Text)
    }

    /// Bytes are an array of numbers.
    fn serialize_bytes(self, bytes: &[u8]) -> Measured<Written> {
        self.enter()?;
        self.depth -= 1;
        // Each has a digit, and all but one a comma.
        self.count((2 * bytes.len()).saturating_sub(1))?;
        for byte in bytes {
            self.count(usize::from(*byte > 9) + usize::from(*byte > 99))?;
        }
        Ok(Written::Other)
    }

    #[inline]
    fn serialize_none(self) -> Measured<Written> {
        self.serialize_unit()
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Measured<Written> {
        match value.serialize(self)? {
            Written::Null => Err(Unfit::Nothing.into()),
            written => Ok(written),
        }
    }

    #[inline]
    fn serialize_unit(self) -> Measured<Written> {
        self.count("null".len())?;
        Ok(Written::Null)
    }

    #[inline]
    fn serialize_unit_struct(self, _name: &'static str) -> Measured<Written> {
        self.serialize_unit()
    }

    #[inline]
    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
    ) -> Measured<Written> {
        self.serialize_str(variant)
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Measured<Written> {
        value.serialize(self)
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Measured<Written> {
        self.variant(variant)?;
        self.value(value)?;
        self.depth -= 1;
        Ok(Written::Other)
    }

    #[inline]
    fn serialize_seq(self, _len: Option<usize>) -> Measured<Parts<'m>> {
        self.array(1)
    }

    #[inline]
    fn serialize_tuple(self, _len: usize) -> Measured<Parts<'m>> {
        self.array(1)
    }

    #[inline]
    fn serialize_tuple_struct(self, _name: &'static str, _len: usize) -> Measured<Parts<'m>> {
        self.array(1)
    }

    #[inline]
    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Measured<Parts<'m>> {
        self.variant(variant)?;
        self.array(2)
    }

    #[inline]
    fn serialize_map(self, _len: Option<usize>) -> Measured<Parts<'m>> {
        self.object(1)
    }

    #[inline]
    fn serialize_struct(self, name: &'static str, _len: usize) -> Measured<Parts<'m>> {
        if precise::IS_ON && name == precise::NAME {
            return Ok(Parts::new(self, 0));
        }
        self.object(1)
    }

    #[inline]
    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Measured<Parts<'m>> {
        self.variant(variant)?;
        self.object(2)
    }
}

/// Measures the items of an array or the members of an object.
pub(crate) struct Parts<'m> {
    measure: &'m mut Measure,
    /// How many levels end here: two where a variant holds the parts, and none where they are a
    /// number that is held as text.
    levels: usize,
    /// How many parts have been measured.
    count: usize,
    /// The object's number: how many more there may be.
    object: usize,
    /// Of a map: how the first key begins, and how the last one does.
    first: Prefix,
    last: Prefix,
    /// Of a struct: the first two names, and how they begin.
    names: [(&'static str, u64); 2],
}

/// The first sixteen bytes of a key, in an order that is the keys' own, as far as they go.
type Prefix = (u64, u64);

impl<'m> Parts<'m> {
    #[inline]
    fn new(measure: &'m mut Measure, levels: usize) -> Self {
        let object = measure.objects_left;
        Self { measure, levels, count: 0, object, first: (0, 0), last: (0, 0), names: [("", 0); 2] }
    }
}

impl Parts<'_> {
    /// What stands between parts, or in one.
    #[inline]
    fn comma(&mut self, colon: usize) -> Measured {
        let comma = usize::from(self.count > 0);
        self.count += 1;
        self.measure.count(comma + colon)
    }

    #[inline]
    fn item<T: Serialize + ?Sized>(&mut self, item: &T) -> Measured {
        self.comma(0)?;
        item.serialize(&mut *self.measure)?;
        Ok(())
    }

    #[inline]
    fn member<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Measured {
        if precise::IS_ON && self.levels == 0 {
            return precise::write_number(value, |text| self.measure.number_in(text));
        }
        self.comma(":".len())?;
        let start = words::start(key);
        self.look_at_field(key, start);
        self.measure.distinct_key(self.object, key)?;
        self.measure.field_from(key, start)?;
        self.measure.value(value)
    }

    /// The names of a struct are distinct, but for what serde puts before them: the tag of the enum
    /// around it, and that of an enum around that.
    #[inline]
    fn look_at_field(&mut self, name: &'static str, start: u64) {
        let is = |other: (&str, u64)| other.1 == start && other.0 == name;
        match self.count {
            1 => self.names = [(name, start); 2],
            _ if is(self.names[0]) || is(self.names[1]) => self.measure.is_unsure = true,
            2 => self.names[1] = (name, start),
            _ => {}
        }
    }

    /// A key of a map. Keys that ascend are distinct; what comes first may be a tag.
    #[inline]
    fn key(&mut self, key: &str) -> Measured {
        let start = words::start(key);
        let rest = key.as_bytes().get(8..).map_or(0, words::first_of);
        let prefix = (start, rest);
        if self.count == 1 {
            self.first = prefix;
        } else {
            let ascends = self.count == 2 || prefix > self.last;
            self.measure.is_unsure |= prefix == self.first || !ascends;
            self.last = prefix;
        }
        self.measure.distinct_key(self.object, key)?;
        self.measure.field_from(key, start)
    }

    #[inline]
    fn close(self) -> Written {
        self.measure.depth -= self.levels;
        Written::Other
    }
}

macro_rules! parts {
    ($($trait:ident $method:ident($($key:ident)?) $part:ident;)*) => {$(
        impl ser::$trait for Parts<'_> {
            type Ok = Written;
            type Error = Failure;

            #[inline]
            fn $method<T: Serialize + ?Sized>(
                &mut self,
                $($key: &'static str,)?
                value: &T,
            ) -> Measured {
                self.$part($($key,)? value)
            }

            #[inline]
            fn end(self) -> Measured<Written> {
                Ok(self.close())
            }
        }
    )*};
}

parts! {
    SerializeSeq serialize_element() item;
    SerializeTuple serialize_element() item;
    SerializeTupleStruct serialize_field() item;
    SerializeTupleVariant serialize_field() item;
    SerializeStruct serialize_field(key) member;
    SerializeStructVariant serialize_field(key) member;
}

impl ser::SerializeMap for Parts<'_> {
    type Ok = Written;
    type Error = Failure;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Measured {
        self.comma(":".len())?;
        key.serialize(KeyWriter(Key(self)))
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Measured {
        self.measure.value(value)
    }

    #[inline]
    fn end(self) -> Measured<Written> {
        Ok(self.close())
    }
}

/// Measures a key, which has to be a text: numbers and booleans as keys are read from their text,
/// but not where serde holds an event back to read it later (`tag`, `flatten`, `untagged`).
struct Key<'p, 'm>(&'p mut Parts<'m>);

impl KeySink for Key<'_, '_> {
    type Error = Failure;

    #[inline]
    fn text(self, text: &str) -> Measured {
        self.0.key(text)
    }

    fn displayed<T: fmt::Display + ?Sized>(self, text: &T) -> Measured {
        // Keys with a meaning are short.
        if let Some(short) = Short::of(format_args!("{text}")) {
            return self.text(short.as_str());
        }
        let measure = &mut *self.0.measure;
        measure.is_type = false;
        measure.count(2)?;
        measure.displayed(text)?;
        // Within the limits, so that its text can be made.
        measure.is_unsure = true;
        if measure.keys.is_some() {
            measure.distinct_key(self.0.object, &text.to_string())?;
        }
        Ok(())
    }

    fn number<N: Serialize>(self, _: N) -> Measured {
        Err(Self::no_text())
    }

    fn boolean(self, _: bool) -> Measured {
        Err(Self::no_text())
    }

    #[cold]
    fn no_text() -> Failure {
        Unfit::Key.into()
    }
}

/// Measures a text as it is shown.
struct Displayed<'m> {
    measure: &'m mut Measure,
    /// [`fmt::Error`] does not carry it.
    failure: Option<Failure>,
}

impl fmt::Write for Displayed<'_> {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        self.measure.text(part).map_err(|failure| {
            self.failure = Some(failure);
            fmt::Error
        })
    }
}

/// Counts what is written.
struct Length(usize);

impl io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl From<Unfit> for Failure {
    #[cold]
    fn from(unfit: Unfit) -> Self {
        Self(Box::new(unfit))
    }
}

impl From<Failure> for Unfit {
    fn from(failure: Failure) -> Self {
        *failure.0
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Failure {}

impl ser::Error for Failure {
    #[cold]
    fn custom<T: fmt::Display>(text: T) -> Self {
        Unfit::Serialize(text.to_string()).into()
    }
}
