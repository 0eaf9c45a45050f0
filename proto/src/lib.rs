//! The wire of Foreshadow, `foreshadow.v1`: generated messages and services, and the one place
//! where what comes in is checked for range ([`convert`]); [`columns`] is a batch in few bytes.

pub mod columns;
pub mod convert;
pub mod sequences;

/// Messages, clients and servers of `foreshadow.v1`, generated from `proto/foreshadow/v1/*.proto`.
#[allow(clippy::all, missing_debug_implementations)]
pub mod v1 {
    include!("generated/foreshadow.v1.rs");
}

/// KEDA's contract for external scalers, generated from `proto/externalscaler.proto`.
#[allow(clippy::all, missing_debug_implementations, deprecated)]
pub mod externalscaler {
    include!("generated/externalscaler.rs");
}

/// The encoded descriptors of `externalscaler`, for server reflection.
pub const EXTERNAL_SCALER_DESCRIPTORS: &[u8] = include_bytes!("generated/externalscaler.bin");

/// The encoded descriptors of `foreshadow.v1`, for server reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!("generated/foreshadow.v1.bin");

/// Newest revision of the wire this build speaks. 2: batches by column, and without ids that Hello said already.
pub const PROTOCOL: u32 = 2;

/// Oldest revision this build speaks, on either side.
pub const OLDEST_PROTOCOL: u32 = 1;
