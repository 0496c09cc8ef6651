//! One declaration of each object: its type, how it is read, and its shape.

use serde::de::{Deserialize, Error, MapAccess};

/// Reads the value of a field that must not have been there before.
///
/// # Errors
/// What is wrong with the value, or that the field stands twice.
pub(super) fn read_once<'de, T: Deserialize<'de>, M: MapAccess<'de>>(
    slot: &mut Option<T>,
    map: &mut M,
) -> Result<(), M::Error> {
    if slot.is_some() {
        return Err(M::Error::custom("duplicate field"));
    }
    // Not an `Option`: `null` is a value of the wrong type, it does not stand for absence.
    *slot = Some(map.next_value()?);
    Ok(())
}

/// The name of a field in the file: its own, or the one written beside it.
macro_rules! name_in_file {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident $name:literal) => {
        $name
    };
}

/// Declares an object of a file. Every field becomes an `Option`; the text that the strings borrow
/// from has the lifetime `'a`. A field whose name in the file is a word of the language is declared
/// as `kind ("type"): …`. `Debug` prints the type's name and no value, since some objects hold
/// credentials.
macro_rules! object {
    (
        $(#[$meta:meta])*
        pub struct $Name:ident<$life:lifetime> {
            $( $(#[$field_meta:meta])* $field:ident $(($json:literal))?: $Type:ty, )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Default)]
        pub struct $Name<$life> {
            $( $(#[$field_meta])* pub $field: Option<$Type>, )*
        }

        impl<$life> $crate::policy::raw::shape::Shaped for $Name<$life> {
            const SHAPE: $crate::policy::raw::shape::Shape =
                $crate::policy::raw::shape::Shape::Object(&[
                    $( $crate::policy::raw::shape::Field {
                        name: $crate::policy::raw::object::name_in_file!($field $($json)?),
                        shape: &<$Type as $crate::policy::raw::shape::Shaped>::SHAPE,
                    }, )*
                ]);
        }

        impl ::std::fmt::Debug for $Name<'_> {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.debug_struct(stringify!($Name)).finish_non_exhaustive()
            }
        }

        impl<'de: $life, $life> ::serde::Deserialize<'de> for $Name<$life> {
            fn deserialize<D: ::serde::Deserializer<'de>>(
                deserializer: D,
            ) -> Result<Self, D::Error> {
                struct Fields<$life>(::std::marker::PhantomData<$Name<$life>>);

                impl<'de: $life, $life> ::serde::de::Visitor<'de> for Fields<$life> {
                    type Value = $Name<$life>;

                    fn expecting(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                        f.write_str("an object")
                    }

                    fn visit_map<M: ::serde::de::MapAccess<'de>>(
                        self,
                        mut map: M,
                    ) -> Result<Self::Value, M::Error> {
                        let mut object = $Name::default();
                        while let Some(key) = map.next_key::<$crate::policy::raw::Text<'de>>()? {
                            match &*key {
                                $( $crate::policy::raw::object::name_in_file!(
                                    $field $($json)?
                                ) => $crate::policy::raw::object::read_once(
                                    &mut object.$field,
                                    &mut map,
                                )?, )*
                                key if $crate::policy::raw::shape::is_comment(key) => {
                                    map.next_value::<$crate::policy::raw::syntax::Anything>()?;
                                }
                                _ => return Err(::serde::de::Error::custom("unknown field")),
                            }
                        }
                        Ok(object)
                    }
                }

                deserializer.deserialize_map(Fields(::std::marker::PhantomData))
            }
        }
    };
}

pub(super) use {name_in_file, object};
