//! Which fields a type has, asked of its `Deserialize`: so the words of the configuration and of the
//! command line are written down once, in the types.

use serde::de::{self, Deserialize, Deserializer, Visitor};
use std::fmt;

/// The names of the fields of a struct, or of the variants of an enum; none of anything else.
pub(crate) fn of<T: for<'de> Deserialize<'de>>() -> &'static [&'static str] {
    let Err(Asked(fields)) = T::deserialize(Question) else { return &[] };
    fields
}

/// Has nothing to give, and hears what is expected.
struct Question;

/// The answer, which comes as an error because there is no value.
#[derive(Debug)]
struct Asked(&'static [&'static str]);

impl<'de> Deserializer<'de> for Question {
    type Error = Asked;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Asked> {
        Err(Asked(&[]))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Asked> {
        Err(Asked(fields))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Asked> {
        Err(Asked(variants))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map identifier ignored_any
    }
}

impl de::Error for Asked {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self(&[])
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing is there")
    }
}

impl std::error::Error for Asked {}

#[cfg(test)]
mod tests {
    use crate::model::{ListenSpec, Squash};

    #[test]
    fn types_know_their_words() {
        assert_eq!(super::of::<ListenSpec>(), ["addr", "netns", "udp"]);
        assert_eq!(super::of::<Squash>(), ["root", "all", "none"]);
        assert_eq!(super::of::<u32>(), [""; 0]);
    }
}
