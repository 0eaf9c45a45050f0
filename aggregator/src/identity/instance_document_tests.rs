//! Against documents that OpenSSL signed: `tests/oracles/instance_documents.sh`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::*;

const NOW: i64 = 1_800_000_000_000_000;
const STARTED: i64 = NOW - 600_000_000;

fn made() -> BTreeMap<String, String> {
    serde_json::from_str(include_str!("instance_documents.json")).expect("fixtures")
}

fn configured(directory: PathBuf) -> config::InstanceDocuments {
    config::InstanceDocuments {
        accounts: vec!["123456789012".to_owned()],
        regions: vec!["eu-west-1".to_owned()],
        certificates: directory,
        pins: BTreeMap::new(),
        longest_age_seconds: None,
    }
}

/// With this PEM as the certificate of eu-west-1.
fn reading(pem: &str, change: impl FnOnce(&mut config::InstanceDocuments)) -> Result<InstanceDocuments, String> {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("eu-west-1.pem"), pem).expect("written");
    let mut config = configured(directory.path().to_owned());
    change(&mut config);
    InstanceDocuments::read(&config).map_err(|problems| problems.join("\n"))
}

fn id(text: &str) -> Id {
    Id::new("instance", text).expect("an id")
}

#[test]
fn what_aws_signs_is_believed_in_every_way_of_writing_it() {
    let made = made();
    let documents = reading(&made["region.pem"], |_| {}).expect("reads");
    let expected =
        Attested { account: "123456789012".to_owned(), region: "eu-west-1".to_owned(), started_micros: STARTED };
    for name in ["good.p7", "definite.p7", "bare.p7"] {
        let found = documents.check(made[name].as_bytes(), &id("i-0123456789abcdef0"), NOW);
        assert_eq!(found.expect(name), expected);
    }
    let armoured = format!("-----BEGIN PKCS7-----\r\n{}-----END PKCS7-----\n", made["good.p7"].replace('\n', "\r\n"));
    assert!(documents.check(armoured.as_bytes(), &id("i-0123456789abcdef0"), NOW).is_ok());
    // A second certificate in the file, as while AWS changes it.
    let both = format!("{}{}", made["other.pem"], made["region.pem"]);
    let both = reading(&both, |_| {}).expect("reads");
    assert!(both.check(made["good.p7"].as_bytes(), &id("i-0123456789abcdef0"), NOW).is_ok());
}

#[test]
fn what_aws_did_not_sign_or_not_for_this_is_refused() {
    let made = made();
    let documents = reading(&made["region.pem"], |_| {}).expect("reads");
    let check = |name: &str, instance: &str, now: i64| {
        let found = documents.check(made[name].as_bytes(), &id(instance), now);
        found.map_err(|error| error.to_string()).expect_err(name)
    };
    let own = "i-0123456789abcdef0";
    for (name, instance, now, word) in [
        ("forged.p7", own, NOW, "not that of the certificate's key"),
        ("carried.p7", own, NOW, "not that of the certificate's key"),
        ("detached.p7", own, NOW, "no PKCS#7 signed data"),
        ("sha1.p7", own, NOW, "no PKCS#7 signed data"),
        ("sha512.p7", own, NOW, "no PKCS#7 signed data"),
        ("curve.p7", own, NOW, "no PKCS#7 signed data"),
        ("twice.p7", own, NOW, "no PKCS#7 signed data"),
        ("nothing.p7", own, NOW, "no instance identity document"),
        ("account.p7", own, NOW, "account 210987654321"),
        ("region.p7", own, NOW, "region us-east-1"),
        ("good.p7", "i-0", NOW, "i-0 is claimed"),
        ("good.p7", own, STARTED - AHEAD_MICROS - 1_000_000, "started 301 s from now"),
        // Before the certificate begins, and after it ended.
        ("good.p7", own, NOW - 365 * 86_400_000_000, "no certificate of region eu-west-1"),
        ("good.p7", own, NOW + 20 * 365 * 86_400_000_000, "no certificate of region eu-west-1"),
    ] {
        let said = check(name, instance, now);
        assert!(said.contains(word), "{name}: {said}");
    }
    assert!(check_text(&documents, "!").contains("base64"));
    assert!(check_text(&documents, "").contains("PKCS#7"));
    assert!(check_text(&documents, &"A".repeat(DOCUMENT_BYTES + 1)).contains("at most"));
    let strict = reading(&made["region.pem"], |config| config.longest_age_seconds = Some(600)).expect("reads");
    assert!(strict.check(made["good.p7"].as_bytes(), &id(own), NOW).is_ok());
    let late = strict.check(made["good.p7"].as_bytes(), &id(own), NOW + 1_000_000);
    assert!(late.expect_err("too old").to_string().contains("started 601 s ago"));
}

fn check_text(documents: &InstanceDocuments, text: &str) -> String {
    documents.check(text.as_bytes(), &id("i-0"), NOW).expect_err("refused").to_string()
}

#[test]
fn no_byte_of_it_can_be_altered() {
    let made = made();
    let documents = reading(&made["region.pem"], |_| {}).expect("reads");
    let lines = made["good.p7"].replace('\n', "");
    let good = STANDARD.decode(&lines).expect("base64");
    let own = id("i-0123456789abcdef0");
    let as_it_was = documents.check(made["good.p7"].as_bytes(), &own, NOW).expect("good");
    let mut believed = 0;
    for at in 0..good.len() {
        for bit in [0, 3, 7] {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            // What neither the signature nor the checks go by: versions, and who it says has signed.
            if let Ok(found) = documents.check(STANDARD.encode(&bad).as_bytes(), &own, NOW) {
                assert_eq!(found, as_it_was, "bit {bit} of byte {at}");
                believed += 1;
            }
        }
        assert!(documents.check(STANDARD.encode(&good[..at]).as_bytes(), &own, NOW).is_err(), "cut at {at}");
    }
    assert!(believed < 300, "{believed} alterations changed nothing of what is believed");
    let content = SignedData::read(&good).expect("reads").claimed().to_vec();
    let begins = good.windows(content.len()).position(|window| window == content).expect("inside");
    for at in begins..begins + content.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        assert!(documents.check(STANDARD.encode(&bad).as_bytes(), &own, NOW).is_err(), "byte {at} of the document");
    }
}

#[test]
fn a_certificate_that_will_not_do_is_named_with_what_to_do() {
    let made = made();
    let refused = |pem: &str| reading(pem, |_| {}).expect_err("refused");
    assert!(refused(&made["short.pem"]).contains("take the one named RSA-2048"));
    assert!(refused(&made["curve.pem"]).contains("take the one named RSA-2048"));
    assert!(refused("").contains("no certificate"));
    let missing = InstanceDocuments::read(&configured("/nowhere".into())).expect_err("missing");
    assert!(missing[0].starts_with("/nowhere/eu-west-1.pem: cannot be read"), "{missing:?}");
    let pin = |config: &mut config::InstanceDocuments, pin| {
        config.pins = BTreeMap::from([("eu-west-1".to_owned(), vec![pin])]);
    };
    let other = reading(&made["region.pem"], |config| pin(config, [7; 32])).expect_err("another");
    assert!(other.contains("identity.aws.pins does not name"), "{other}");
    let der = CertificateDer::from_pem_slice(made["region.pem"].as_bytes()).expect("PEM");
    assert!(reading(&made["region.pem"], |config| pin(config, fingerprint(&der))).is_ok());
}
