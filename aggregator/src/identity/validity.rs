//! Until when a certificate is good (RFC 5280, 4.1.2.5).

use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::request::{INTEGER, SEQUENCE, take};

const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The end of the first certificate in a PEM file, seconds since the Unix epoch; `None` when it cannot be read.
pub fn ends_of_file(path: &Path) -> Option<i64> {
    ends(CertificateDer::from_pem_file(path).ok()?.as_ref())
}

/// The end of a certificate, seconds since the Unix epoch.
pub fn ends(der: &[u8]) -> Option<i64> {
    times(der).map(|(_, ends)| ends)
}

/// When a certificate begins and ends, seconds since the Unix epoch.
pub fn times(mut der: &[u8]) -> Option<(i64, i64)> {
    let mut certificate = take(&mut der, SEQUENCE)?;
    let mut body = take(&mut certificate, SEQUENCE)?;
    // Absent in version 1.
    if body.first() == Some(&VERSION) {
        take(&mut body, VERSION)?;
    }
    take(&mut body, INTEGER)?;
    // The algorithm, and who signed it.
    take(&mut body, SEQUENCE)?;
    take(&mut body, SEQUENCE)?;
    let mut validity = take(&mut body, SEQUENCE)?;
    Some((moment(&mut validity)?, moment(&mut validity)?))
}

fn moment(rest: &mut &[u8]) -> Option<i64> {
    let tag = rest.first().copied()?;
    let text = std::str::from_utf8(take(rest, tag)?).ok()?;
    let digits = text.strip_suffix('Z')?;
    // Two digits of a year mean 1950 to 2049.
    let whole = match tag {
        UTC_TIME if digits.len() == 12 => format!("{}{digits}", if digits < "50" { "20" } else { "19" }),
        GENERALIZED_TIME if digits.len() == 14 => digits.to_owned(),
        _ => return None,
    };
    let at = jiff::civil::DateTime::strptime("%Y%m%d%H%M%S", &whole).ok()?;
    Some(at.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};
    use time::OffsetDateTime;

    use super::*;

    #[test]
    fn the_end_is_read_in_both_ways_of_writing_it() {
        for at in [1_800_000_000, 2_524_607_999, 2_524_608_000, 4_000_000_000] {
            let mut params = CertificateParams::new(vec!["a.example".to_owned()]).expect("a name");
            params.not_after = OffsetDateTime::from_unix_timestamp(at).expect("a time");
            let key = KeyPair::generate().expect("a key");
            let made = params.self_signed(&key).expect("a certificate");
            assert_eq!(ends(made.der()), Some(at));
            for length in 0..made.der().len() {
                assert_eq!(ends(&made.der()[..length]), None, "half of one is none");
            }
        }
    }
}
