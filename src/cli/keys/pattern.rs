//! `keyward keys pattern`.

use clap::Args;
use serde_json::json;

use crate::cli::ClientOptions;
use crate::cli::failure::Failure;
use crate::cli::output::Fields;
use crate::domain::credential::{Prefix, pattern};

/// Tell secret scanners what our credentials look like.
#[derive(Debug, Args)]
pub struct Pattern {
    /// Only credentials of tenants with this prefix; may repeat or be a list with commas [default: any]
    #[arg(long = "prefix", value_name = "PREFIX", value_delimiter = ',', value_parser = prefix)]
    prefixes: Vec<Prefix>,
}

impl Pattern {
    pub(super) fn run(&self, options: &ClientOptions) -> Result<(), Failure> {
        let pattern = pattern(&self.prefixes);
        let value = json!({
            "regex": pattern.regex,
            "checksum": {
                "algorithm": pattern.checksum,
                "polynomial": "0x04C11DB7, reflected, as in zlib and PNG",
                "of": "every byte before the checksum, prefix included",
                "chars": pattern.checksum_chars,
                "alphabet": pattern.alphabet,
                "order": "most significant digit first, filled up with the first letter of the alphabet",
            },
        });
        options.output.value(&value, || {
            let chars = pattern.checksum_chars;
            Fields::new()
                .text("regular expression", &pattern.regex)
                .lines(
                    "checksum",
                    format!(
                        "the last {chars} characters are the {} (as in zlib and PNG) of every byte before them,\n\
                         as a number of {chars} digits, the most significant first, filled up with 0",
                        pattern.checksum
                    ),
                )
                .text("digits", &pattern.alphabet)
                .render()
        })
    }
}

fn prefix(text: &str) -> Result<Prefix, String> {
    Prefix::parse(text, "prefix").map_err(|violation| violation.rule)
}
