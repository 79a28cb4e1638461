//! Versions, cipher suites and groups: what of a TLS library's choices is left.

use std::fmt::Display;

use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};
use rustls::{
    NamedGroup, SignatureAlgorithm, SupportedCipherSuite, SupportedProtocolVersion, version,
};
use serde::Deserialize;

/// What is spoken here of `min_version` and `max_version`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(super) enum Version {
    #[serde(rename = "TLS12")]
    Tls12,
    #[serde(rename = "TLS13")]
    Tls13,
}

/// The versions from `least` to `most`.
///
/// # Errors
/// There are none.
pub(super) fn versions(
    least: Version,
    most: Version,
) -> Result<Vec<&'static SupportedProtocolVersion>, String> {
    if least > most {
        return Err("max_version is below min_version, so there would be none".to_owned());
    }
    let all = [(Version::Tls13, &version::TLS13), (Version::Tls12, &version::TLS12)];
    let chosen = all.into_iter().filter(|(version, _)| (least..=most).contains(version));
    Ok(chosen.map(|(_, version)| version).collect())
}

/// A provider that offers what is named, by the names that Go has for it, in that order.
/// As in Go, cipher suites are chosen for TLS 1.2 alone: all of TLS 1.3 are good.
///
/// # Errors
/// One is not offered here.
pub(super) fn provider(
    suites: Option<&[String]>,
    groups: Option<&[String]>,
) -> Result<CryptoProvider, String> {
    let mut provider = aws_lc_rs::default_provider();
    if let Some(names) = suites {
        let all = provider.cipher_suites.clone();
        let chosen = chosen("cipher_suites", names, &all, suite_name)?;
        let is_of_13 = |suite: &SupportedCipherSuite| suite.tls13().is_some();
        provider.cipher_suites = all.into_iter().filter(is_of_13).collect();
        provider.cipher_suites.extend(chosen.into_iter().filter(|suite| !is_of_13(suite)));
    }
    if let Some(names) = groups {
        provider.kx_groups = chosen("curve_preferences", names, &provider.kx_groups, group_name)?;
    }
    Ok(provider)
}

/// Whether one of the suites can be had with a key of that kind. In TLS 1.3 suites say nothing
/// of keys.
pub(super) fn fit(
    suites: &[SupportedCipherSuite],
    versions: &[&'static SupportedProtocolVersion],
    key: SignatureAlgorithm,
) -> bool {
    versions.contains(&&version::TLS13)
        || suites
            .iter()
            .any(|suite| suite.tls13().is_none() && suite.usable_for_signature_algorithm(key))
}

fn chosen<T: Copy, N: Display>(
    key: &str,
    names: &[String],
    all: &[T],
    name: impl Fn(&T) -> N,
) -> Result<Vec<T>, String> {
    let known = || all.iter().map(|one| name(one).to_string()).collect::<Vec<_>>().join(", ");
    if names.is_empty() {
        return Err(format!("{key} has none, so nobody could connect; here are {}", known()));
    }
    let find = |wanted: &String| {
        let found = all.iter().find(|one| name(one).to_string() == *wanted);
        // Not shown, as nothing of the file is.
        found
            .copied()
            .ok_or_else(|| format!("{key} has one that is not here; here are {}", known()))
    };
    names.iter().map(find).collect()
}

/// Go calls those of TLS 1.3 as RFC 8446 does.
fn suite_name(suite: &SupportedCipherSuite) -> String {
    format!("{:?}", suite.suite()).replace("TLS13_", "TLS_")
}

fn group_name(group: &&'static dyn SupportedKxGroup) -> String {
    match group.name() {
        NamedGroup::secp256r1 => "CurveP256".to_owned(),
        NamedGroup::secp384r1 => "CurveP384".to_owned(),
        NamedGroup::secp521r1 => "CurveP521".to_owned(),
        other => format!("{other:?}"),
    }
}
