//! The roles that a process can have; all of them by default. What each needs is said in the app's one table.

use std::fmt;
use std::str::FromStr;

/// A part of Tutti that can run in a process of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Keeps the catalog of instances and checks their health.
    Registry,
    /// Runs services.
    Supervisor,
    /// Serves traffic: from outside and between services.
    Edge,
}

impl Role {
    /// Every role, in the order in which they start.
    pub const ALL: [Role; 3] = [Role::Registry, Role::Supervisor, Role::Edge];

    /// The name on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Registry => "registry",
            Role::Supervisor => "supervisor",
            Role::Edge => "edge",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// No such role.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no role {0:?}; the roles are registry, supervisor and edge")]
pub struct UnknownRole(pub String);

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        let known = Role::ALL.into_iter().find(|role| role.as_str() == text);
        known.ok_or_else(|| UnknownRole(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_role_reads_back_and_the_error_names_them_all() {
        let error = UnknownRole("proxy".to_owned());
        assert_eq!("proxy".parse::<Role>(), Err(UnknownRole("proxy".to_owned())));
        for role in Role::ALL {
            assert_eq!(role.to_string().parse(), Ok(role));
            assert!(error.to_string().contains(role.as_str()), "{error}");
        }
    }
}
