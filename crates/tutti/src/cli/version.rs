//! `tutti version`.

use super::Context;

/// Print the version.
#[derive(Debug, clap::Args)]
pub(crate) struct Version {
    /// Only the number
    #[arg(long)]
    short: bool,
}

impl Version {
    pub(crate) fn run(&self, context: &Context) -> anyhow::Result<i32> {
        let version = env!("CARGO_PKG_VERSION");
        if context.json {
            let os = format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH);
            context.print_json(&serde_json::json!({ "version": version, "platform": os }))?;
        } else if self.short {
            context.out.line(version);
        } else {
            context.out.line(&format!(
                "tutti {version} ({}-{})",
                std::env::consts::OS,
                std::env::consts::ARCH
            ));
        }
        Ok(0)
    }
}
