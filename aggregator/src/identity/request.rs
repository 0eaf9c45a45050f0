//! An agent's signing request (PKCS#10, RFC 2986), read as narrowly as agents write it: a P-256 key, signed by itself with
//! SHA-256. What it asks for, name and extensions, is skipped: it gets what the aggregator decides.
//!
//! Ours, sixty lines, because the general readers of X.509 are ten times what both binaries need of them. Only the
//! definite lengths of DER are known, nothing is guessed, and everything else is refused.

use rustls::pki_types::alg_id;
use sha2::{Digest as _, Sha256};

/// Longest signing request, bytes; an agent's has less than 400.
const REQUEST_BYTES: usize = 8 * 1_024;
pub(super) const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
pub(super) const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OBJECT_IDENTIFIER: u8 = 0x06;
/// An uncompressed point of P-256: 4, x, y (SEC 1, 2.3.3).
const POINT_BYTES: usize = 65;

/// Why a signing request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    #[error("a signing request has {REQUEST_BYTES} bytes at most")]
    TooLong,
    #[error("this is no signing request (PKCS#10, DER)")]
    Unreadable,
    #[error("keys are P-256, requests signed with SHA-256")]
    Algorithm,
    #[error("the signing request is not signed by its own key")]
    Signature,
}

/// A request whose signature was checked: whoever made it has the key.
#[derive(Debug)]
pub struct Request {
    point: [u8; POINT_BYTES],
    /// SHA-256 of the public key.
    pub key: [u8; 32],
}

impl Request {
    /// Reads a PKCS#10 request, DER.
    pub fn read(der: &[u8]) -> Result<Self, RequestError> {
        if der.len() > REQUEST_BYTES {
            return Err(RequestError::TooLong);
        }
        let wrong = RequestError::Unreadable;
        let mut rest = der;
        let mut request = take(&mut rest, SEQUENCE).ok_or(wrong)?;
        let before = request;
        let mut info = take(&mut request, SEQUENCE).ok_or(wrong)?;
        let signed = before.get(..before.len() - request.len()).ok_or(wrong)?;
        let signed_with = take(&mut request, SEQUENCE).ok_or(wrong)?;
        let signature = take(&mut request, BIT_STRING).and_then(whole_bytes).ok_or(wrong)?;
        if !rest.is_empty() || !request.is_empty() || take(&mut info, INTEGER) != Some(&[0]) {
            return Err(wrong);
        }
        take(&mut info, SEQUENCE).ok_or(wrong)?;
        let mut key = take(&mut info, SEQUENCE).ok_or(wrong)?;
        let kind = take(&mut key, SEQUENCE).ok_or(wrong)?;
        let point = take(&mut key, BIT_STRING).and_then(whole_bytes).ok_or(wrong)?;
        if kind != alg_id::ECDSA_P256.as_ref() || signed_with != alg_id::ECDSA_SHA256.as_ref() {
            return Err(RequestError::Algorithm);
        }
        let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
        let fits = |known: &&&dyn rustls::pki_types::SignatureVerificationAlgorithm| {
            known.public_key_alg_id() == alg_id::ECDSA_P256 && known.signature_alg_id() == alg_id::ECDSA_SHA256
        };
        let algorithm = algorithms.all.iter().find(fits).ok_or(RequestError::Algorithm)?;
        algorithm.verify_signature(point, signed, signature).map_err(|_| RequestError::Signature)?;
        let point: [u8; POINT_BYTES] = point.try_into().map_err(|_| RequestError::Algorithm)?;
        Ok(Self { point, key: Sha256::digest(point).into() })
    }
}

impl rcgen::PublicKeyData for Request {
    fn der_bytes(&self) -> &[u8] {
        &self.point
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

/// The content of the next element, which has this tag; the rest goes on behind it.
pub(super) fn take<'a>(rest: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    let (found, after) = rest.split_first()?;
    let (first, after) = after.split_first()?;
    let (length, after) = match first {
        short @ 0..=0x7f => (usize::from(*short), after),
        0x81 => (usize::from(*after.first()?), after.get(1..)?),
        0x82 => (usize::from(u16::from_be_bytes([*after.first()?, *after.get(1)?])), after.get(2..)?),
        _ => return None,
    };
    let (content, behind) = after.split_at_checked(length)?;
    *rest = behind;
    (*found == tag).then_some(content)
}

/// The key in a `SubjectPublicKeyInfo` (the content of its sequence; RFC 5280, 4.1.2.7).
pub(super) fn public_key(mut info: &[u8]) -> Option<&[u8]> {
    take(&mut info, SEQUENCE)?;
    take(&mut info, BIT_STRING).and_then(whole_bytes).filter(|_| info.is_empty())
}

/// A bit string of whole bytes.
fn whole_bytes(content: &[u8]) -> Option<&[u8]> {
    content.split_first().filter(|(unused, _)| **unused == 0).map(|(_, bytes)| bytes)
}

/// A name (the content of its sequence), attribute by attribute, as one that can be written again to the byte;
/// `None` where it has what is seldom seen: several attributes in one place, old character sets.
pub fn name(mut content: &[u8]) -> Option<rcgen::DistinguishedName> {
    let mut name = rcgen::DistinguishedName::new();
    while !content.is_empty() {
        let mut set = take(&mut content, SET)?;
        let mut pair = take(&mut set, SEQUENCE)?;
        let kind = rcgen::DnType::from_oid(&identifier(take(&mut pair, OBJECT_IDENTIFIER)?)?);
        let text = pair.first().copied()?;
        let value = std::str::from_utf8(take(&mut pair, text)?).ok()?.to_owned();
        let value = match text {
            0x0c => rcgen::DnValue::Utf8String(value),
            0x13 => rcgen::DnValue::PrintableString(value.try_into().ok()?),
            0x16 => rcgen::DnValue::Ia5String(value.try_into().ok()?),
            _ => return None,
        };
        if !set.is_empty() || !pair.is_empty() || name.get(&kind).is_some() {
            return None;
        }
        name.push(kind, value);
    }
    Some(name)
}

/// The numbers of an object identifier (X.690, 8.19).
fn identifier(content: &[u8]) -> Option<Vec<u64>> {
    let (mut numbers, mut number) = (Vec::new(), 0_u64);
    for byte in content {
        number = number.checked_mul(128)?.checked_add(u64::from(byte & 0x7f))?;
        if byte & 0x80 == 0 {
            match numbers.is_empty() {
                true => numbers.extend([(number / 40).min(2), number - 40 * (number / 40).min(2)]),
                false => numbers.push(number),
            }
            number = 0;
        }
    }
    (content.last()? & 0x80 == 0).then_some(numbers)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    fn request(key: &KeyPair) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["asked.example.org".to_owned()]).expect("a name");
        params.distinguished_name.push(DnType::CommonName, "i-1");
        params.serialize_request(key).expect("a request").der().to_vec()
    }

    #[test]
    fn a_request_is_signed_by_its_own_key_or_is_none() {
        let key = KeyPair::generate().expect("a key");
        let good = request(&key);
        let read = Request::read(&good).expect("reads");
        assert_eq!(read.point.as_slice(), key.public_key_raw());
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                assert!(Request::read(&bad).is_err(), "bit {bit} of byte {at} flipped, and it is signed all the same");
            }
            assert!(Request::read(&good[..at]).is_err(), "cut at {at}");
        }
        assert!(Request::read(&[good.as_slice(), &[0]].concat()).is_err(), "something behind it");
        assert_eq!(Request::read(&vec![0; REQUEST_BYTES + 1]).expect_err("refused"), RequestError::TooLong);
        for other in [&rcgen::PKCS_ED25519, &rcgen::PKCS_ECDSA_P384_SHA384] {
            let other = request(&KeyPair::generate_for(other).expect("a key"));
            assert_eq!(Request::read(&other).expect_err("refused"), RequestError::Algorithm);
        }
    }

    #[test]
    fn a_name_is_read_as_it_will_be_written() {
        let mut made = rcgen::DistinguishedName::new();
        made.push(DnType::CountryName, rcgen::DnValue::PrintableString("DE".try_into().expect("printable")));
        made.push(DnType::OrganizationName, "Müller & Söhne");
        made.push(DnType::CustomDnType(vec![2, 5, 4, 5]), "serial");
        made.push(DnType::CommonName, "ca");
        let mut params = CertificateParams::new(Vec::new()).expect("params");
        params.distinguished_name = made.clone();
        let certificate = params.self_signed(&KeyPair::generate().expect("a key")).expect("signed");
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate.der().clone()).expect("added");
        assert_eq!(name(&roots.roots[0].subject), Some(made));
        for wrong in [&[0x31, 0x00][..], &[0x30, 0x00], &[0x31, 0x05, 0x30, 0x03]] {
            assert_eq!(name(wrong), None);
        }
    }
}
