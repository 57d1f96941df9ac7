//! What a compose file may say, as data: every key with the shape of its value.
//!
//! One table serves three readers: [`super::check`] finds unknown keys and wrong types, `normal` prints the
//! normalised model, and the notices of keys without effect in process mode come from it. It follows the Compose
//! Specification; the tables of the key groups are in the files beside this one.

pub(crate) mod build;
pub(crate) mod deploy;
pub(crate) mod service;
pub(crate) mod top;
pub(crate) mod values;

/// The shape of a value.
#[derive(Debug)]
pub(crate) enum Shape {
    /// A string.
    Text,
    /// A string with a syntax.
    Checked(fn(&str) -> Result<(), String>),
    /// A string or number, kept as text.
    Scalar,
    /// One of these strings.
    OneOf(&'static [&'static str]),
    /// A boolean; or a string that says one, as variables do.
    Bool,
    /// A boolean, and nothing else.
    StrictBool,
    /// A whole number within bounds; or a string that says one.
    Int(i64, i64),
    /// A number; or a string that says one.
    Number,
    /// A byte size.
    Bytes,
    /// A duration.
    Duration,
    /// A list.
    List(&'static Shape),
    /// A list without repetitions.
    Set(&'static Shape),
    /// A string or a list of strings, kept as a list.
    OneOrMany,
    /// A command: a string, a list, or null.
    Command,
    /// `KEY: value` or a list of `KEY=value`. What stands for a missing value is said by [`Blank`].
    Dict(Blank),
    /// A mapping from names of the user's choice.
    Map(Names, &'static Shape),
    /// A mapping with known keys.
    Object(&'static Object),
    /// Either of these, decided by the kind of the value.
    Either(&'static [Shape]),
    /// Null or this.
    OrNull(&'static Shape),
}

/// What a missing value of a [`Shape::Dict`] means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blank {
    /// It is to be taken from the environment: null.
    Null,
    /// The empty string.
    Empty,
}

/// Which names a mapping may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    /// Any.
    Any,
    /// Compose's names of resources: letters, digits, `.`, `_` and `-`.
    Resource,
}

/// A mapping with known keys.
#[derive(Debug)]
pub(crate) struct Object {
    /// What it is, for messages: `a service`.
    pub what: &'static str,
    /// Its keys.
    pub fields: &'static [Field],
    /// Keys that must be there.
    pub required: &'static [&'static str],
    /// Whether `x-` keys may stand here.
    pub extensions: bool,
}

/// A key.
#[derive(Debug)]
pub(crate) struct Field {
    /// Its name.
    pub name: &'static str,
    /// Its value.
    pub shape: Shape,
    /// How it is printed.
    pub print: Print,
    /// What becomes of it in process mode.
    pub effect: Effect,
}

/// When a key is printed in the normalised model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Print {
    /// When its value is not empty, zero or false.
    Filled,
    /// When it was given.
    Given,
    /// Always: `null`, `{}` or `false` when it was not given.
    Always,
    /// Never.
    Never,
}

/// What becomes of a key in process mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It is honoured.
    Full,
    /// It has no effect, for this reason.
    Without(&'static str),
}

impl Field {
    pub(crate) const fn given(mut self) -> Self {
        self.print = Print::Given;
        self
    }

    pub(crate) const fn always(mut self) -> Self {
        self.print = Print::Always;
        self
    }

    pub(crate) const fn hidden(mut self) -> Self {
        self.print = Print::Never;
        self
    }

    pub(crate) const fn without(mut self, reason: &'static str) -> Self {
        self.effect = Effect::Without(reason);
        self
    }
}

/// A key that is honoured and printed when it is filled.
pub(crate) const fn field(name: &'static str, shape: Shape) -> Field {
    Field { name, shape, print: Print::Filled, effect: Effect::Full }
}

/// A mapping that may have `x-` keys and needs none.
pub(crate) const fn object(what: &'static str, fields: &'static [Field]) -> Object {
    Object { what, fields, required: &[], extensions: true }
}

impl Object {
    pub(crate) const fn requiring(mut self, required: &'static [&'static str]) -> Self {
        self.required = required;
        self
    }

    pub(crate) const fn closed(mut self) -> Self {
        self.extensions = false;
        self
    }

    /// The field of a name.
    pub(crate) fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}

pub(crate) const NO_CONTAINER: &str =
    "services are processes here, without a container's own limits and devices";
pub(crate) const NO_NETWORK: &str = "services share this machine's network; peers are reached through Tutti";
pub(crate) const NO_IMAGE: &str = "nothing is built into or pulled as an image";
pub(crate) const NO_MOUNT: &str = "nothing is mounted: a process sees this machine's files. Where a variable or an argument \
     names the path inside the container, it becomes the folder outside (`tutti config print --rewrites`)";
pub(crate) const NO_SWARM: &str = "it speaks of a cluster";
