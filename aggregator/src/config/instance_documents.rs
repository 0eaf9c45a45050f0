//! `[identity.aws]`: whose instance identity documents let an instance in.

use std::collections::BTreeMap;
use std::path::PathBuf;

use foreshadow_agent::reader::{Reader, Section, want};
use serde::Serialize;

use super::path;

/// What a document has to say, and who has to have signed it.
#[derive(Debug, Clone, Serialize)]
pub struct InstanceDocuments {
    /// Twelve digits each.
    pub accounts: Vec<String>,
    pub regions: Vec<String>,
    /// Directory with `REGION.pem` for each region: the RSA-2048 certificate that AWS publishes.
    pub certificates: PathBuf,
    /// By region, the SHA-256 of the certificates that may be in its file; without it any may.
    #[serde(serialize_with = "in_hexadecimal")]
    pub pins: BTreeMap<String, Vec<[u8; 32]>>,
    /// How long after its start an instance may enrol; without it at any time.
    pub longest_age_seconds: Option<u32>,
}

pub(super) fn read(reader: &mut Reader, identity: &mut Section<'_>) -> Option<InstanceDocuments> {
    let mut section = identity.section(reader, "aws");
    if !section.is_present() {
        return None;
    }
    let accounts = section.get(reader, "accounts", |value| some(value, account));
    let regions = section.get(reader, "regions", |value| some(value, region));
    let certificates = section.get(reader, "certificates", path);
    let longest_age_seconds = section.get(reader, "longest_age_seconds", want::count(60..=31_536_000));
    let known = regions.clone().unwrap_or_default();
    let pins = section.map(reader, "pins", |name, value| {
        if !known.iter().any(|region| region == name) {
            return Err("is none of identity.aws.regions".to_owned());
        }
        want::texts(value)?.iter().map(|text| crate::identity::digest(text)).collect::<Result<Vec<_>, _>>()
    });
    for (key, there) in
        [("accounts", accounts.is_some()), ("regions", regions.is_some()), ("certificates", certificates.is_some())]
    {
        if !there && !section.has(key) {
            section.fault(reader, key, "is missing");
        }
    }
    section.finish(reader);
    Some(InstanceDocuments {
        accounts: accounts?,
        regions: regions?,
        certificates: certificates?,
        pins: pins.unwrap_or_default().into_iter().collect(),
        longest_age_seconds,
    })
}

/// At least one of what `check` takes: an empty list would let nobody in, or be taken for everybody.
fn some(value: &toml_edit::Value, check: impl Fn(&str) -> Result<(), String>) -> Result<Vec<String>, String> {
    let texts = want::texts(value)?;
    if texts.is_empty() {
        return Err("name at least one".to_owned());
    }
    texts.iter().try_for_each(|text| check(text))?;
    Ok(texts)
}

fn account(text: &str) -> Result<(), String> {
    let right = text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
    if right { Ok(()) } else { Err(format!("{text:?}: accounts are twelve digits")) }
}

fn region(text: &str) -> Result<(), String> {
    let letters = text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if letters && text.contains('-') { Ok(()) } else { Err(format!("{text:?}: regions are named like eu-west-1")) }
}

fn in_hexadecimal<S: serde::Serializer>(
    pins: &BTreeMap<String, Vec<[u8; 32]>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let texts = |of: &[[u8; 32]]| of.iter().map(|pin| crate::identity::hex(pin)).collect::<Vec<_>>();
    serializer.collect_map(pins.iter().map(|(region, of)| (region, texts(of))))
}

#[cfg(test)]
mod tests {
    use super::super::Config;

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let faults = |text: &str| -> Vec<String> {
            Config::parse("f.toml", text).expect_err("faults").iter().map(ToString::to_string).collect()
        };
        let found = faults("[identity.aws]\naccounts = [\"12\"]\nregions = []\n");
        assert!(found[0].starts_with("f.toml:1: identity.aws.certificates: is missing"), "{found:?}");
        assert!(found[1].starts_with("f.toml:2: identity.aws.accounts: \"12\": accounts are twelve"), "{found:?}");
        assert!(found[2].starts_with("f.toml:3: identity.aws.regions: name at least one"), "{found:?}");
        let right = "[identity.aws]\naccounts = [\"123456789012\"]\nregions = [\"eu-west-1\"]\ncertificates = \"c\"\n";
        assert!(Config::parse("f.toml", right).expect("right").identity.aws.is_some());
        let found = faults(&format!("{right}pins = {{ eu-west-2 = [\"00\"], eu-west-1 = [\"00\"] }}\n"));
        assert!(found[0].contains("identity.aws.pins.eu-west-2: is none of"), "{found:?}");
        assert!(found[1].contains("identity.aws.pins.eu-west-1: must be 64"), "{found:?}");
    }
}
