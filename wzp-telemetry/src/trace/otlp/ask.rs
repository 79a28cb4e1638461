//! How receivers are asked, whatever they speak.

use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;

/// How long the receiver may take to accept a batch.
pub(super) const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// TLS for a client that trusts these.
pub(super) fn client_config(roots: RootCertStore) -> Result<rustls::ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider);
    let builder = builder.with_protocol_versions(rustls::ALL_VERSIONS)?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
