//! `tutti explain CODE`: the page of an error code, with cause and remedy. `tutti explain request ID`: what became of a request, and why.

mod request;
mod words;

use tutti_core::Code;
use tutti_core::code;

use super::Context;
use crate::term::Style;

/// Explain an error code, or what became of a request.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Explain {
    /// The code, such as TUT0301; without one, all codes are listed
    code: Option<String>,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// What became of a request, and why; without an id, the last ones
    Request(request::Request),
}

include!(concat!(env!("OUT_DIR"), "/error_pages.rs"));

impl Explain {
    pub(crate) fn run(&self, context: &Context) -> anyhow::Result<i32> {
        if let Some(What::Request(request)) = &self.what {
            return request.run(context);
        }
        let Some(text) = &self.code else {
            return list(context);
        };
        let Ok(code) = text.parse::<Code>() else {
            anyhow::bail!(
                "there is no error code {text:?}; `tutti explain` alone lists them, and `tutti explain request {text}` explains a request"
            );
        };
        let page = PAGES.iter().find(|(number, _)| *number == code.number()).map_or("", |(_, page)| page);
        if context.json {
            let value = serde_json::json!({ "code": code.to_string(), "title": code.title(), "page": page });
            context.print_json(&value)?;
        } else {
            context.out.write(page);
        }
        Ok(0)
    }
}

fn list(context: &Context) -> anyhow::Result<i32> {
    if context.json {
        let codes: Vec<_> = code::ALL
            .iter()
            .map(|(code, title)| serde_json::json!({ "code": code.to_string(), "title": title }))
            .collect();
        context.print_json(&codes)?;
        return Ok(0);
    }
    for (code, title) in code::ALL {
        context.out.line(&format!("{}  {title}", context.out.paint.on(Style::Bold, code)));
    }
    Ok(0)
}
