//! PKCS#7 signed data (RFC 5652, section 5) as the metadata service of EC2 gives it at `rsa2048`: one signer, RSA with
//! SHA-256, what is signed inside. Everything else is refused.
//!
//! It comes in BER with indefinite lengths, so it is taken apart by `bcder` and not by our reader of DER. The certificates
//! that it may carry are skipped: whose key signs is not for the signed to say.

#![allow(
    clippy::redundant_closure,
    reason = "by path most of them are not general enough over the lifetime of a source"
)]

use bcder::decode::{Constructed, DecodeError, Source};
use bcder::encode::{self, Values as _};
use bcder::{Captured, ConstOid, Mode, OctetString, Oid, Tag};
use bytes::Bytes;
use rustls::pki_types::{SignatureVerificationAlgorithm, alg_id};
use sha2::{Digest as _, Sha256};

const DATA: ConstOid = Oid(&[42, 134, 72, 134, 247, 13, 1, 7, 1]);
const SIGNED_DATA: ConstOid = Oid(&[42, 134, 72, 134, 247, 13, 1, 7, 2]);
const SHA_256: ConstOid = Oid(&[96, 134, 72, 1, 101, 3, 4, 2, 1]);
const RSA: ConstOid = Oid(&[42, 134, 72, 134, 247, 13, 1, 1, 1]);
const RSA_SHA_256: ConstOid = Oid(&[42, 134, 72, 134, 247, 13, 1, 1, 11]);
const CONTENT_TYPE: ConstOid = Oid(&[42, 134, 72, 134, 247, 13, 1, 9, 3]);
const MESSAGE_DIGEST: ConstOid = Oid(&[42, 134, 72, 134, 247, 13, 1, 9, 4]);

/// Why there is nothing that was signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignedDataError {
    #[error("this is no PKCS#7 signed data with one RSA and SHA-256 signature over what is in it")]
    Unreadable,
    #[error("the signature is not that of the certificate's key")]
    Signature,
}

/// What was signed, and how; nothing of it is to be believed before [`SignedData::verified_by`].
#[derive(Debug)]
pub struct SignedData {
    content: Bytes,
    signer: Signer,
}

#[derive(Debug)]
struct Signer {
    /// With them the signature is over these, and over the content by their digest of it.
    attributes: Option<Captured>,
    signature: Bytes,
}

impl SignedData {
    /// Reads `ContentInfo`, BER.
    pub fn read(ber: &[u8]) -> Result<Self, SignedDataError> {
        let read = Mode::Ber.decode(ber, |cons| {
            cons.take_sequence(|cons| {
                SIGNED_DATA.skip_if(cons)?;
                cons.take_constructed_if(Tag::CTX_0, |cons| cons.take_sequence(|cons| signed_data(cons)))
            })
        });
        read.map_err(|_| SignedDataError::Unreadable)
    }

    /// What is in it, by nobody's word yet.
    pub fn claimed(&self) -> &[u8] {
        &self.content
    }

    /// What is in it, when the owner of this key signed it. `key` is an `RSAPublicKey` (RFC 8017, A.1.1), DER, of 2048 bits
    /// at least.
    pub fn verified_by(&self, key: &[u8]) -> Result<&[u8], SignedDataError> {
        let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
        let fits = |known: &&&dyn SignatureVerificationAlgorithm| {
            known.public_key_alg_id() == alg_id::RSA_ENCRYPTION && known.signature_alg_id() == alg_id::RSA_PKCS1_SHA256
        };
        let algorithm = algorithms.all.iter().find(fits).ok_or(SignedDataError::Signature)?;
        let signed = match &self.signer.attributes {
            None => self.content.clone(),
            Some(attributes) => {
                let told = digest_of(attributes.clone()).ok_or(SignedDataError::Unreadable)?;
                if told.as_ref() != Sha256::digest(&self.content).as_slice() {
                    return Err(SignedDataError::Signature);
                }
                // Signed as the set they are, not under the tag they travel with (RFC 5652, 5.4).
                encode::set(attributes).to_captured(Mode::Ber).into_bytes()
            }
        };
        let verified = algorithm.verify_signature(key, &signed, &self.signer.signature);
        verified.map(|()| self.content.as_ref()).map_err(|_| SignedDataError::Signature)
    }
}

fn signed_data<S: Source>(cons: &mut Constructed<'_, S>) -> Result<SignedData, DecodeError<S::Error>> {
    cons.take_u8()?;
    cons.take_set(|cons| cons.skip_all())?;
    let content = cons.take_sequence(|cons| {
        DATA.skip_if(cons)?;
        cons.take_constructed_if(Tag::CTX_0, |cons| OctetString::take_from(cons))
    })?;
    cons.take_opt_constructed_if(Tag::CTX_0, |cons| cons.skip_all())?;
    cons.take_opt_constructed_if(Tag::CTX_1, |cons| cons.skip_all())?;
    // A second signer would be left over, which is an error.
    let signer = cons.take_set(|cons| cons.take_sequence(|cons| signer(cons)))?;
    Ok(SignedData { content: content.into_bytes(), signer })
}

fn signer<S: Source>(cons: &mut Constructed<'_, S>) -> Result<Signer, DecodeError<S::Error>> {
    cons.take_u8()?;
    // Who signs: known from elsewhere.
    cons.skip_one()?;
    cons.take_sequence(|cons| {
        SHA_256.skip_if(cons)?;
        cons.take_opt_null()
    })?;
    let attributes = cons.take_opt_constructed_if(Tag::CTX_0, |cons| cons.capture_all())?;
    cons.take_sequence(|cons| {
        let algorithm = Oid::take_from(cons)?;
        if algorithm != RSA && algorithm != RSA_SHA_256 {
            return Err(cons.content_err("signatures are RSA with SHA-256"));
        }
        cons.take_opt_null()
    })?;
    let signature = OctetString::take_from(cons)?.into_bytes();
    cons.take_opt_constructed_if(Tag::CTX_1, |cons| cons.skip_all())?;
    Ok(Signer { attributes, signature })
}

/// The digest of the content that the attributes tell, which are for data; each of both has to be there once.
fn digest_of(attributes: Captured) -> Option<Bytes> {
    let (mut digests, mut types) = (Vec::new(), 0);
    let read = attributes.decode(|cons| {
        let attribute = |cons: &mut Constructed<'_, _>| {
            let kind = Oid::take_from(cons)?;
            Ok((kind, cons.take_set(|cons| cons.capture_all())?))
        };
        while let Some((kind, value)) = cons.take_opt_sequence(attribute)? {
            if kind == MESSAGE_DIGEST {
                digests.push(value.decode(|cons| OctetString::take_from(cons))?.into_bytes());
            } else if kind == CONTENT_TYPE {
                value.decode(|cons| DATA.skip_if(cons))?;
                types += 1;
            }
        }
        Ok(())
    });
    read.ok()?;
    (types == 1 && digests.len() == 1).then(|| digests.pop()).flatten()
}
