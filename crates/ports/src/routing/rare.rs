//! Parts of routes that few routes have. A gateway may hold thousands of routes, so what one does not say costs it a pointer.

use std::ops::{Deref, DerefMut};
use std::sync::LazyLock;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Content, Guard, Resilience};

/// A `T` that takes the room of a pointer as long as it is the default.
#[derive(Clone, Debug)]
pub struct Rare<T>(Option<Box<T>>);

/// What can be absent.
pub trait Absent: Default + PartialEq + 'static {
    /// The default.
    fn absent() -> &'static Self;
}

impl<T> Default for Rare<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Absent> From<T> for Rare<T> {
    fn from(value: T) -> Self {
        Self((value != *T::absent()).then(|| Box::new(value)))
    }
}

impl<T: Absent> Deref for Rare<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.0 {
            Some(value) => value,
            None => T::absent(),
        }
    }
}

impl<T: Absent> DerefMut for Rare<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.get_or_insert_default()
    }
}

impl<T: Absent> PartialEq for Rare<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Absent + Serialize> Serialize for Rare<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (**self).serialize(serializer)
    }
}

impl<'de, T: Absent + Deserialize<'de>> Deserialize<'de> for Rare<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self::from)
    }
}

impl Absent for Guard {
    fn absent() -> &'static Self {
        static ABSENT: LazyLock<Guard> = LazyLock::new(Guard::default);
        &ABSENT
    }
}

impl Absent for Content {
    fn absent() -> &'static Self {
        static ABSENT: LazyLock<Content> = LazyLock::new(Content::default);
        &ABSENT
    }
}

impl Absent for Resilience {
    fn absent() -> &'static Self {
        static ABSENT: LazyLock<Resilience> = LazyLock::new(Resilience::default);
        &ABSENT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_takes_no_room_and_is_equal_however_it_came_to_be() {
        let mut guard = Rare::<Guard>::default();
        assert!(guard.0.is_none() && Rare::from(Guard::default()).0.is_none());
        assert!(guard.auth.is_none());
        guard.authorize = None;
        assert!(guard.0.is_some() && guard == Rare::default());
        assert_eq!(size_of::<Rare<Guard>>(), size_of::<usize>());
    }
}
