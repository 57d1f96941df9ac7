//! Validated names. A value of these types has passed the check, also when it was read from JSON; nothing downstream
//! checks again.

use std::borrow::{Borrow, Cow};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::limits::NAME_BYTES;

/// Why a name was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was given.
    #[error("a name must not be empty")]
    Empty,
    /// Too long.
    #[error("a name has at most {NAME_BYTES} bytes")]
    TooLong,
    /// A character that may not stand where it stands.
    #[error("{0:?} may not stand at byte {1} of a name")]
    Character(char, usize),
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $check:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks and wraps a name.
            pub fn new(text: &str) -> Result<Self, NameError> {
                $check(text)?;
                Ok(Self(Arc::from(text)))
            }

            /// The name.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
                out.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = <Cow<'_, str>>::deserialize(from)?;
                Self::new(&text).map_err(de::Error::custom)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name!(
    /// The name of a project: lower-case letters, digits, `-` and `_`, beginning with a letter or digit
    /// (Compose Specification, "Name top-level element").
    ProjectName,
    check_project
);
name!(
    /// The name of a service: letters, digits, `.`, `-` and `_` (Compose Specification, "Services").
    ServiceName,
    check_service
);
name!(
    /// The name of one running copy of a service: the service's name, `-`, and an ordinal from 1,
    /// as in `catalog-2`. Unique in a project at any moment; used again after the copy is gone.
    InstanceId,
    check_service
);

impl InstanceId {
    /// The name of the `ordinal`th copy of a service. Ordinals begin at 1.
    pub fn of(service: &ServiceName, ordinal: u32) -> Self {
        Self(Arc::from(format!("{service}-{ordinal}")))
    }
}

fn check(text: &str, allowed: impl Fn(usize, char) -> bool) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > NAME_BYTES {
        return Err(NameError::TooLong);
    }
    match text.char_indices().find(|(at, c)| !allowed(*at, *c)) {
        Some((at, c)) => Err(NameError::Character(c, at)),
        None => Ok(()),
    }
}

fn check_project(text: &str) -> Result<(), NameError> {
    check(text, |at, c| c.is_ascii_lowercase() || c.is_ascii_digit() || (at > 0 && matches!(c, '-' | '_')))
}

fn check_service(text: &str) -> Result<(), NameError> {
    check(text, |at, c| c.is_ascii_alphanumeric() || c == '_' || (at > 0 && matches!(c, '-' | '.')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn project_names_are_composes() {
        assert!(ProjectName::new("shop-2_b").is_ok());
        assert_eq!(ProjectName::new("-a"), Err(NameError::Character('-', 0)));
        assert_eq!(ProjectName::new("Shop"), Err(NameError::Character('S', 0)));
        assert_eq!(ProjectName::new(""), Err(NameError::Empty));
        assert_eq!(ProjectName::new(&"a".repeat(NAME_BYTES + 1)), Err(NameError::TooLong));
    }

    #[test]
    fn a_service_name_cannot_leave_its_folder() {
        assert!(ServiceName::new("Web.api-1_x").is_ok());
        for bad in ["..", ".", "a/b", "a b", "é", "-x", "a\0"] {
            assert!(ServiceName::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_name_from_json_is_checked_too() {
        let name: ServiceName = serde_json::from_str("\"a\\u0062\"").unwrap();
        assert_eq!(serde_json::to_string(&name).unwrap(), "\"ab\"");
        assert!(serde_json::from_str::<ServiceName>("\"../x\"").is_err());
    }
}
