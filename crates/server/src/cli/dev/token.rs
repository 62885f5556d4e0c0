//! The secrets of `dev`, in files of its data folder that only its owner can read.

use std::path::Path;

use anyhow::{Context, Result};

use driftlock_domain::stripe::signature::Secrets;

use crate::cli::api::{TOKEN_FILE, WEBHOOK_SECRET_FILE};
use crate::cli::private;
use crate::host::log;

/// The admin token of an earlier start, or a new one.
pub(super) fn load_or_create(data: &Path) -> Result<String> {
    secret(&data.join(TOKEN_FILE), "")
}

/// The secret that signs Stripe's sample events.
pub(super) fn webhook_secret(data: &Path) -> Result<Secrets> {
    let text = secret(&data.join(WEBHOOK_SECRET_FILE), "whsec_")?;
    Secrets::parse(&text).context("the webhook secret in the data folder")
}

fn secret(path: &Path, prefix: &str) -> Result<String> {
    let secret = match private::read(path)? {
        Some(secret) => secret,
        None => create(path, prefix)?,
    };
    log::mask(&secret);
    Ok(secret)
}

fn create(path: &Path, prefix: &str) -> Result<String> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no entropy: {error}"))?;
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let secret = format!("{prefix}{digits}");
    private::write(path, &secret)?;
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_start_finds_the_token() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = load_or_create(folder.path()).expect("made");
        assert_eq!(first.len(), 64);
        assert_eq!(load_or_create(folder.path()).expect("found"), first);
    }
}
