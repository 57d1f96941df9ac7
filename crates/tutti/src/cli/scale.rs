//! `tutti scale SERVICE=N …`.

use std::collections::BTreeMap;

use super::{Context, operate};
use crate::control::wire::Scale as Request;

/// Set how many instances of a service run.
#[derive(Debug, clap::Args)]
pub(crate) struct Scale {
    /// What to scale
    #[arg(required = true, value_name = "SERVICE=N", value_parser = pair)]
    services: Vec<(String, u32)>,
}

/// Reads `SERVICE=N`.
pub(crate) fn pair(text: &str) -> Result<(String, u32), String> {
    let (service, count) = text.split_once('=').ok_or("expected SERVICE=N, such as web=3")?;
    let count = count.parse().map_err(|_| format!("{count:?} is not a number of instances"))?;
    Ok((service.to_owned(), count))
}

impl Scale {
    pub(crate) fn run(&self, context: &Context) -> anyhow::Result<i32> {
        let services: BTreeMap<String, u32> = self.services.iter().cloned().collect();
        operate::run(context, "/v1/scale", &Request { services }, "ready")
    }
}

#[cfg(test)]
mod tests {
    use super::pair;

    #[test]
    fn pairs_are_read_and_others_refused() {
        assert_eq!(pair("web=3"), Ok(("web".into(), 3)));
        assert!(pair("web").is_err() && pair("web=-1").is_err() && pair("web=many").is_err());
    }
}
