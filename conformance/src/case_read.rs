//! Keys of a case that take more than one form, read so that a mistake is told in the words of the file.
//!
//! What derives the reading of such keys tries each form and, where none fits, knows neither the line nor what was wrong with it.

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Unexpected, Visitor};

use crate::case::{Answers, Expect, Field, FieldRule, Statuses};

impl<'de> Deserialize<'de> for Answers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Answers;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an expectation as a table, or a list of them")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Answers, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(Answers::Many)
            }

            fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<Answers, A::Error> {
                Expect::deserialize(MapAccessDeserializer::new(table)).map(|one| Answers::One(Box::new(one)))
            }
        }

        deserializer.deserialize_any(Reader)
    }
}

/// A status code, in its range.
struct Code(u16);

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let given = i64::deserialize(deserializer)?;
        code(given).map(Code)
    }
}

fn code<E: Error>(given: i64) -> Result<u16, E> {
    let code = u16::try_from(given).ok().filter(|code| (100..600).contains(code));
    code.ok_or_else(|| E::invalid_value(Unexpected::Signed(given), &"a status code from 100 to 599"))
}

impl<'de> Deserialize<'de> for Statuses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Statuses;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a code, a list of them or a class such as \"4xx\"")
            }

            fn visit_i64<E: Error>(self, given: i64) -> Result<Statuses, E> {
                code(given).map(Statuses::One)
            }

            fn visit_str<E: Error>(self, given: &str) -> Result<Statuses, E> {
                match given.as_bytes() {
                    [b'1'..=b'5', b'x', b'x'] => Ok(Statuses::Class(given.to_owned())),
                    _ => Err(E::invalid_value(Unexpected::Str(given), &self)),
                }
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Statuses, A::Error> {
                let codes = Vec::<Code>::deserialize(SeqAccessDeserializer::new(list))?;
                Ok(Statuses::Many(codes.into_iter().map(|code| code.0).collect()))
            }
        }

        deserializer.deserialize_any(Reader)
    }
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Field;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("true, false, a text or a table")
            }

            fn visit_bool<E: Error>(self, given: bool) -> Result<Field, E> {
                Ok(Field::Present(given))
            }

            fn visit_str<E: Error>(self, given: &str) -> Result<Field, E> {
                Ok(Field::Is(given.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<Field, A::Error> {
                FieldRule::deserialize(MapAccessDeserializer::new(table)).map(Field::Rule)
            }
        }

        deserializer.deserialize_any(Reader)
    }
}
