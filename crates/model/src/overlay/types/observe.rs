//! How requests are recorded.

use schemars::JsonSchema;
use serde::Deserialize;

use super::Several;
use super::content::Size;

/// Where and how requests are recorded.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum AccessLog {
    /// Where: a file, `stdout` or `off`.
    To(String),
    /// The whole.
    Rules(Box<LogRules>),
}

/// How requests are recorded.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LogRules {
    /// Where: a file, `stdout` or `off`. Default: `.tutti/access.log`.
    pub to: Option<String>,
    /// How a line looks: `json` (the default) or `text`.
    pub format: Option<LogFormat>,
    /// What is in a line, in this order; `request_id` and `trace_id` always are.
    pub fields: Option<Several>,
    /// So many percent of the requests that went well are recorded, the same ones at every hop of a trace; those with a status from 400 and
    /// those that failed always are. 0: only these. Default: 100.
    pub sample: Option<u32>,
    /// Requests that took longer are always recorded, too.
    pub slower_than: Option<String>,
    /// The size at which a file is put aside and a new one begun. Default: 64M.
    pub max_size: Option<Size>,
    /// How many files that were put aside are kept. Default: 4.
    pub keep: Option<u32>,
}

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object.
    #[default]
    Json,
    /// For people.
    Text,
}
