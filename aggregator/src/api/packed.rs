//! Bodies that come packed: bounded, whatever they say of themselves.

use std::io::Read as _;

use flate2::read::MultiGzDecoder;
use tokio::sync::Semaphore;

/// Requests that are unpacked and read at once: what is small on the wire may be thirty times as large in memory.
const READ_AT_ONCE: usize = 2;

pub(super) static READING: Semaphore = Semaphore::const_new(READ_AT_ONCE);

/// Why a body cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unzipped {
    #[error("the body is not gzip: {0}")]
    NoGzip(std::io::Error),
    #[error("the body has more than {0} bytes unpacked: send smaller batches")]
    TooLong(usize),
}

/// Unpacks gzip.
pub(super) fn unzipped(body: &[u8], most: usize) -> Result<Vec<u8>, Unzipped> {
    let mut unpacked = Vec::new();
    let read = MultiGzDecoder::new(body).take(most as u64 + 1).read_to_end(&mut unpacked);
    read.map_err(Unzipped::NoGzip)?;
    if unpacked.len() > most { Err(Unzipped::TooLong(most)) } else { Ok(unpacked) }
}
